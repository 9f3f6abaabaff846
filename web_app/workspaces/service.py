"""Signing up, settings, handing over, leaving, deleting. Each is all or nothing."""

from __future__ import annotations

from typing import Final

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.directory import directory_at
from services.contract.ids import new_entity_id
from services.database.outbox import enqueue_directory
from web_app import metrics
from web_app.audit import repository as audit
from web_app.auth.repository import Viewer
from web_app.auth.schemas import SignedUp
from web_app.auth.service import user_shown
from web_app.auth.sessions import end_sessions, start_session
from web_app.channels import service as channels
from web_app.database import AnyRow
from web_app.parts import Parts
from web_app.permissions import require
from web_app.problems import ApiError
from web_app.users import repository as users
from web_app.users.schemas import UserChanged
from web_app.users.service import user_key
from web_app.workspaces import repository
from web_app.workspaces.schemas import (
    SignUp,
    Workspace,
    WorkspaceChange,
    WorkspaceChanged,
    WorkspaceSettings,
)

FIRST_CHANNEL: Final = "general"


def workspace_key(workspace_id: str) -> str:
    return f"workspace:{workspace_id}"


async def sign_up(parts: Parts, wanted: SignUp, address: str) -> SignedUp:
    """Raises ApiError name_taken, slow_down."""
    parts.attempts.from_address(address)
    async with parts.database.reading() as db:
        if await repository.slug_is_taken(db, wanted.workspace_slug):
            raise _taken(wanted.workspace_slug)
    password_hash = await parts.passwords.hash(wanted.password.get_secret_value())
    async with parts.database.transaction() as db:
        workspace_id = new_entity_id("ws")
        workspace = await repository.add_workspace(
            db, workspace_id, wanted.workspace_slug, wanted.workspace_name
        )
        if workspace is None:
            raise _taken(wanted.workspace_slug)
        user = await users.add_user(
            db,
            user_id=new_entity_id("usr"),
            workspace_id=workspace_id,
            email=wanted.email,
            name=wanted.name,
            password_hash=password_hash,
            role="owner",
        )
        assert user is not None  # a new workspace has nobody yet
        await enqueue_directory(db, [workspace_key(workspace_id), user_key(user.id)])
        tokens = await start_session(db, parts.keys, parts.settings, user.id, workspace_id, wanted.device)
        made = await channels.add(
            db, workspace_id, user.id, "public", FIRST_CHANNEL, [user.id], is_default=True
        )
        assert made is not None  # nor any channel
        channel_id, version = made
    return SignedUp(
        user=user_shown(user),
        workspace=Workspace(
            id=workspace_id,
            slug=wanted.workspace_slug,
            name=wanted.workspace_name,
            created_at=workspace.created_at,
        ),
        tokens=tokens,
        directory_at=directory_at(channels.member_key(channel_id, user.id), version),
    )


async def change(db: AsyncConnection, viewer: Viewer, wanted: WorkspaceChange) -> WorkspaceChanged:
    """Rename, change settings. Raises ApiError forbidden."""
    require("workspace.change", viewer.role)
    row = await repository.lock_workspace(db, viewer.workspace_id)
    viewer = await users.find_acting(db, viewer)
    require("workspace.change", viewer.role)
    before = settings_shown(row)
    changed = {name: value for name, value in wanted.given.items() if getattr(before, name) != value}
    version = row.version
    if changed:
        version = await repository.change_workspace(db, viewer.workspace_id, changed)
        await enqueue_directory(db, [workspace_key(viewer.workspace_id)])
        await audit.record(db, viewer, "workspace.changed", **changed)
    return WorkspaceChanged(
        workspace=before.model_copy(update=changed),
        directory_at=directory_at(workspace_key(viewer.workspace_id), version),
    )


async def transfer(db: AsyncConnection, viewer: Viewer, user_id: str) -> UserChanged:
    """Make somebody an owner, and oneself an admin. Raises ApiError forbidden, not_found, conflict."""
    require("workspace.transfer", viewer.role)
    await repository.lock_workspace(db, viewer.workspace_id)
    viewer = await users.find_acting(db, viewer)
    require("workspace.transfer", viewer.role)
    if user_id == viewer.user_id:
        raise ApiError("conflict", "You are the owner already.")
    heir = await users.lock_user(db, viewer.workspace_id, user_id)
    if heir is None:
        raise ApiError("not_found", "There is no such person in this workspace.")
    if not heir.active:
        raise ApiError("conflict", "Somebody who is deactivated cannot own the workspace.")
    await users.set_role(db, viewer.user_id, "admin")
    version = await users.set_role(db, user_id, "owner")
    await enqueue_directory(db, [user_key(viewer.user_id), user_key(user_id)])
    await audit.record(db, viewer, "workspace.transferred", user_id)
    return UserChanged(
        user=user_shown(heir).model_copy(update={"role": "owner"}),
        directory_at=directory_at(user_key(user_id), version),
    )


async def leave(db: AsyncConnection, viewer: Viewer) -> None:
    """Deactivate oneself, which ends all one's sessions. Raises ApiError conflict for the last owner."""
    require("workspace.leave", viewer.role)
    await repository.lock_workspace(db, viewer.workspace_id)
    viewer = await users.find_acting(db, viewer)
    if viewer.role == "owner" and not await users.has_other_owner(db, viewer.workspace_id, viewer.user_id):
        raise ApiError(
            "conflict", "The last owner cannot leave: transfer the ownership first, or delete the workspace."
        )
    await users.set_active(db, viewer.user_id, False)
    await enqueue_directory(db, [user_key(viewer.user_id)])
    await end_sessions(db, viewer.user_id, "deactivated")
    await audit.record(db, viewer, "workspace.left", viewer.user_id)


async def delete(db: AsyncConnection, viewer: Viewer, slug: str) -> None:
    """For good: nobody can log in any more, and every connection ends. Raises ApiError forbidden, conflict.

    What was said stays in the database, out of everybody's reach; the slug stays taken.
    """
    require("workspace.delete", viewer.role)
    row = await repository.lock_workspace(db, viewer.workspace_id)
    viewer = await users.find_acting(db, viewer)
    require("workspace.delete", viewer.role)
    if slug != row.slug:
        raise ApiError("conflict", "This is not the slug of your workspace.")
    await repository.change_workspace(db, viewer.workspace_id, {"active": False, "deleted_at": func.now()})
    await enqueue_directory(db, [workspace_key(viewer.workspace_id)])
    metrics.SESSIONS_REVOKED.labels("workspace_deleted").inc(
        await repository.end_all_sessions(db, viewer.workspace_id)
    )
    await audit.record(db, viewer, "workspace.deleted")


def settings_shown(row: AnyRow) -> WorkspaceSettings:
    return WorkspaceSettings.model_validate(row, from_attributes=True)


def _taken(slug: str) -> ApiError:
    return ApiError("name_taken", f"There is already a workspace {slug!r}.")
