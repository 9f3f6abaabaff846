"""Inviting, accepting, changing roles, deactivating and reactivating people."""

from __future__ import annotations

import datetime as dt

from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.directory import directory_at
from services.contract.ids import new_entity_id
from services.database.outbox import enqueue_directory
from web_app.auth.repository import Viewer
from web_app.auth.schemas import SignedUp
from web_app.auth.service import user_shown, workspace_shown
from web_app.auth.sessions import end_sessions, hash_of, hash_of_sent, new_secret, start_session
from web_app.database import AnyRow
from web_app.memberships.service import join_default
from web_app.parts import Parts
from web_app.problems import ApiError
from web_app.users import repository
from web_app.users.schemas import AcceptInvite, Invite, InviteCreated, NewInvite, Role, UserChanged


def user_key(user_id: str) -> str:
    return f"user:{user_id}"


def require_admin(viewer: Viewer) -> None:
    """Raises ApiError forbidden."""
    if not viewer.is_admin:
        raise ApiError("forbidden", "Only owners and admins may do this.")


async def invite(db: AsyncConnection, viewer: Viewer, wanted: NewInvite, lifetime_s: int) -> InviteCreated:
    """Raises ApiError forbidden, name_taken."""
    require_admin(viewer)
    if wanted.role == "owner" and viewer.role != "owner":
        raise ApiError("forbidden", "Only owners may invite owners.")
    if await repository.email_is_taken(db, viewer.workspace_id, wanted.email):
        raise ApiError("name_taken", "Somebody in this workspace has this e-mail address.")
    token = new_secret()
    invite_id = new_entity_id("inv")
    expires_at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=lifetime_s)
    await repository.add_invite(
        db,
        invite_id=invite_id,
        workspace_id=viewer.workspace_id,
        email=wanted.email,
        role=wanted.role,
        token_hash=hash_of(token),
        invited_by=viewer.user_id,
        expires_at=expires_at,
    )
    shown = Invite(
        id=invite_id,
        email=wanted.email,
        role=wanted.role,
        invited_by=viewer.user_id,
        expires_at=expires_at,
    )
    return InviteCreated(invite=shown, token=token)


async def withdraw_invite(db: AsyncConnection, viewer: Viewer, invite_id: str) -> None:
    """Nothing is left of it. Raises ApiError forbidden, not_found when there is none or it has been accepted."""
    require_admin(viewer)
    found = await repository.lock_invite(db, viewer.workspace_id, invite_id)
    if found is None:
        raise ApiError("not_found", "There is no such invitation, or it has been accepted.")
    if found.role == "owner" and viewer.role != "owner":
        raise ApiError("forbidden", "Only owners may withdraw the invitation of an owner.")
    await repository.remove_invite(db, invite_id)


def invite_shown(row: AnyRow) -> Invite:
    return Invite(
        id=row.id, email=row.email, role=row.role, invited_by=row.invited_by, expires_at=row.expires_at
    )


async def accept_invite(parts: Parts, wanted: AcceptInvite, address: str) -> SignedUp:
    """The account, a session, and for all but guests a place in the workspace's first channel.

    Raises ApiError not_found, name_taken, slow_down. The password's work is done outside of any transaction."""
    parts.attempts.from_address(address)
    token_hash = hash_of_sent(wanted.token)
    async with parts.database.reading() as db:
        if await repository.find_open_invite(db, token_hash) is None:
            raise _no_invite()
    password_hash = await parts.passwords.hash(wanted.password.get_secret_value())
    async with parts.database.transaction() as db:
        invite = await repository.find_open_invite(db, token_hash, lock=True)
        if invite is None:
            raise _no_invite()
        await repository.use_invite(db, invite.id)
        user = await repository.add_user(
            db,
            user_id=new_entity_id("usr"),
            workspace_id=invite.workspace_id,
            email=invite.email,
            name=wanted.name,
            password_hash=password_hash,
            role=invite.role,
        )
        if user is None:
            raise ApiError("name_taken", "Somebody in this workspace has this e-mail address.")
        tokens = await start_session(
            db, parts.keys, parts.settings, user.id, invite.workspace_id, wanted.device
        )
        await enqueue_directory(db, [user_key(user.id)])
        last: tuple[str, int] | None = None
        if user.role != "guest":  # guests are only where somebody adds them
            last = await join_default(db, invite.workspace_id, user.id)
    return SignedUp(
        user=user_shown(user),
        workspace=workspace_shown(invite),
        tokens=tokens,
        directory_at=directory_at(*(last or (user_key(user.id), user.version))),
    )


def _no_invite() -> ApiError:
    return ApiError("not_found", "The invitation is unknown, used or expired.")


async def change_role(db: AsyncConnection, viewer: Viewer, user_id: str, role: Role) -> UserChanged:
    """Raises ApiError forbidden, not_found, conflict for the last owner.

    Channel servers know no roles: nothing is published.
    """
    viewer, user = await _lock_person(db, viewer, user_id)
    if role == "owner" and viewer.role != "owner":
        raise ApiError("forbidden", "Only owners may make somebody an owner.")
    steps_down = user.role == "owner" and role != "owner"
    if steps_down and not await repository.has_other_owner(db, viewer.workspace_id, user_id):
        raise ApiError("conflict", "The last owner of a workspace stays its owner.")
    if user.role != role:
        await repository.set_role(db, user_id, role)
    shown = user_shown(user).model_copy(update={"role": role})
    return UserChanged(user=shown, directory_at=directory_at(user_key(user_id), user.version))


async def _lock_person(db: AsyncConnection, viewer: Viewer, user_id: str) -> tuple[Viewer, AnyRow]:
    """(who asks, as they are now; whom it is about), for a change that only owners and admins may make.

    Raises ApiError forbidden, not_found.
    """
    require_admin(viewer)
    await repository.lock_staff(db, viewer.workspace_id)
    viewer = await repository.find_acting(db, viewer)
    require_admin(viewer)
    user = await repository.lock_user(db, viewer.workspace_id, user_id)
    if user is None:
        raise ApiError("not_found", "There is no such person in this workspace.")
    if user.role == "owner" and viewer.role != "owner":
        raise ApiError("forbidden", "Only owners may do this to an owner.")
    return viewer, user


async def set_active(db: AsyncConnection, viewer: Viewer, user_id: str, active: bool) -> UserChanged:
    """Deactivating ends every session. Raises ApiError forbidden, not_found, conflict for the last owner."""
    _, user = await _lock_person(db, viewer, user_id)
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
    last = (user_key(user_id), version)
    if not active:
        last = [last, *await end_sessions(db, user_id, "deactivated")][-1]
    shown = user_shown(user).model_copy(update={"active": active})
    return UserChanged(user=shown, directory_at=directory_at(*last))
