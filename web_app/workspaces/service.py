"""Signing up: a workspace, its owner, their session and a first channel, all or nothing."""

from __future__ import annotations

from typing import Final

from services.contract.directory import directory_at
from services.contract.ids import new_entity_id
from services.database.outbox import enqueue_directory
from web_app.auth.schemas import SignedUp
from web_app.auth.service import user_shown
from web_app.auth.sessions import start_session
from web_app.channels import service as channels
from web_app.parts import Parts
from web_app.problems import ApiError
from web_app.users import repository as users
from web_app.users.service import user_key
from web_app.workspaces import repository
from web_app.workspaces.schemas import SignUp, Workspace

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


def _taken(slug: str) -> ApiError:
    return ApiError("name_taken", f"There is already a workspace {slug!r}.")
