"""/v1/groups."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from web_app.dependencies import PartsOfApp, Reading, ReadingViewer, Transaction, WritingViewer
from web_app.fields import GroupPath, Listing, UserPath
from web_app.groups import repository, service
from web_app.groups.schemas import (
    Group,
    GroupChange,
    GroupChanged,
    GroupMembers,
    GroupWithMembers,
    NewGroup,
)
from web_app.paging import PageQuery, listing
from web_app.permissions import acts, require
from web_app.problems import problems
from web_app.replies import DoneOnce, reply

router = APIRouter(prefix="/v1/groups", tags=["groups"])


@router.get(
    "",
    operation_id="list_groups",
    openapi_extra=acts("group.see"),
    summary="List the user groups",
    response_model=Listing[Group],
    responses=problems("forbidden"),
)
async def list_groups(page: PageQuery, viewer: ReadingViewer, db: Reading) -> Response:
    """Oldest first. Not for guests."""
    require("group.see", viewer.role)
    rows = await repository.list_groups(db, viewer.workspace_id, page.after("grp"), page.limit)
    return reply(listing(rows, page.limit, lambda row: str(row.id), service.shown))


@router.post(
    "",
    operation_id="create_group",
    openapi_extra=acts("group.manage"),
    summary="Make a user group",
    status_code=201,
    response_model=GroupChanged,
    responses=problems("forbidden", "not_found", "name_taken", "slow_down", "id_reused", "too_large"),
)
async def create_group(
    wanted: NewGroup, viewer: WritingViewer, db: Transaction, once: DoneOnce, parts: PartsOfApp
) -> Response:
    """For owners and admins, and for members if the workspace's settings say so. Up to 1,000 people."""
    parts.attempts.create(viewer.user_id)
    return await once(lambda: service.create(db, viewer, wanted), 201)


@router.get(
    "/{group_id}",
    operation_id="get_group",
    openapi_extra=acts("group.see"),
    summary="Show a user group",
    response_model=GroupWithMembers,
    responses=problems("forbidden", "not_found"),
)
async def get_group(group_id: GroupPath, viewer: ReadingViewer, db: Reading) -> Response:
    """With everybody in it. Not for guests."""
    return reply(await service.with_members(db, viewer, group_id))


@router.patch(
    "/{group_id}",
    operation_id="change_group",
    openapi_extra=acts("group.manage"),
    summary="Change a user group's handle, name or description",
    response_model=GroupChanged,
    responses=problems("forbidden", "not_found", "name_taken", "id_reused", "too_large"),
)
async def change_group(
    group_id: GroupPath, wanted: GroupChange, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """Texts that name it go on naming it: they hold its id."""
    return await once(lambda: service.change(db, viewer, group_id, wanted))


@router.delete(
    "/{group_id}",
    operation_id="remove_group",
    openapi_extra=acts("group.manage"),
    summary="Remove a user group",
    status_code=204,
    response_class=Response,
    responses=problems("forbidden", "not_found", "id_reused"),
)
async def remove_group(
    group_id: GroupPath, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """Mentioning it means nobody from then on; its handle is free again."""
    return await once.nothing(lambda: service.remove(db, viewer, group_id))


@router.post(
    "/{group_id}/members",
    operation_id="add_group_members",
    openapi_extra=acts("group.manage"),
    summary="Add people to a user group",
    response_model=GroupChanged,
    responses=problems("forbidden", "not_found", "conflict", "id_reused", "too_large"),
)
async def add_group_members(
    group_id: GroupPath, wanted: GroupMembers, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """Who is in it already, stays in it. 1,000 people at most."""
    return await once(lambda: service.add_members(db, viewer, group_id, wanted.user_ids))


@router.delete(
    "/{group_id}/members/{user_id}",
    operation_id="remove_group_member",
    openapi_extra=acts("group.manage"),
    summary="Remove somebody from a user group",
    response_model=GroupChanged,
    responses=problems("forbidden", "not_found", "id_reused"),
)
async def remove_group_member(
    group_id: GroupPath, user_id: UserPath, viewer: WritingViewer, db: Transaction, once: DoneOnce
) -> Response:
    """They keep what they were mentioned in."""
    return await once(lambda: service.remove_member(db, viewer, group_id, user_id))
