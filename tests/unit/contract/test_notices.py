"""Promise: whom a notice addresses is read the same by all, also of a later release's, and shown to nobody."""

from __future__ import annotations

import json

import msgspec
import pytest

from services.contract import notices
from services.contract.events import UnknownEvent
from services.contract.ids import is_entity_id, new_entity_id

ADA, BEN = new_entity_id("usr"), new_entity_id("usr")


def test_the_stream_of_a_workspace_has_the_shape_of_a_channel_and_no_others() -> None:
    one, other = new_entity_id("ws"), new_entity_id("ws")
    assert is_entity_id(notices.notices_channel(one), "ch")
    assert notices.notices_channel(one) != notices.notices_channel(other)
    with pytest.raises(ValueError, match="workspace"):
        notices.notices_channel(ADA)


def test_a_notice_names_people_or_everybody_and_never_both_or_neither() -> None:
    wrongs: list[dict[str, object]] = [{}, {"user_ids": [ADA], "all": True}, {"user_ids": []}]
    wrongs.append({"user_ids": [ADA] * 1001})
    for wrong in wrongs:
        body = json.dumps({"type": "announcement.posted", "text": "x", **wrong}).encode()
        with pytest.raises(msgspec.DecodeError):
            notices.decode_notice(body)
    with pytest.raises(ValueError, match="either"):
        notices.encode_notice(notices.AnnouncementPosted(text="x"))


def test_what_is_shown_says_nothing_of_who_else_is_addressed() -> None:
    value = notices.encode_notice(notices.AnnouncementPosted(text="Tea", user_ids=[ADA, BEN]))
    shown = notices.addressed(value)
    assert shown is not None
    assert shown.user_ids == frozenset({ADA, BEN})
    assert shown.addresses(ADA)
    assert not shown.addresses(new_entity_id("usr"))
    assert json.loads(shown.body) == {"type": "announcement.posted", "text": "Tea"}
    assert notices.read_shown_notice(shown.body) == notices.AnnouncementPosted(text="Tea")


def test_everybody_is_addressed_by_all() -> None:
    shown = notices.addressed(notices.encode_notice(notices.ProfileChanged(user=ADA, all=True)))
    assert shown is not None
    assert shown.addresses(new_entity_id("usr"))


def test_a_kind_of_a_later_release_reaches_whom_it_addresses() -> None:
    shown = notices.addressed(json.dumps({"type": "moon.risen", "user_ids": [ADA], "full": True}).encode())
    assert shown is not None
    assert (shown.kind, shown.user_ids) == ("moon.risen", frozenset({ADA}))
    assert json.loads(shown.body) == {"type": "moon.risen", "full": True}
    assert notices.read_shown_notice(shown.body) == UnknownEvent(type="moon.risen")


@pytest.mark.parametrize(
    "value",
    [None, b"", b"[]", b'{"type":"x"}', b'{"type":"x","user_ids":[]}', b'{"type":"x","user_ids":[1]}',
     b'{"type":"x","user_ids":"all"}', b'{"type":"x","all":"yes"}', b'{"user_ids":["a"]}', b"[" * 999, b"\xff"],
)  # fmt: skip
def test_what_addresses_nobody_is_shown_to_nobody(value: bytes | None) -> None:
    assert notices.addressed(value) is None
