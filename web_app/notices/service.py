"""Reading one's notices; announcing."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.notices import AnnouncementPosted, addressed, notices_channel
from services.contract.tokens import Claims
from services.database.outbox import enqueue_notice
from web_app.audit import repository as audit
from web_app.auth.repository import Viewer, find_viewer
from web_app.database import AnyRow
from web_app.notices import repository
from web_app.notices.schemas import Announced, NewAnnouncement, NoticesQuery, WrittenNotice, WrittenNoticePage
from web_app.parts import Parts
from web_app.permissions import require
from web_app.problems import ApiError
from web_app.waiting import until_stored


async def notice_page(parts: Parts, claims: Claims, wanted: NoticesQuery) -> WrittenNoticePage:
    """Raises ApiError unauthenticated, not_yet."""

    async def look(db: AsyncConnection) -> tuple[int, WrittenNoticePage]:
        viewer = await find_viewer(db, claims)
        stream = notices_channel(viewer.workspace_id)
        at = await repository.find_position(db, stream)
        if at.epoch is None:
            raise ApiError("not_yet", "The log has not been made yet.", retry_after_ms=1000)
        rows = await repository.read_page(db, stream, wanted.after)
        return at.head, _page(viewer, at.epoch, at.head, rows, wanted)

    return await until_stored(parts, look, wanted.at_least or 0)


async def announce(db: AsyncConnection, viewer: Viewer, wanted: NewAnnouncement) -> Announced:
    """One record, however many people. Raises ApiError forbidden, not_found for who is not of the workspace."""
    require("announcement.post", viewer.role)
    people = sorted(set(wanted.user_ids))
    if people and await repository.count_active(db, viewer.workspace_id, people) != len(people):
        raise ApiError("not_found", "Somebody of these is not an active person of this workspace.")
    notice = AnnouncementPosted(text=wanted.text, user_ids=people, all=wanted.all)
    await enqueue_notice(db, viewer.workspace_id, viewer.user_id, notice)
    await audit.record(
        db, viewer, "announcement.posted", text=wanted.text[:200], addressed=len(people) or None
    )
    return Announced(addressed=None if wanted.all else len(people))


def _page(
    viewer: Viewer, epoch: int, head: int, rows: Sequence[AnyRow], wanted: NoticesQuery
) -> WrittenNoticePage:
    mine: list[WrittenNotice] = []
    position = wanted.after
    for row in rows:
        notice = addressed(row.body)
        if notice is not None and notice.addresses(viewer.user_id):
            if len(mine) == wanted.limit:
                break
            mine.append(
                WrittenNotice(row.seq, str(row.event_id), row.sender_id, row.at_ms, msgspec.Raw(notice.body))
            )
        position = row.seq
    # Head and rows are of two moments: what was read is not beyond the head.
    return WrittenNoticePage(epoch, position, max(head, position), mine)
