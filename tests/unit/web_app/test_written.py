"""Promise: what is written by msgspec is what the API's description says."""

from __future__ import annotations

import msgspec
import pytest
from pydantic import BaseModel

from web_app.messages.schemas import (
    EventPage,
    HistoryEvent,
    MessagePage,
    OneMessage,
    WrittenEvent,
    WrittenEventPage,
    WrittenMessagePage,
    WrittenOneMessage,
)
from web_app.messages.states import HistoryMessage, WrittenMessage
from web_app.sync.schemas import Sync, SyncedChannel, WrittenChannel, WrittenSync


@pytest.mark.parametrize(
    ("written", "described"),
    [
        (WrittenChannel, SyncedChannel),
        (WrittenSync, Sync),
        (WrittenMessage, HistoryMessage),
        (WrittenMessagePage, MessagePage),
        (WrittenOneMessage, OneMessage),
        (WrittenEvent, HistoryEvent),
        (WrittenEventPage, EventPage),
    ],
)
def test_it_has_the_fields_of_its_description(
    written: type[msgspec.Struct], described: type[BaseModel]
) -> None:
    names = {field.encode_name for field in msgspec.structs.fields(written)}
    assert names == set(described.model_fields)
