"""Moving markers: looked up, judged, and told as a notice to the person's devices and the persister."""

from __future__ import annotations

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.ids import new_event_id
from services.contract.internal import AppendRequest
from services.contract.notices import (
    Notice,
    ReadMoved,
    ThreadFollowed,
    ThreadRead,
    encode_notice,
    notices_channel,
)
from services.contract.tokens import Claims
from web_app.auth.repository import Viewer
from web_app.parts import Parts
from web_app.problems import ApiError
from web_app.read_state.repository import Place, find_place
from web_app.read_state.schemas import Followed, Following, Marker, ReadTo, UnreadFrom
from web_app.waiting import until_stored


async def read(parts: Parts, claims: Claims, channel: str, root: int | None, wanted: ReadTo) -> Marker:
    """Forward only: a device that is behind does not take back what another has read.

    Raises ApiError not_a_member, not_found for a thread, not_yet, and what a node says.
    """
    place = await _place(parts, claims, channel, root, max(wanted.seq, wanted.head))
    if wanted.seq <= place.marker:
        return Marker(seq=place.marker, head=place.head, notices=None)
    return await _put(parts, place, channel, root, wanted.seq, forward=True)


async def unread(parts: Parts, claims: Claims, channel: str, root: int | None, wanted: UnreadFrom) -> Marker:
    """Raises as `read`."""
    place = await _place(parts, claims, channel, root, max(wanted.seq, wanted.head))
    return await _put(parts, place, channel, root, wanted.seq - 1, forward=False)


async def follow(parts: Parts, claims: Claims, channel: str, root: int, wanted: Following) -> Followed:
    """Raises as `read`."""
    place = await _place(parts, claims, channel, root, root)
    mine = [place.viewer.user_id]
    notice = ThreadFollowed(channel=channel, root=root, following=wanted.following, user_ids=mine)
    return Followed(following=wanted.following, notices=await tell(parts, place.viewer, notice))


async def tell(parts: Parts, viewer: Viewer, notice: Notice) -> int:
    """Append a notice through a channel server; gives its number. Raises ApiError with what the node says."""
    request = AppendRequest(
        channel=notices_channel(viewer.workspace_id),
        sender=viewer.user_id,
        id=new_event_id(),
        event=msgspec.Raw(encode_notice(notice)),
    )
    return (await parts.channel_servers.append(request)).seq


async def _place(parts: Parts, claims: Claims, channel: str, root: int | None, at_least: int) -> Place:
    """Where they stand, once everything that they have been shown is stored: a marker never lies beyond the head."""

    async def look(db: AsyncConnection) -> tuple[int, Place]:
        place = await find_place(db, claims, channel, root)
        if not place.member:
            raise ApiError("not_a_member")
        return place.head, place

    place = await until_stored(parts, look, at_least)
    if root is not None and not place.is_root:
        raise ApiError("not_found", f"There is no message {root} that could have a thread.")
    return place


async def _put(
    parts: Parts, place: Place, channel: str, root: int | None, seq: int, *, forward: bool
) -> Marker:
    mine = [place.viewer.user_id]
    notice: Notice
    if root is None:
        notice = ReadMoved(channel=channel, seq=seq, head=place.head, forward=forward, user_ids=mine)
    else:
        notice = ThreadRead(
            channel=channel, root=root, seq=seq, head=place.head, forward=forward, user_ids=mine
        )
    return Marker(seq=seq, head=place.head, notices=await tell(parts, place.viewer, notice))
