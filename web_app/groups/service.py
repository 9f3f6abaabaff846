"""What may be done to user groups. Channel servers are told of each: they say who is mentioned by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.directory import directory_at
from services.contract.ids import new_entity_id
from services.database.outbox import enqueue_directory
from web_app.audit import repository as audit
from web_app.auth.repository import Viewer
from web_app.channels.service import require_people
from web_app.database import AnyRow
from web_app.groups import repository
from web_app.groups.schemas import (
    MAX_MEMBERS,
    Group,
    GroupChange,
    GroupChanged,
    GroupWithMembers,
    NewGroup,
)
from web_app.permissions import require
from web_app.problems import ApiError
from web_app.workspaces import repository as workspaces


def group_key(group_id: str) -> str:
    return f"group:{group_id}"


def shown(row: AnyRow, **changed: Any) -> Group:
    return Group.model_validate(row, from_attributes=True).model_copy(update=changed)


async def with_members(db: AsyncConnection, viewer: Viewer, group_id: str) -> GroupWithMembers:
    """Raises ApiError forbidden, not_found."""
    require("group.see", viewer.role)
    row = await repository.find_group(db, viewer.workspace_id, group_id)
    if row is None:
        raise _no_group()
    user_ids = await repository.members_of(db, group_id)
    return GroupWithMembers(**shown(row).model_dump(), user_ids=user_ids)


async def create(db: AsyncConnection, viewer: Viewer, wanted: NewGroup) -> GroupChanged:
    """Raises ApiError forbidden, name_taken, not_found for somebody who is not in the workspace."""
    await _require_manage(db, viewer)
    people = await _people(db, viewer, wanted.user_ids)
    group_id = new_entity_id("grp")
    version = await repository.add_group(
        db,
        group_id=group_id,
        workspace_id=viewer.workspace_id,
        handle=wanted.handle,
        name=wanted.name,
        description=wanted.description,
        created_by=viewer.user_id,
    )
    if version is None:
        raise _taken(wanted.handle)
    if people:
        await repository.add_members(db, group_id, people)
    await enqueue_directory(db, [group_key(group_id)])
    await audit.record(db, viewer, "group.created", group_id, handle=wanted.handle)
    row = await repository.find_group(db, viewer.workspace_id, group_id)
    assert row is not None
    return _changed(shown(row), version)


async def change(db: AsyncConnection, viewer: Viewer, group_id: str, wanted: GroupChange) -> GroupChanged:
    """Raises ApiError forbidden, not_found, name_taken."""
    row = await _locked(db, viewer, group_id)
    given = wanted.model_dump(exclude_none=True)
    changed = {name: value for name, value in given.items() if getattr(row, name) != value}
    if not changed:
        return _changed(shown(row), row.version)
    try:
        version = await repository.change_group(db, group_id, **changed)
    except IntegrityError as error:
        raise _taken(str(wanted.handle)) from error
    await enqueue_directory(db, [group_key(group_id)])
    await audit.record(db, viewer, "group.changed", group_id, **changed)
    return _changed(shown(row, **changed), version)


async def remove(db: AsyncConnection, viewer: Viewer, group_id: str) -> None:
    """Its handle is free again. Raises ApiError forbidden, not_found."""
    row = await _locked(db, viewer, group_id)
    await repository.change_group(db, group_id, active=False)
    await enqueue_directory(db, [group_key(group_id)])
    await audit.record(db, viewer, "group.removed", group_id, handle=row.handle)


async def add_members(
    db: AsyncConnection, viewer: Viewer, group_id: str, user_ids: Sequence[str]
) -> GroupChanged:
    """Who is in it already, stays in it. Raises ApiError forbidden, not_found, conflict when it would be too many."""
    row = await _locked(db, viewer, group_id)
    added = await repository.add_members(db, group_id, await _people(db, viewer, user_ids))
    count = row.member_count + len(added)
    if count > MAX_MEMBERS:
        raise ApiError("conflict", f"A user group has at most {MAX_MEMBERS} people.")
    if not added:
        return _changed(shown(row), row.version)
    version = await _published(db, group_id)
    await audit.record(db, viewer, "group.members_added", group_id, user_ids=added)
    return _changed(shown(row, member_count=count), version)


async def remove_member(db: AsyncConnection, viewer: Viewer, group_id: str, user_id: str) -> GroupChanged:
    """Raises ApiError forbidden, not_found for somebody who is not in it."""
    row = await _locked(db, viewer, group_id)
    if not await repository.remove_member(db, group_id, user_id):
        raise ApiError("not_found", "This person is not in the group.")
    version = await _published(db, group_id)
    await audit.record(db, viewer, "group.member_removed", group_id, user_id=user_id)
    return _changed(shown(row, member_count=row.member_count - 1), version)


async def _require_manage(db: AsyncConnection, viewer: Viewer) -> None:
    row = await workspaces.find_workspace(db, viewer.workspace_id)
    require("group.manage", viewer.role, {"setting"} if row.who_may_manage_groups == "members" else ())


async def _people(db: AsyncConnection, viewer: Viewer, user_ids: Sequence[str]) -> list[str]:
    wanted = sorted(set(user_ids))
    require_people(wanted, await repository.active_people(db, viewer.workspace_id, wanted))
    return wanted


async def _locked(db: AsyncConnection, viewer: Viewer, group_id: str) -> AnyRow:
    await _require_manage(db, viewer)
    row = await repository.lock_group(db, viewer.workspace_id, group_id)
    if row is None:
        raise _no_group()
    return row


async def _published(db: AsyncConnection, group_id: str) -> int:
    version = await repository.change_group(db, group_id)
    await enqueue_directory(db, [group_key(group_id)])
    return version


def _changed(group: Group, version: int) -> GroupChanged:
    return GroupChanged(group=group, directory_at=directory_at(group_key(group.id), version))


def _no_group() -> ApiError:
    return ApiError("not_found", "There is no such user group.")


def _taken(handle: str) -> ApiError:
    return ApiError("name_taken", f"There is already a user group {handle!r}.")
