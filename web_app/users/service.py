"""Changing roles, deactivating and reactivating people."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.directory import directory_at
from services.database.outbox import enqueue_directory
from web_app.audit import repository as audit
from web_app.auth.repository import Viewer
from web_app.auth.service import user_shown
from web_app.auth.sessions import end_sessions
from web_app.database import AnyRow
from web_app.permissions import ROLES, require
from web_app.problems import ApiError
from web_app.users import repository
from web_app.users.schemas import Role, UserChanged


def user_key(user_id: str) -> str:
    return f"user:{user_id}"


def facts(viewer: Viewer, *roles: str) -> Collection[str]:
    """`lesser`: none of these roles is above the viewer's."""
    return above(viewer.role, *roles)


def above(acting: str, *roles: str) -> Collection[str]:
    """`facts` of somebody of the role `acting`."""
    return ("lesser",) if all(ROLES.index(acting) <= ROLES.index(role) for role in roles) else ()


async def found(db: AsyncConnection, viewer: Viewer, user_id: str) -> AnyRow:
    """Raises ApiError not_found."""
    row = await repository.find_user(db, viewer, user_id)
    if row is None:
        raise ApiError("not_found", "There is no such person, or not for you.")
    return row


async def change_role(db: AsyncConnection, viewer: Viewer, user_id: str, role: Role) -> UserChanged:
    """Raises ApiError forbidden, not_found, conflict for the last owner."""
    viewer, user = await _lock_person(db, viewer, user_id, "people.change_role", role)
    steps_down = user.role == "owner" and role != "owner"
    if steps_down and not await repository.has_other_owner(db, viewer.workspace_id, user_id):
        raise ApiError("conflict", "The last owner of a workspace stays its owner.")
    version = user.version
    if user.role != role:
        version = await repository.set_role(db, user_id, role)
        await enqueue_directory(db, [user_key(user_id)])
        await audit.record(db, viewer, "user.role_changed", user_id, before=user.role, after=role)
    shown = user_shown(user).model_copy(update={"role": role})
    return UserChanged(user=shown, directory_at=directory_at(user_key(user_id), version))


async def _lock_person(
    db: AsyncConnection, viewer: Viewer, user_id: str, action: str, *roles: str
) -> tuple[Viewer, AnyRow]:
    """(who asks, as they are now; whom it is about), for an action that concerns that person's role and these.

    Raises ApiError forbidden, not_found.
    """
    require(action, viewer.role, facts(viewer, *roles))
    await repository.lock_staff(db, viewer.workspace_id)
    viewer = await repository.find_acting(db, viewer)
    require(action, viewer.role, facts(viewer, *roles))
    user = await repository.lock_user(db, viewer.workspace_id, user_id)
    if user is None:
        raise ApiError("not_found", "There is no such person in this workspace.")
    require(action, viewer.role, facts(viewer, user.role, *roles))
    return viewer, user


async def set_active(db: AsyncConnection, viewer: Viewer, user_id: str, active: bool) -> UserChanged:
    """Deactivating ends every session. Raises ApiError forbidden, not_found, conflict for the last owner."""
    viewer, user = await _lock_person(db, viewer, user_id, "people.deactivate")
    if user.active == active:
        return UserChanged(user=user_shown(user), directory_at=directory_at(user_key(user_id), user.version))
    if (
        not active
        and user.role == "owner"
        and not await repository.has_other_owner(db, viewer.workspace_id, user_id)
    ):
        raise ApiError("conflict", "The last owner of a workspace cannot be deactivated.")
    version = await repository.set_active(db, user_id, active)
    await enqueue_directory(db, [user_key(user_id)])
    await audit.record(db, viewer, "user.reactivated" if active else "user.deactivated", user_id)
    last = (user_key(user_id), version)
    if not active:
        last = [last, *await end_sessions(db, user_id, "deactivated")][-1]
    shown = user_shown(user).model_copy(update={"active": active})
    return UserChanged(user=shown, directory_at=directory_at(*last))
