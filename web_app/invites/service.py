"""Inviting people, and becoming somebody by an invitation."""

from __future__ import annotations

import datetime as dt

from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.directory import directory_at
from services.contract.ids import new_entity_id
from services.contract.notices import InviteAccepted
from services.database.outbox import enqueue_directory, enqueue_notice
from web_app.audit import repository as audit
from web_app.auth.repository import Viewer
from web_app.auth.schemas import SignedUp
from web_app.auth.service import user_shown, workspace_shown
from web_app.auth.sessions import hash_of, hash_of_sent, new_secret, start_session
from web_app.channels import service as channels
from web_app.database import AnyRow
from web_app.invites import repository
from web_app.invites.schemas import AcceptInvite, Invite, InviteCreated, NewInvite
from web_app.memberships.service import join_first_channels
from web_app.parts import Parts
from web_app.permissions import permits, require
from web_app.problems import ApiError
from web_app.settings import WebSettings
from web_app.users import repository as users
from web_app.users.service import above, facts, user_key
from web_app.workspaces import repository as workspaces


async def invite(
    db: AsyncConnection, viewer: Viewer, wanted: NewInvite, settings: WebSettings
) -> InviteCreated:
    """Raises ApiError forbidden, name_taken, not_found and not_a_member for a channel."""
    allowed = set(facts(viewer, wanted.role))
    if (await workspaces.find_workspace(db, viewer.workspace_id)).who_may_invite == "members":
        allowed.add("setting")
    require("invite.create", viewer.role, allowed)
    channel_ids = sorted(set(wanted.channel_ids))
    await channels.require_addable(db, viewer, channel_ids)
    if await users.email_is_taken(db, viewer.workspace_id, wanted.email):
        raise ApiError("name_taken", "Somebody in this workspace has this e-mail address.")
    token = new_secret()
    shown = Invite(
        id=new_entity_id("inv"),
        email=wanted.email,
        role=wanted.role,
        invited_by=viewer.user_id,
        channel_ids=channel_ids,
        expires_at=_end(settings),
    )
    await repository.add_invite(
        db,
        invite_id=shown.id,
        workspace_id=viewer.workspace_id,
        email=shown.email,
        role=shown.role,
        token_hash=hash_of(token),
        invited_by=viewer.user_id,
        channel_ids=channel_ids,
        expires_at=shown.expires_at,
    )
    await audit.record(db, viewer, "invite.created", shown.id, email=shown.email, role=shown.role)
    return _created(shown, token, settings)


async def renew(db: AsyncConnection, viewer: Viewer, invite_id: str, settings: WebSettings) -> InviteCreated:
    """Another link, good as long as a new one is; the old one is worthless. Who renews it answers for it when who made
    it could make it no more. Raises ApiError forbidden, not_found.
    """
    return await _renew(db, viewer, await _locked(db, viewer, invite_id), settings)


async def again(db: AsyncConnection, viewer: Viewer, invite_id: str, settings: WebSettings) -> InviteCreated:
    """The answer to a repeat of `invite`: its invitation by another link. Raises ApiError not_found when it is accepted
    or withdrawn by now.
    """
    found = await repository.lock_invite(db, viewer.workspace_id, invite_id)
    if found is None:
        raise _gone()
    return await _renew(db, viewer, found, settings)


async def _renew(db: AsyncConnection, viewer: Viewer, found: AnyRow, settings: WebSettings) -> InviteCreated:
    token = new_secret()
    answers = found.invited_by if _stands(found) else viewer.user_id
    expires_at = _end(settings)
    await repository.renew_invite(db, found.id, hash_of(token), answers, expires_at)
    await audit.record(db, viewer, "invite.renewed", found.id, email=found.email)
    renewed = shown(found).model_copy(update={"invited_by": answers, "expires_at": expires_at})
    return _created(renewed, token, settings)


async def withdraw(db: AsyncConnection, viewer: Viewer, invite_id: str) -> None:
    """Nothing is left of it. Raises ApiError forbidden, not_found when there is none or it has been accepted."""
    found = await _locked(db, viewer, invite_id)
    await repository.remove_invite(db, invite_id)
    await audit.record(db, viewer, "invite.withdrawn", invite_id, email=found.email)


async def _locked(db: AsyncConnection, viewer: Viewer, invite_id: str) -> AnyRow:
    require("invite.manage", viewer.role, {"lesser"})
    found = await repository.lock_invite(db, viewer.workspace_id, invite_id)
    if found is None:
        raise _gone()
    require("invite.manage", viewer.role, facts(viewer, found.role))
    return found


def _gone() -> ApiError:
    return ApiError("not_found", "There is no such invitation, or it has been accepted.")


def shown(row: AnyRow) -> Invite:
    return Invite(
        id=row.id,
        email=row.email,
        role=row.role,
        invited_by=row.invited_by,
        channel_ids=row.channel_ids,
        expires_at=row.expires_at,
    )


def _end(settings: WebSettings) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=settings.web_invite_s)


def _created(invite: Invite, token: str, settings: WebSettings) -> InviteCreated:
    return InviteCreated(invite=invite, token=token, link=f"{settings.web_invite_link}#{token}")


async def accept(parts: Parts, wanted: AcceptInvite, address: str) -> SignedUp:
    """The account, a session, a place in the channels that the invitation names and, for all but guests, in the
    workspace's default ones.

    Raises ApiError not_found, name_taken, slow_down. The password's work is done outside of any transaction."""
    parts.attempts.from_address(address)
    token_hash = hash_of_sent(wanted.token)
    async with parts.database.reading() as db:
        _open(await repository.find_open_invite(db, token_hash))
    password_hash = await parts.passwords.hash(wanted.password.get_secret_value())
    async with parts.database.transaction() as db:
        invite = _open(await repository.find_open_invite(db, token_hash, lock=True))
        await repository.use_invite(db, invite.id)
        user = await users.add_user(
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
        newcomer = Viewer(user.id, invite.workspace_id, tokens.session_id, user.role)
        inviter = Viewer(invite.invited_by, invite.workspace_id, "", invite.inviter_role)
        last = await join_first_channels(db, newcomer, inviter, invite.channel_ids)
        await audit.record(db, newcomer, "invite.accepted", invite.id, role=user.role)
        told = InviteAccepted(user=user.id, user_ids=[invite.invited_by])
        await enqueue_notice(db, invite.workspace_id, user.id, told)
    return SignedUp(
        user=user_shown(user),
        workspace=workspace_shown(invite),
        tokens=tokens,
        directory_at=directory_at(*(last or (user_key(user.id), user.version))),
    )


def _open(invite: AnyRow | None) -> AnyRow:
    """Raises ApiError not_found."""
    if invite is None or not _stands(invite):
        raise ApiError("not_found", "The invitation is unknown, used or expired.")
    return invite


def _stands(invite: AnyRow) -> bool:
    """Whether who made it could make it today: nobody comes in on the word of somebody who was put out."""
    if not invite.inviter_active:
        return False
    allowed = {"setting"} if invite.who_may_invite == "members" else set[str]()
    return permits(
        "invite.create", invite.inviter_role, allowed | set(above(invite.inviter_role, invite.role))
    )
