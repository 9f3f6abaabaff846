"""The worker: what is due goes into the outbox, and out of the table, in one transaction.

So it is posted once, whatever dies when, and whatever other web apps do at the same time: they skip what is locked.
The relay takes it from there. Whether its author may still post is judged at that moment.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.events import MessagePosted, encode_event
from services.contract.ids import uuid7
from services.database.outbox import enqueue_event
from services.markup.mentions import mentions_of
from web_app.database import AnyRow, Database
from web_app.permissions import lacking
from web_app.problems import ApiError
from web_app.scheduled import repository

EVERY_S: Final = 1.0
BATCH: Final = 50

log = structlog.get_logger()


class Sender:
    """Works while `running` is entered."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._task: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self._task = asyncio.create_task(self._run(), name="scheduled")
        try:
            yield
        finally:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def failed(self) -> None:
        """Returns never; raises when the worker ended by a defect, in which case the process should end, too."""
        assert self._task is not None
        await asyncio.shield(self._task)

    async def _run(self) -> None:
        while True:
            taken = 0
            with contextlib.suppress(ApiError):  # logged where it was found out; what is due waits
                async with self._database.transaction() as db:
                    taken = await post_due(db)
            if taken < BATCH:
                await asyncio.sleep(EVERY_S)


async def post_due(db: AsyncConnection) -> int:
    """Take up to BATCH that are due; gives how many."""
    due = await repository.lock_due(db, BATCH)
    if not due:
        return 0
    # Before anything is judged: nobody leaves or archives a channel between the judgement and the outbox.
    await repository.lock_channels(db, set(due.values()))
    rows = await repository.read_due(db, due)
    refused: defaultdict[str, list[str]] = defaultdict(list)
    posted: list[AnyRow] = []
    for row in rows:
        code = _refusal(row)
        if code is None:
            posted.append(row)
        else:
            refused[code].append(row.id)
    for code, ids in refused.items():
        await repository.set_failed(db, ids, code)
    if posted:
        for row in posted:
            await _enqueue(db, row)
        await repository.remove(db, [row.id for row in posted])
    log.info("scheduled messages", posted=len(posted), refused=len(rows) - len(posted))
    return len(rows)


def _refusal(row: AnyRow) -> str | None:
    """The code of what keeps it from being posted."""
    facts = ({"inside", "seen"} if row.member else set()) | (
        {"posting"} if row.posting == "everyone" else set()
    )
    if not row.active or not row.workspace_active:
        return "forbidden"
    if not row.member:
        return "not_a_member"
    if lacking("message.post", row.role, facts) is not None:
        return "forbidden"
    if row.archived_at is not None:
        return "archived"
    return "too_large" if len(row.text) > row.max_text else None


async def _enqueue(db: AsyncConnection, row: AnyRow) -> None:
    named = mentions_of(row.text)
    mentions: list[str] = []
    if named.unresolved:
        # Who will be active when it is numbered is not known here: `<!here>` is everybody.
        people = await repository.people_of(
            db, row.workspace_id, row.channel_id, named.groups, everybody=named.here
        )
        mentions = [user for user in people if user != row.user_id and user not in named.users]
    event = MessagePosted(text=row.text, thread=row.thread, also_to_channel=row.also_to_channel)
    await enqueue_event(db, uuid7(), row.channel_id, row.user_id, encode_event(event), mentions)
