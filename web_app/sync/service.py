"""Five queries, whoever asks: the viewer, where the notices stand, the person, the channels, the threads."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.notices import notices_channel
from services.contract.tokens import Claims
from web_app.auth.repository import find_viewer
from web_app.auth.service import user_shown, workspace_shown
from web_app.database import AnyRow
from web_app.notices.repository import find_position
from web_app.parts import Parts
from web_app.problems import ApiError
from web_app.sync import repository
from web_app.sync.schemas import Sync, SyncedChannel
from web_app.users.repository import find_with_workspace
from web_app.users.schemas import Me
from web_app.waiting import until_stored


async def sync(parts: Parts, claims: Claims, at_least: int) -> Sync:
    """Raises ApiError not_yet.

    The notices' position is read before the channels: what happens between the two is shown again by the stream, and
    nothing is left out.
    """

    async def look(db: AsyncConnection) -> tuple[int, Sync | None]:
        viewer = await find_viewer(db, claims)
        at = await find_position(db, notices_channel(viewer.workspace_id))
        if at.epoch is None:
            raise ApiError("not_yet", "The log has not been made yet.", retry_after_ms=1000)
        if at.head < at_least:
            return at.head, None
        person = await find_with_workspace(db, viewer.user_id)
        me = Me(user=user_shown(person), workspace=workspace_shown(person), session_id=viewer.session_id)
        channels = [_channel(row) for row in await repository.list_channels(db, viewer.user_id)]
        threads = await repository.count_threads(db, viewer.user_id)
        return at.head, Sync(
            me=me, epoch=at.epoch, notices=at.head, channels=channels, threads_unread=threads
        )

    found = await until_stored(parts, look, at_least)
    assert found is not None
    return found


def _channel(row: AnyRow) -> SyncedChannel:
    return SyncedChannel(
        id=row.id,
        kind=row.kind,
        name=row.name,
        topic=row.topic,
        archived=row.archived,
        user_ids=row.direct_key.split(",") if row.direct_key else None,
        head=row.head,
        marker=row.marker,
        unread=row.unread,
        mentions=row.mentions,
        muted=row.muted,
        level=row.level,
    )
