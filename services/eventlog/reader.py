"""The reader under every tail: raw records in order, breaks noticed, the log compared, being current proven."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import structlog
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from services.eventlog import consumers
from services.eventlog.comparison import compare_until_answered
from services.eventlog.errors import LogLost
from services.eventlog.fetches import FetchWatch
from services.eventlog.sequencer import LastRecord

log = structlog.get_logger()

_POLL_MS: Final = 100
"""The longest wait in one go, so that a position that moved without a record (a commit marker) is soon noticed."""

_MAX_RECORDS: Final = 5_000
"""The most records in one batch, so that a reader that catches up still lets others have the loop."""

_CONNECT_S: Final = 30.0


class TopicReader:
    """Reads partitions of one topic, without a group, from given positions; see `tail.Tail` for what it guarantees.

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
        identify: Callable[[Any], str],
        committed_only: bool = False,
        compacted: bool = False,
    ) -> None:
        """`identify` gives the id of an aiokafka ConsumerRecord, to tell it from another at the same offset."""
        self.positions = dict(positions)
        self.last: dict[int, LastRecord | None] = {p: last.get(p) for p in positions}
        self._kafka = kafka
        self._topic = topic
        self._identify = identify
        self._committed_only = committed_only
        self._compacted = compacted
        self._consumer = consumers.new_consumer(kafka, committed_only=committed_only)
        self._watch = FetchWatch(topic, positions, committed_only=committed_only)
        self._compared = self._watch.breaks
        self._comparison: asyncio.Task[None] | None = None
        # what was fetched and not yet handed out, when the log had to be compared first
        self._held: dict[int, list[Any]] = {}
        # where the caller stood when it last came for more
        self._taken = dict(positions)
        self._lost: LogLost | None = None

    async def __aenter__(self) -> Self:
        self._watch.attach(self._consumer)
        await consumers.start(self._consumer)
        try:
            async with asyncio.timeout(_CONNECT_S):
                await self._compare()
            self._consumer.assign([self._tp(p) for p in self.positions])
            self._rewind()
        except BaseException:
            await consumers.stop(self._consumer)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._comparison is not None:
            self._comparison.cancel()
            await asyncio.wait([self._comparison])
        await consumers.stop(self._consumer)

    async def batch(self, timeout_ms: int) -> dict[int, list[Any]]:
        """The next ConsumerRecords by partition, {} when none came within `timeout_ms` or earlier. Raises LogLost."""
        if self._lost is not None:
            raise self._lost
        self._taken = dict(self.positions)
        deadline = time.monotonic() + timeout_ms / 1000
        if not await self._same_log(deadline):
            return {}
        if not self._held:
            try:
                fetched = await self._consumer.getmany(
                    timeout_ms=min(timeout_ms, _POLL_MS), max_records=_MAX_RECORDS
                )
            except KafkaError as error:
                # After an error the consumer's own positions cannot be trusted: it may have skipped what it failed on.
                log.warning("fetch failed", topic=self._topic, error=repr(error))
                self._rewind()
                self._watch.broken()
                return {}
            self._held = {tp.partition: records for tp, records in fetched.items()}
        # A break may have come to light while waiting: what was fetched since is not handed out unseen.
        if not await self._same_log(deadline):
            return {}
        if self._committed_only:
            await self._follow_markers()
        handed, self._held = self._held, {}
        for partition, records in handed.items():
            newest = records[-1]
            self.positions[partition] = max(newest.offset + 1, self.positions[partition])
            self.last[partition] = LastRecord(newest.offset, newest.timestamp, self._identify(newest))
        return handed

    def proven_current(self) -> float:
        """As `tail.Tail.proven_current`."""
        if self._compared == self._watch.breaks:
            for partition, position in self._taken.items():
                self._watch.reached(partition, position)
        return self._watch.proven()

    async def _same_log(self, deadline: float) -> bool:
        """Compare the log if there was a break; False when that takes longer than the deadline. Raises LogLost."""
        while self._compared != self._watch.breaks:
            if self._comparison is None:
                self._comparison = asyncio.create_task(self._compare(), name=f"compare {self._topic}")
            await asyncio.wait([self._comparison], timeout=max(0.0, deadline - time.monotonic()))
            if not self._comparison.done():
                return False
            comparison, self._comparison = self._comparison, None
            try:
                comparison.result()
            except LogLost as lost:
                self._lost = lost
                raise
        return True

    async def _compare(self) -> None:
        breaks = self._watch.breaks
        await compare_until_answered(
            self._kafka, self._topic, self.positions, self.last, self._identify, compacted=self._compacted
        )
        self._compared = breaks
        self._watch.compared()

    async def _follow_markers(self) -> None:
        """Positions pass commit markers and what compaction took away, which are no records."""
        for partition in self.positions:
            self.positions[partition] = await self._consumer.position(self._tp(partition))

    def _rewind(self) -> None:
        for partition, position in self.positions.items():
            self._consumer.seek(self._tp(partition), position)

    def _tp(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)
