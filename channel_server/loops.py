"""The loops of a node: each brings the core what has happened, and lets others run in between."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any

from channel_server.core.node import Node
from services.contract.envelope import UnknownEnvelopeVersion
from services.eventlog.directory import DirectoryTail
from services.eventlog.errors import LogLost, Overtaken
from services.eventlog.records import LogRecord
from services.eventlog.replay import Replay
from services.runtime.beat import until_beat
from services.runtime.news import News
from services.runtime.process import Fatal

BATCH_BYTES = 256 * 1024
"""What the node is given at once of events that are large, so that others get their turn in between."""

GIVING_WAY = 3
"""Turns of the event loop between two steps of what takes long: a message takes several turns from its socket to the log and
back, and should not have to wait for a step at every one."""

TICK_SECONDS = 0.125
"""A part of what the log's proofs are renewed after: both wake the node together (`services.runtime.beat`)."""

SILENCE_SECONDS = 10.0

QUIET_MS = 1_000
"""A tail without records gives its turn back after this long; that it is current is looked at with every tick."""

PROOF_SECONDS = 0.01
"""Proofs of being current are looked at so often at most: they are good for seconds, and looking costs as much as a message."""

Batch = list[tuple[int, list[LogRecord]]]


class Loops:
    """`wake` may be called at any time, by anybody, when there may be laggards."""

    def __init__(self, node: Node, replay: Replay, directory: DirectoryTail) -> None:
        self._node = node
        self._replay = replay
        self._directory = directory
        self._laggards = asyncio.Event()
        self._shows = News()
        self._shows_at = math.inf
        self._proved = 0.0
        self.replayed = asyncio.Event()
        """Set once both tails have been at their ends."""

    @property
    def all(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """What has to run, each as a task of its own."""
        return [self.follow_events, self.follow_directory, self.tick, self.show, self.catch_up]

    def wake(self) -> None:
        self._laggards.set()

    async def follow_events(self) -> None:
        """Raises Overtaken, before anything was shown; LogLost; Fatal when the log is written by a release that this one
        cannot count with."""
        try:
            while True:
                fetched = await self._replay.batch(QUIET_MS)
                if time.monotonic() - self._proved >= PROOF_SECONDS:
                    self._prove()
                for place, batch in enumerate(bounded(fetched)):
                    if place:
                        await asyncio.sleep(0)
                    for partition, records in batch:
                        self._node.records(partition, records)
                    # Most of what comes concerns few, and all of it is written here and now.
                    self._show_some()
                    while self._node.is_crowded:
                        await asyncio.sleep(0)
                        self._node.show()
                if self._node.has_laggards:
                    self.wake()
        except Overtaken:
            raise
        except LogLost:
            self._node.log_lost()
            raise
        except UnknownEnvelopeVersion as error:
            raise Fatal(f"{error}: this release cannot number it; deploy the newer one everywhere") from error

    async def follow_directory(self) -> None:
        """Raises LogLost."""
        try:
            while True:
                self._node.directory_records(await self._directory.batch(QUIET_MS))
                self._prove()
                if self._node.has_laggards:
                    self.wake()
        except LogLost:
            self._node.log_lost()
            raise

    async def tick(self) -> None:
        while True:
            self._prove()
            self._node.tick()
            self._show_some()
            if self._node.has_laggards:
                self.wake()
            await asyncio.sleep(until_beat(TICK_SECONDS, time.monotonic()))

    async def show(self) -> None:
        """What is left over by the others, when it is its turn."""
        while True:
            await _to_the_end(self._node.show)
            self._shows.clear()
            self._shows_at = self._node.next_turn
            await self._shows.wait(min(self._shows_at - time.monotonic(), SILENCE_SECONDS))

    async def catch_up(self) -> None:
        while True:
            await self._laggards.wait()
            self._laggards.clear()
            await _to_the_end(self._node.catch_up)

    def _show_some(self) -> None:
        if self._node.show(turns=False) or self._node.next_turn < self._shows_at:
            self._shows.set()

    def _prove(self) -> None:
        self._proved = time.monotonic()
        events, directory = self._replay.proofs(), self._directory.proven_current()
        self._node.proven(events, directory)
        if directory and all(events.values()):
            self.replayed.set()


async def _to_the_end(step: Callable[[], bool]) -> None:
    """Take steps until there are no more, giving way between two."""
    while step():
        for _ in range(GIVING_WAY):
            await asyncio.sleep(0)


def bounded(fetched: Mapping[int, Sequence[LogRecord]]) -> Iterator[Batch]:
    """Cut what was fetched into batches of about `BATCH_BYTES`, each partition's order kept."""
    batch: Batch = []
    size = 0
    for partition, records in fetched.items():
        part: list[LogRecord] = []
        batch.append((partition, part))
        for record in records:
            part.append(record)
            size += len(record.value or b"")
            if size >= BATCH_BYTES:
                yield batch
                part = []
                batch = [(partition, part)]
                size = 0
    if any(part for _, part in batch):
        yield batch
