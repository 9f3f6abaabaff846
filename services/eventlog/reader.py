"""The reader under every tail: raw records in order, breaks noticed, the log compared, being current proven."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self

from services.eventlog.batches import RawRecord
from services.eventlog.brokers import Brokers
from services.eventlog.comparison import compare, compare_until_answered
from services.eventlog.errors import LogLost
from services.eventlog.fetcher import REQUEST_TIMEOUT_MS, Fetcher, Place
from services.eventlog.probe import Probe
from services.eventlog.sequencer import LastRecord

MAX_RECORDS: Final = 250
"""The most records in one batch: a reader that catches up lets others have the loop after each, and so few are still in the
processor's cache when the caller comes to the last of them."""

_CONNECT_S: Final = 30.0


class TopicReader:
    """Reads partitions of one topic, without a group, from given positions; see `tail.Tail` for what it guarantees.

    After a break in what a broker says, the partitions concerned, and only those, wait until their last records have been
    read again and found to be the same.

    positions   partition -> next offset to be handed out
    last        partition -> the last record handed out, or the one to compare with at the start
    """

    def __init__(
        self,
        kafka: str,
        topic: str,
        positions: Mapping[int, int],
        *,
        last: Mapping[int, LastRecord | None],
        identify: Callable[[RawRecord], str],
        committed_only: bool = False,
        compacted: bool = False,
    ) -> None:
        """`identify` gives the id of a record, to tell it from another at the same offset."""
        self.positions = dict(positions)
        self.last: dict[int, LastRecord | None] = {p: last.get(p) for p in positions}
        self._topic = topic
        self._identify = identify
        self._compacted = compacted
        self._brokers = Brokers(kafka, topic, request_timeout_ms=REQUEST_TIMEOUT_MS)
        self._probe = Probe(kafka, topic, committed_only=committed_only, brokers=self._brokers)
        self._places = {partition: Place(partition, position) for partition, position in positions.items()}
        self._fetcher = Fetcher(self._brokers, topic, self._places.values(), committed_only=committed_only)
        # By leader: one that does not answer holds up no other's.
        self._comparisons: dict[int | None, asyncio.Task[None]] = {}
        self._fetching: asyncio.Task[None] | None = None
        # where the caller stood when it last came for more
        self._taken = dict(positions)
        self._is_full = False
        self._lost: LogLost | None = None

    async def __aenter__(self) -> Self:
        await self._brokers.start()
        try:
            async with asyncio.timeout(_CONNECT_S):
                await self._compare(list(self._places.values()))
        except BaseException:
            await self._brokers.close()
            raise
        self._fetching = asyncio.create_task(self._fetcher.run(), name=f"fetch {self._topic}")
        self._fetching.add_done_callback(lambda _: self._fetcher.news.set())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [task for task in (self._fetching, *self._comparisons.values()) if task is not None]
        for task in tasks:
            task.cancel()
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            await self._brokers.close()

    async def batch(self, timeout_ms: int, most: int = MAX_RECORDS) -> dict[int, list[RawRecord]]:
        """The next records by partition, `most` at most; {} when none came within `timeout_ms` or earlier. Raises LogLost."""
        self._taken = dict(self.positions)
        deadline = time.monotonic() + timeout_ms / 1000
        if self._is_full:
            # More is there already: nobody else would get the loop before all of it is gone.
            await asyncio.sleep(0)
        while True:
            self._resolve()
            # What came to light while nobody looked is compared before anything is handed out: nothing awaits in between.
            self._fetcher.news.clear()
            handed = self._fetcher.take(most)
            moved = self._advance(handed)
            self._is_full = sum(map(len, handed.values())) >= most
            if handed or moved:
                return handed
            if not await self._fetcher.news.wait(deadline - time.monotonic()):
                self._resolve()
                return {}

    def _advance(self, handed: Mapping[int, list[RawRecord]]) -> bool:
        moved = False
        for partition, position in self._fetcher.handed.items():
            if position != self.positions[partition]:
                self.positions[partition] = position
                moved = True
        for partition, records in handed.items():
            newest = records[-1]
            self.last[partition] = LastRecord(newest.offset, newest.timestamp, self._identify(newest))
        return moved

    async def look(self) -> None:
        """Compare what was read with the log, now and once. Raises LogLost, aiokafka's KafkaError or TimeoutError."""
        await compare(
            self._probe, self._topic, self.positions, self.last, self._identify, compacted=self._compacted
        )

    def proven_current(self) -> float:
        """As `tail.Tail.proven_current`."""
        return min(self.proofs().values(), default=time.monotonic())

    def proofs(self) -> dict[int, float]:
        """The same by partition."""
        return {partition: place.proven(self._taken[partition]) for partition, place in self._places.items()}

    def _resolve(self) -> None:
        """Have what is in doubt compared, and take note of what was. Raises LogLost."""
        if self._lost is not None:
            raise self._lost
        assert self._fetching is not None
        if self._fetching.done():
            self._fetching.result()
        for leader, task in list(self._comparisons.items()):
            if task.done():
                del self._comparisons[leader]
                try:
                    task.result()
                except LogLost as lost:
                    self._lost = lost
                    raise
        doubtful: defaultdict[int | None, list[Place]] = defaultdict(list)
        for place in self._places.values():
            if place.is_doubtful:
                doubtful[self._brokers.leader(place.partition)].append(place)
        for leader, places in doubtful.items():
            if leader not in self._comparisons:
                task = asyncio.create_task(self._compare(places), name=f"compare {self._topic}")
                task.add_done_callback(lambda _: self._fetcher.news.set())
                self._comparisons[leader] = task

    async def _compare(self, places: list[Place]) -> None:
        breaks = {place.partition: place.breaks for place in places}
        await compare_until_answered(
            self._probe,
            self._topic,
            {partition: self.positions[partition] for partition in breaks},
            {partition: self.last[partition] for partition in breaks},
            self._identify,
            compacted=self._compacted,
        )
        now = time.monotonic()
        for place in places:
            place.found_same(breaks[place.partition], now)
        self._fetcher.resume()
