"""Who may add, join, leave and remove, and what is told of it.

Everything happens under the lock of the channel's row. One act is one version and one event, however many people
it names; an act that changes nothing causes neither.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.directory import directory_at
from services.contract.events import MembersAdded as MembersAddedEvent
from services.contract.events import MembersRemoved
from services.database.outbox import enqueue_directory
from web_app.audit import repository as audit
from web_app.auth.repository import Viewer
from web_app.channels import service as channels
from web_app.channels.repository import count_members, lock_channel, lock_first_channels
from web_app.channels.schemas import ChannelChanged
from web_app.channels.service import member_key
from web_app.memberships import repository
from web_app.memberships.schemas import MembersAdded, MembershipChanged
from web_app.problems import ApiError


async def add_members(
    db: AsyncConnection, viewer: Viewer, channel_id: str, user_ids: Sequence[str]
) -> MembersAdded:
    """Raises ApiError not_found, not_a_member, forbidden, conflict, archived."""
    channel = await channels.locked(db, viewer, channel_id)
    channels.require_action("member.add", viewer, channel)
    channels.require_named(channel)
    channels.require_not_archived(channel)
    wanted = sorted(set(user_ids))
    people = {
        row.user_id: row for row in await repository.find_people(db, viewer.workspace_id, channel_id, wanted)
    }
    channels.require_people(wanted, set(people))
    new = [user_id for user_id in wanted if not people[user_id].member]
    if not new:
        last = wanted[-1]
        return MembersAdded(
            added=[], directory_at=directory_at(member_key(channel_id, last), people[last].version)
        )
    version = await _add(db, channel_id, viewer.user_id, new)
    return MembersAdded(added=new, directory_at=directory_at(member_key(channel_id, new[-1]), version))


async def join(db: AsyncConnection, viewer: Viewer, channel_id: str) -> ChannelChanged:
    """Raises ApiError not_found, forbidden, archived."""
    channel = await channels.locked(db, viewer, channel_id)
    key = member_key(channel_id, viewer.user_id)
    if channel.member:
        return ChannelChanged(
            channel=channels.shown(channel), directory_at=directory_at(key, channel.member_version)
        )
    # What a person sees and is not in can only be public.
    channels.require_not_archived(channel)
    version = await _add(db, channel_id, viewer.user_id, [viewer.user_id])
    return ChannelChanged(
        channel=channels.shown(channel, member=True, member_count=channel.member_count + 1),
        directory_at=directory_at(key, version),
    )


async def join_first_channels(
    db: AsyncConnection, newcomer: Viewer, inviter: Viewer, channel_ids: Sequence[str]
) -> tuple[str, int] | None:
    """Put somebody who has just come into the workspace's default channels, as if they had joined them (guests into
    none), and into those of these to which who invited them could add them now.

    Gives the last (directory key, version); None when they are nowhere.
    """
    last = None
    for row in await lock_first_channels(db, inviter, channel_ids, default=not newcomer.is_guest):
        sender = newcomer.user_id if row.is_default and not newcomer.is_guest else inviter.user_id
        version = await _add(db, row.id, sender, [newcomer.user_id])
        last = member_key(row.id, newcomer.user_id), version
    return last


async def _add(db: AsyncConnection, channel_id: str, sender_id: str, user_ids: list[str]) -> int:
    """None of these people is a member yet."""
    version = await count_members(db, channel_id, len(user_ids))
    await repository.set_members(db, channel_id, user_ids, version)
    await enqueue_directory(db, [member_key(channel_id, user_id) for user_id in user_ids])
    await channels.publish(db, channel_id, sender_id, MembersAddedEvent(user_ids=user_ids, version=version))
    return version


async def leave(db: AsyncConnection, viewer: Viewer, channel_id: str) -> MembershipChanged:
    """Leaving a channel that one has left changes nothing. Raises ApiError not_found, not_a_member, conflict."""
    channel = await lock_channel(db, viewer, channel_id)
    if channel is not None:
        channels.require_named(channel)
    return await _remove(db, viewer, channel_id, viewer.user_id)


async def remove_member(
    db: AsyncConnection, viewer: Viewer, channel_id: str, user_id: str
) -> MembershipChanged:
    """Raises ApiError not_found, not_a_member, forbidden, conflict."""
    if user_id == viewer.user_id:
        return await leave(db, viewer, channel_id)
    channel = await channels.locked(db, viewer, channel_id)
    channels.require_action("member.remove", viewer, channel)
    channels.require_named(channel)
    return await _remove(db, viewer, channel_id, user_id)


async def _remove(db: AsyncConnection, viewer: Viewer, channel_id: str, user_id: str) -> MembershipChanged:
    membership = await repository.find_membership(db, channel_id, user_id)
    if membership is None:
        # Never was one: of a channel that may be private, say no more than of none at all.
        if user_id == viewer.user_id:
            raise ApiError("not_a_member")
        raise ApiError("not_found", "This person is not in the channel.")
    key = member_key(channel_id, user_id)
    if not membership.member:
        return MembershipChanged(directory_at=directory_at(key, membership.version))
    version = await count_members(db, channel_id, -1)
    await repository.unset_member(db, channel_id, user_id, version)
    await enqueue_directory(db, [key])
    await channels.publish(
        db, channel_id, viewer.user_id, MembersRemoved(user_ids=[user_id], version=version)
    )
    if user_id != viewer.user_id:
        await audit.record(db, viewer, "channel.member_removed", channel_id, user_id=user_id)
    return MembershipChanged(directory_at=directory_at(key, version))
