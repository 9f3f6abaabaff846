"""Two queries, whoever asks: the person with where the notices stand, and the channels."""

from __future__ import annotations

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.tokens import Claims
from web_app.auth.repository import viewer_of
from web_app.auth.service import user_shown, workspace_shown
from web_app.parts import Parts
from web_app.problems import ApiError
from web_app.sync import repository
from web_app.sync.schemas import WrittenChannel, WrittenSync
from web_app.users.schemas import Me
from web_app.waiting import until_stored


async def sync(parts: Parts, claims: Claims, at_least: int) -> WrittenSync:
    """Raises ApiError unauthenticated, not_yet.

    The notices' position is read before the channels: what happens between the two is shown again by the stream, and
    nothing is left out.
    """

    async def look(db: AsyncConnection) -> tuple[int, WrittenSync | None]:
        start = await repository.find_start(db, claims)
        viewer = viewer_of(start, claims)
        assert start is not None
        if start.epoch is None:
            raise ApiError("not_yet", "The log has not been made yet.", retry_after_ms=1000)
        if start.head < at_least:
            return start.head, None
        me = Me(user=user_shown(start), workspace=workspace_shown(start), session_id=viewer.session_id)
        rows = await repository.list_channels(db, viewer.user_id)
        return start.head, WrittenSync(
            me=msgspec.Raw(me.model_dump_json().encode()),
            epoch=start.epoch,
            notices=start.head,
            channels=[WrittenChannel(*row) for row in rows],
            threads_unread=start.threads_unread,
        )

    found = await until_stored(parts, look, at_least)
    assert found is not None
    return found
