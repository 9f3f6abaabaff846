"""Work for web_app and the relay while things break: topics, comings and goings in a channel of their own, made one
after another over REST; and the proof that each became exactly one event, in the order in which they were made."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Final

from client import RestClient
from tests.stack.crowd import Crowd
from tests.stack.waiting import until

_PATIENCE_S: Final = 120.0
_PAUSE_S: Final = 0.02
_KINDS: Final = ("channel.topic_set", "members.added", "members.removed")


class Changes:
    """Changes made one after another until the end of the block; each is repeated until web_app has answered."""

    def __init__(self, crowd: Crowd, channel: str, longest_pause: float) -> None:
        self.made = 0
        self.channel = channel
        self._crowd = crowd
        self._pauses = itertools.cycle((_PAUSE_S, longest_pause))
        self._stop = asyncio.Event()

    @contextlib.asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._change())
            try:
                yield
            finally:
                self._stop.set()

    async def _change(self) -> None:
        owner, other = self._crowd.owner, self._crowd.people[-1]
        tokens = owner.rest.tokens
        async with RestClient(self._crowd.stack.web_url, tokens, patience_s=_PATIENCE_S) as rest:
            while not self._stop.is_set():
                await rest.change_channel(self.channel, topic=f"topic {self.made}")
                await rest.add_members(self.channel, [other.user_id])
                await rest.remove_member(self.channel, other.user_id)
                self.made += len(_KINDS)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), next(self._pauses))

    async def must_hold(self, patience: float = 60.0) -> None:
        """Wait until the outbox is empty, as long as it takes while it becomes emptier; then each change is one event, in
        the order made. Raises AssertionError; TimeoutError after `patience` seconds in which nothing left the outbox."""
        connection = await self._crowd.stack.database.connect()

        async def waiting() -> int:
            return int(await connection.fetchval("select count(*) from outbox"))

        try:
            while before := await waiting():

                async def less(before: int = before) -> bool:
                    return await waiting() < before

                await until(less, patience, what=f"something leaves the outbox, where {before} wait")
            rows = await connection.fetch(
                "select seq, kind from events where channel_id = $1 order by seq", self.channel
            )
        finally:
            await connection.close()
        assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
        kinds = [row["kind"] for row in rows]
        expected = list(_KINDS) * (self.made // len(_KINDS))
        assert kinds[len(kinds) - len(expected) :] == expected, "a change is lacking, doubled or out of order"


@contextlib.asynccontextmanager
async def changing(crowd: Crowd, longest_pause: float = _PAUSE_S) -> AsyncIterator[Changes]:
    """Changes in a new channel until the end of the block, every other time after this pause, seconds; ask `must_hold`
    after it."""
    reply = await crowd.owner.client.create_channel("busy")
    changes = Changes(crowd, reply.channel.id, longest_pause)
    async with changes.going_on():
        yield changes
