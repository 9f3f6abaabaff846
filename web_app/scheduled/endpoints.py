"""Scheduled messages: /v1/channels/{channel_id}/scheduled and /v1/me/scheduled."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from web_app.dependencies import ACTING, AccessClaims, Reading, ReadingViewer, Transaction, WritingViewer
from web_app.fields import ChannelPath, Listing
from web_app.paging import PageQuery, listing
from web_app.permissions import acts
from web_app.problems import problems
from web_app.replies import DoneOnce, reply
from web_app.scheduled import repository, service
from web_app.scheduled.schemas import NewScheduled, Scheduled, ScheduledChange

router = APIRouter(prefix="/v1", tags=["scheduled"])

ScheduledPath = Annotated[
    str, Path(pattern=r"^sch_[0-9a-f]{32}$", examples=["sch_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b"])
]


@router.post(
    "/channels/{channel_id}/scheduled",
    operation_id="schedule_message",
    dependencies=ACTING,
    openapi_extra=acts("message.post"),
    summary="Have a message posted later",
    status_code=201,
    response_model=Scheduled,
    responses=problems(
        "not_a_member",
        "forbidden",
        "archived",
        "not_found",
        "conflict",
        "id_reused",
        "too_large",
        "not_yet",
        "slow_down",
    ),
)
async def schedule_message(
    channel_id: ChannelPath, wanted: NewScheduled, claims: AccessClaims, db: Transaction, once: DoneOnce
) -> Response:
    """In your name, once, within a few seconds of its time. Whether you may still post there is judged then."""
    return await once(lambda: service.create(db, claims, channel_id, wanted), 201)


@router.get(
    "/me/scheduled",
    operation_id="list_scheduled",
    openapi_extra=acts("self"),
    summary="Your scheduled messages",
    response_model=Listing[Scheduled],
    responses=problems(),
)
async def list_scheduled(page: PageQuery, viewer: ReadingViewer, db: Reading) -> Response:
    """Those that wait and those that could not be posted, in the order in which you made them."""
    rows = await repository.list_scheduled(db, viewer.user_id, page.after("sch"), page.limit)
    return reply(listing(rows, page.limit, lambda row: str(row.id), service.shown))


@router.patch(
    "/me/scheduled/{scheduled_id}",
    operation_id="change_scheduled",
    dependencies=ACTING,
    openapi_extra=acts("self"),
    summary="Change a scheduled message",
    response_model=Scheduled,
    responses=problems(
        "not_found", "not_a_member", "forbidden", "archived", "id_reused", "too_large", "slow_down"
    ),
)
async def change_scheduled(
    scheduled_id: ScheduledPath,
    wanted: ScheduledChange,
    claims: AccessClaims,
    viewer: WritingViewer,
    db: Transaction,
    once: DoneOnce,
) -> Response:
    """Its text, its time, or both, as long as it has not been posted."""
    return await once(lambda: service.change(db, claims, viewer, scheduled_id, wanted))


@router.delete(
    "/me/scheduled/{scheduled_id}",
    operation_id="delete_scheduled",
    dependencies=ACTING,
    openapi_extra=acts("self"),
    summary="Take a scheduled message back",
    status_code=204,
    response_class=Response,
    responses=problems("not_found", "id_reused", "slow_down"),
)
async def delete_scheduled(
    scheduled_id: ScheduledPath, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """Unless it has been posted by now."""
    return await once.nothing(lambda: service.remove(db, viewer, scheduled_id))
