"""/v1/me/saved: messages that a person keeps for themselves."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from web_app.dependencies import (
    ACTING,
    AccessClaims,
    PartsOfApp,
    Reading,
    ReadingViewer,
    Transaction,
)
from web_app.fields import STORABLE, Body, ChannelPath, Listing, Reply, SeqPath, examples
from web_app.messages.repository import find_access
from web_app.messages.service import NO_MESSAGE, find_meant
from web_app.messages.states import AT, PLAIN, HistoryMessage, WrittenMessage
from web_app.messages.states import written as written_message
from web_app.paging import DEFAULT_LIMIT, MAX_LIMIT
from web_app.permissions import acts, require
from web_app.problems import ApiError, problems
from web_app.replies import written
from web_app.saved import repository

router = APIRouter(prefix="/v1/me/saved", tags=["saved"])

_CHANNEL: Final = "ch_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b"


class NewSaved(Body):
    """`note`: a word to yourself."""

    model_config = examples({"note": "ask Ada about this"})

    note: Annotated[str, Field(max_length=500, pattern=STORABLE)] = ""


class SavedMessage(Reply):
    """The message as it is now. `saved_at`: Unix milliseconds."""

    model_config = examples({"channel": _CHANNEL, "saved_at": AT, "note": "", "message": PLAIN})

    channel: str
    saved_at: int
    note: str
    message: HistoryMessage


class SavedQuery(Body):
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="How many at most.")] = DEFAULT_LIMIT
    cursor: Annotated[
        str | None,
        Field(max_length=16, pattern=r"^[0-9]{1,16}$", description="The `next_cursor` of the page before."),
    ] = None


class WrittenSaved(msgspec.Struct, frozen=True):
    channel: str
    saved_at: int
    note: str
    message: WrittenMessage


class WrittenSavedPage(msgspec.Struct, frozen=True):
    items: list[WrittenSaved]
    next_cursor: str | None


@router.put(
    "/{channel_id}/{seq}",
    operation_id="save_message",
    dependencies=ACTING,
    openapi_extra=acts("history.read"),
    summary="Keep a message for yourself",
    status_code=204,
    response_class=Response,
    responses=problems("not_a_member", "not_found", "not_yet", "too_large", "slow_down"),
)
async def save_message(
    channel_id: ChannelPath, seq: SeqPath, wanted: NewSaved, claims: AccessClaims, parts: PartsOfApp
) -> Response:
    """Nobody else learns of it. Again: the note is replaced."""
    meant = await find_meant(parts, claims, channel_id, seq)
    viewer = meant.access.viewer
    require("history.read", viewer.role, meant.access.facts)
    if meant.state is None:
        raise ApiError("not_found", NO_MESSAGE)
    async with parts.database.transaction() as db:
        await repository.save(db, viewer.user_id, channel_id, seq, wanted.note)
    return Response(status_code=204)


@router.delete(
    "/{channel_id}/{seq}",
    operation_id="unsave_message",
    dependencies=ACTING,
    openapi_extra=acts("history.read"),
    summary="Keep a message no longer",
    status_code=204,
    response_class=Response,
    responses=problems("not_a_member", "slow_down"),
)
async def unsave_message(
    channel_id: ChannelPath, seq: SeqPath, claims: AccessClaims, db: Transaction
) -> Response:
    """Also one that you did not keep; and one that you kept of a channel that you have left."""
    access = await find_access(db, claims, channel_id)
    if not await repository.remove(db, access.viewer.user_id, channel_id, seq):
        require("history.read", access.viewer.role, access.facts)
    return Response(status_code=204)


@router.get(
    "",
    operation_id="list_saved",
    openapi_extra=acts("self"),
    summary="The messages that you keep",
    response_model=Listing[SavedMessage],
    responses=problems(),
)
async def list_saved(wanted: Annotated[SavedQuery, Query()], viewer: ReadingViewer, db: Reading) -> Response:
    """The last saved first; of channels that you are in."""
    before = int(wanted.cursor) if wanted.cursor else None
    rows = await repository.list_saved(db, viewer.user_id, before, wanted.limit)
    shown = rows[: wanted.limit]
    items = [
        WrittenSaved(row.channel_id, round(row.saved_at.timestamp() * 1000), row.note, written_message(row))
        for row in shown
    ]
    return written(WrittenSavedPage(items, str(shown[-1].id) if len(rows) > wanted.limit else None))
