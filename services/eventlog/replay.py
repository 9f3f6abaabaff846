"""The start of a node: heads from the newest checkpoints, then the log from where their dedupe windows begin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self, TypeVar

import structlog
from aiokafka.errors import KafkaError

from services.contract.generation import Generation
from services.eventlog.errors import LogLost, LogRewritten, Overtaken
from services.eventlog.heads import read_checkpoints
from services.eventlog.probe import Probe
from services.eventlog.records import LogRecord
from services.eventlog.sequencer import LastRecord, Sequencer
from services.eventlog.tail import Tail

log = structlog.get_logger()

_ATTEMPTS: Final = 5

T = TypeVar("T")


async def unless_overtaken(run: Callable[[], Awaitable[T]]) -> T:
    """Give what `run` gives; when it is `Overtaken`, run it again, a few times in all.

    `run` makes a `Replay` and everything that is fed by it: nothing of an overtaken fold may be kept.
    """
    for attempt in range(1, _ATTEMPTS):
        try:
            return await run()
        except Overtaken as error:
            log.warning("overtaken by retention, beginning anew", attempt=attempt, reason=str(error))
    return await run()


class Replay:
    """Everything a folding node needs; works with PostgreSQL and web_app away. To be run by `unless_overtaken`.

        async with Replay(kafka, generation) as replay:
            while True:
                for partition, records in (await replay.batch(500)).items():
                    sequencer = replay.sequencers[partition]
                    for record in records:
                        if record.envelope is None:
                            continue
                        verdict = sequencer.apply(record.offset, record.appended, record.envelope, record.digest)
                        if record.offset < replay.watermarks[partition]:
                            continue    # it only refilled the dedupe window

    The node is caught up once `replay.proven_current()` is not 0.0.

    sequencers      partition -> its fold; `sequencers[p].heads` are the heads at the watermark
    watermarks      partition -> records below only refill the window
    tail            positioned at the windows' starts

    `async with` raises Overtaken when the log does not reach back to a window's start, but a newer checkpoint is there;
    LogLost when none is, or when it is not the log that the checkpoint was made of; aiokafka's KafkaError when no broker
    can be reached.
    """

    sequencers: dict[int, Sequencer]
    watermarks: dict[int, int]
    tail: Tail

    def __init__(self, kafka: str, generation: Generation) -> None:
        self._kafka = kafka
        self._generation = generation
        self._caught_up = False

    async def __aenter__(self) -> Self:
        self.sequencers, self.watermarks = {}, {}
        positions: dict[int, int] = {}
        last: dict[int, LastRecord | None] = {}
        checkpoints = await read_checkpoints(self._kafka, self._generation)
        for partition, (checkpoint, heads) in checkpoints.items():
            if checkpoint is None:
                # Only a fold from the very first record counts right. If that is gone, the tail says so.
                sequencer = Sequencer(self._generation)
                positions[partition], self.watermarks[partition], last[partition] = 0, 0, None
            else:
                sequencer = Sequencer.resume(self._generation, checkpoint, heads)
                positions[partition], last[partition] = checkpoint.window_start, checkpoint.last
                self.watermarks[partition] = checkpoint.watermark
            self.sequencers[partition] = sequencer
        self.tail = Tail(
            self._kafka,
            self._generation.events_topic,
            positions,
            partitions=self._generation.partitions,
            last=last,
        )
        try:
            await self.tail.__aenter__()
        except LogLost as lost:
            await self._raise_if_overtaken(lost)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.tail.__aexit__(kind, error, trace)

    async def batch(self, timeout_ms: int) -> dict[int, list[LogRecord]]:
        """As `Tail.batch`; but while the fold is not caught up, raises Overtaken as `async with` does."""
        try:
            return await self.tail.batch(timeout_ms)
        except LogLost as lost:
            if not self._caught_up:
                await self._raise_if_overtaken(lost)
            raise

    def proven_current(self) -> float:
        """As `Tail.proven_current`. Once it is not 0.0, what this fold says may have been shown: it never begins anew."""
        return min(self.proofs().values())

    def proofs(self) -> dict[int, float]:
        """As `Tail.proofs`, with the same consequence once none is 0.0."""
        proofs = self.tail.proofs()
        self._caught_up = self._caught_up or min(proofs.values()) > 0.0
        return proofs

    async def _raise_if_overtaken(self, lost: LogLost) -> None:
        """Raise Overtaken when what is lacking was deleted behind newer checkpoints than those that this fold began from.

        Nothing overtakes what contradicts the log. The checkpointer writes a checkpoint before anything below its window is deleted.
        """
        if isinstance(lost, LogRewritten):
            return
        try:
            async with Probe(self._kafka, self._generation.events_topic) as probe:
                begins = await probe.begins(self.watermarks)
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("it cannot be told why the log is lost", error=repr(error))
            return
        newer = await read_checkpoints(self._kafka, self._generation)
        deleted = [p for p, begin in begins.items() if self._lowest_needed(p) < begin]
        for partition in deleted:
            checkpoint, _ = newer[partition]
            if checkpoint is None or checkpoint.watermark <= self.watermarks[partition]:
                return
        if deleted:
            raise Overtaken(str(lost)) from lost

    def _lowest_needed(self, partition: int) -> int:
        """The next record, and the last one too: the tail compares that."""
        position, last = self.tail.positions[partition], self.tail.last[partition]
        return position if last is None else min(position, last.offset)
