"""What may be done to channels, and what is told of it.

Whoever changes a channel first locks its row; so the versions and the outbox rows of one channel follow the order
of the commits. Directory rows come before event rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.directory import directory_at
from services.contract.events import (
    ChannelArchived,
    ChannelCreated,
    ChannelKind,
    ChannelRenamed,
    ChannelTopicSet,
    ChannelUnarchived,
    Event,
    MembersAdded,
    encode_event,
)
from services.contract.ids import new_entity_id, uuid7
from services.contract.notices import DirectOpened
from services.database.outbox import enqueue_directory, enqueue_event, enqueue_notice
from web_app.audit import repository as audit
from web_app.auth.repository import Viewer
from web_app.channels import repository
from web_app.channels.schemas import (
    MAX_DIRECT_OTHERS,
    Channel,
    ChannelChange,
    ChannelChanged,
    NewChannel,
    NewDirectChannel,
)
from web_app.database import AnyRow
from web_app.memberships import repository as memberships
from web_app.permissions import require
from web_app.problems import ApiError, invalid_field
from web_app.users import repository as users
from web_app.workspaces import repository as workspaces


def channel_key(channel_id: str) -> str:
    return f"channel:{channel_id}"


def member_key(channel_id: str, user_id: str) -> str:
    return f"member:{channel_id}:{user_id}"


def shown(row: AnyRow, **changed: Any) -> Channel:
    """The channel as its viewer sees it; `changed` overrides what the row held before."""
    direct_key = row.direct_key
    values = {
        "id": row.id,
        "kind": row.kind,
        "name": row.name,
        "topic": row.topic,
        "archived": row.archived_at is not None,
        "member": row.member,
        "user_ids": direct_key.split(",") if direct_key else None,
        "default": row.is_default,
        "posting": row.posting,
        "adding": row.adding,
        "member_count": row.member_count,
        "created_by": row.created_by,
        "created_at": row.created_at,
    }
    return Channel.model_validate(values | changed)


async def publish(db: AsyncConnection, channel_id: str, sender_id: str, event: Event) -> None:
    """Have an event appended to the channel, behind those of earlier transactions."""
    await enqueue_event(db, uuid7(), channel_id, sender_id, encode_event(event))


async def found(db: AsyncConnection, viewer: Viewer, channel_id: str) -> AnyRow:
    """Raises ApiError not_found for a channel that the viewer may not see, and for none at all."""
    row = await repository.find_channel(db, viewer, channel_id)
    if row is None:
        raise ApiError("not_found", "There is no such channel, or not for you.")
    return row


async def require_addable(db: AsyncConnection, viewer: Viewer, channel_ids: Sequence[str]) -> None:
    """Whether the viewer may put people into each of these channels, without locking them.

    Raises ApiError not_found, not_a_member, forbidden, conflict, archived.
    """
    if not channel_ids:
        return
    rows = await repository.find_channels(db, viewer, channel_ids)
    if len(rows) < len(set(channel_ids)):
        raise ApiError("not_found", "There is no such channel, or not for you.")
    for row in rows:
        require_action("member.add", viewer, row)
        require_named(row)
        require_not_archived(row)


async def locked(db: AsyncConnection, viewer: Viewer, channel_id: str) -> AnyRow:
    """The channel with its row locked. Raises ApiError not_found."""
    row = await repository.lock_channel(db, viewer, channel_id)
    if row is None:
        raise ApiError("not_found", "There is no such channel, or not for you.")
    return row


def require_named(row: AnyRow) -> None:
    """Raises ApiError conflict for direct and group channels: they are what their people are."""
    if row.kind not in ("public", "private"):
        raise ApiError("conflict", "A direct or group channel cannot be changed.")


def facts(viewer: Viewer, row: AnyRow) -> set[str]:
    """What is true of a channel that the viewer sees, in the words of `permissions`."""
    held = {
        "inside": row.member,
        "maker": row.created_by == viewer.user_id,
        "posting": row.posting == "everyone",
        "adding": row.adding == "everyone",
    }
    return {"seen", *(word for word, holds in held.items() if holds)}


def require_action(action: str, viewer: Viewer, row: AnyRow) -> None:
    """Raises ApiError not_a_member, forbidden."""
    require(action, viewer.role, facts(viewer, row))


def require_not_archived(row: AnyRow) -> None:
    """Raises ApiError archived."""
    if row.archived_at is not None:
        raise ApiError("archived")


async def create(db: AsyncConnection, viewer: Viewer, wanted: NewChannel) -> ChannelChanged:
    """Raises ApiError forbidden, name_taken."""
    allowed = (await workspaces.find_workspace(db, viewer.workspace_id)).who_may_create_channels == "members"
    require("channel.create", viewer.role, {"setting"} if allowed else ())
    made = await add(
        db,
        viewer.workspace_id,
        viewer.user_id,
        wanted.kind,
        wanted.name,
        [viewer.user_id],
        topic=wanted.topic,
    )
    if made is None:
        raise ApiError("name_taken", f"There is already a channel named {wanted.name!r}.")
    return await _made(db, viewer, *made)


async def open_direct(
    db: AsyncConnection, viewer: Viewer, wanted: NewDirectChannel
) -> tuple[int, ChannelChanged]:
    """The one channel of these people: (201, just made) or (200, it was there).

    Raises ApiError not_found when somebody is not an active person of the workspace.
    """
    others = sorted(set(wanted.user_ids) - {viewer.user_id})
    if not 1 <= len(others) <= MAX_DIRECT_OTHERS:
        raise invalid_field("body.user_ids", f"name 1 to {MAX_DIRECT_OTHERS} people besides yourself")
    people = sorted([viewer.user_id, *others])
    direct_key = ",".join(people)
    if (row := await repository.find_direct(db, viewer, direct_key)) is not None:
        return 200, _unchanged(viewer, row)
    require("direct.open", viewer.role, {"shares"} if await _sees_all(db, viewer, others) else ())
    present = {row.user_id for row in await memberships.find_people(db, viewer.workspace_id, "", people)}
    require_people(people, present)
    kind: ChannelKind = "direct" if len(people) == 2 else "group"
    made = await add(db, viewer.workspace_id, viewer.user_id, kind, "", people, direct_key=direct_key)
    if made is not None:
        told = DirectOpened(channel=made[0], user_ids=others)
        await enqueue_notice(db, viewer.workspace_id, viewer.user_id, told)
        return 201, await _made(db, viewer, *made)
    # Somebody else of them was faster, and has committed by now.
    row = await repository.find_direct(db, viewer, direct_key)
    assert row is not None
    return 200, _unchanged(viewer, row)


async def _sees_all(db: AsyncConnection, viewer: Viewer, user_ids: Sequence[str]) -> bool:
    return not viewer.is_guest or await users.visible_among(db, viewer, user_ids) == set(user_ids)


def require_people(wanted: Sequence[str], present: set[str]) -> None:
    """Raises ApiError not_found naming those who are not active people of the workspace."""
    if missing := [user_id for user_id in wanted if user_id not in present]:
        raise ApiError("not_found", f"Not active people of this workspace: {', '.join(missing[:10])}.")


async def add(
    db: AsyncConnection,
    workspace_id: str,
    creator: str,
    kind: ChannelKind,
    name: str,
    people: Sequence[str],
    *,
    topic: str = "",
    direct_key: str | None = None,
    is_default: bool = False,
) -> tuple[str, int] | None:
    """A new channel with its first members: (id, version); None when the name, or the set of people, has one."""
    channel_id = new_entity_id("ch")
    version = await repository.draw_version(db)
    added = await repository.add_channel(
        db,
        channel_id=channel_id,
        workspace_id=workspace_id,
        kind=kind,
        name=name,
        topic=topic,
        direct_key=direct_key,
        created_by=creator,
        is_default=is_default,
        member_count=len(people),
        version=version,
    )
    if not added:
        return None
    await memberships.set_members(db, channel_id, people, version)
    await enqueue_directory(db, [channel_key(channel_id), *(member_key(channel_id, each) for each in people)])
    await publish(db, channel_id, creator, ChannelCreated(kind=kind, name=name))
    await publish(db, channel_id, creator, MembersAdded(user_ids=list(people), version=version))
    if topic:
        await publish(db, channel_id, creator, ChannelTopicSet(topic=topic))
    return channel_id, version


async def _made(db: AsyncConnection, viewer: Viewer, channel_id: str, version: int) -> ChannelChanged:
    row = await found(db, viewer, channel_id)
    last = row.direct_key.split(",")[-1] if row.direct_key else viewer.user_id
    return ChannelChanged(
        channel=shown(row), directory_at=directory_at(member_key(channel_id, last), version)
    )


def _unchanged(viewer: Viewer, row: AnyRow) -> ChannelChanged:
    key = member_key(row.id, viewer.user_id)
    return ChannelChanged(channel=shown(row), directory_at=directory_at(key, row.member_version))


async def change(
    db: AsyncConnection, viewer: Viewer, channel_id: str, wanted: ChannelChange
) -> ChannelChanged:
    """Rename, set the topic. Raises ApiError not_found, not_a_member, forbidden, conflict, archived, name_taken."""
    row = await locked(db, viewer, channel_id)
    require_action("channel.change", viewer, row)
    require_named(row)
    require_not_archived(row)
    changed: dict[str, Any] = {}
    events: list[Event] = []
    if wanted.name is not None and wanted.name != row.name:
        changed["name"] = wanted.name
        events.append(ChannelRenamed(name=wanted.name))
    if wanted.topic is not None and wanted.topic != row.topic:
        changed["topic"] = wanted.topic
        events.append(ChannelTopicSet(topic=wanted.topic))
    if changed:
        try:
            await repository.change_channel(db, channel_id, **changed)
        except IntegrityError as error:
            raise ApiError("name_taken", f"There is already a channel named {wanted.name!r}.") from error
    for event in events:
        await publish(db, channel_id, viewer.user_id, event)
    return ChannelChanged(
        channel=shown(row, **changed), directory_at=directory_at(channel_key(channel_id), row.version)
    )


async def set_archived(
    db: AsyncConnection, viewer: Viewer, channel_id: str, archived: bool
) -> ChannelChanged:
    """Archiving an archived channel changes nothing. Raises ApiError not_found, not_a_member, forbidden, conflict."""
    row = await locked(db, viewer, channel_id)
    require_action("channel.manage", viewer, row)
    require_named(row)
    if (row.archived_at is not None) == archived:
        return ChannelChanged(
            channel=shown(row), directory_at=directory_at(channel_key(channel_id), row.version)
        )
    version = await repository.draw_version(db)
    await repository.change_channel(
        db, channel_id, archived_at=func.now() if archived else None, version=version
    )
    await enqueue_directory(db, [channel_key(channel_id)])
    await publish(db, channel_id, viewer.user_id, ChannelArchived() if archived else ChannelUnarchived())
    await audit.record(db, viewer, "channel.archived" if archived else "channel.unarchived", channel_id)
    return ChannelChanged(
        channel=shown(row, archived=archived), directory_at=directory_at(channel_key(channel_id), version)
    )
