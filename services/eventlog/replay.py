"""The start of a node: heads from the newest checkpoints, then the log from where their dedupe windows begin."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

import structlog

from services.contract.generation import Generation
from services.eventlog.errors import LogLost
from services.eventlog.heads import Checkpoints, read_checkpoints
from services.eventlog.sequencer import LastRecord, Sequencer
from services.eventlog.tail import Tail

log = structlog.get_logger()

_ATTEMPTS: Final = 5


class Replay:
    """Everything a folding node needs; works with PostgreSQL and web_app away.

        async with Replay(kafka, generation) as replay:
            while True:
                for partition, records in (await replay.tail.batch(500)).items():
                    sequencer = replay.sequencers[partition]
                    for record in records:
                        if record.envelope is None:
                            continue
                        verdict = sequencer.apply(record.offset, record.appended, record.envelope, record.digest)
                        if record.offset < replay.watermarks[partition]:
                            continue    # it only refilled the dedupe window

    The node is caught up once `replay.tail.proven_current()` is not 0.0.

    sequencers      partition -> its fold; `sequencers[p].heads` are the heads at the watermark
    watermarks      partition -> records below only refill the window
    tail            positioned at the windows' starts

    `async with` raises LogLost when the log does not reach back to a window's start, or is not the log that the
    checkpoint was made of; aiokafka's KafkaError when no broker can be reached.
    """

    sequencers: dict[int, Sequencer]
    watermarks: dict[int, int]
    tail: Tail

    def __init__(self, kafka: str, generation: Generation) -> None:
        self._kafka = kafka
        self._generation = generation

    async def __aenter__(self) -> Self:
        checkpoints = await read_checkpoints(self._kafka, self._generation)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._start(checkpoints)
            except LogLost:
                # Retention may have followed a newer checkpoint between our reading of the two topics.
                newer = await read_checkpoints(self._kafka, self._generation)
                if attempt == _ATTEMPTS or newer == checkpoints:
                    raise
                log.info("the checkpoints have moved on, starting from the newer ones")
                checkpoints = newer
            else:
                break
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.tail.__aexit__(kind, error, trace)

    async def _start(self, checkpoints: Checkpoints) -> None:
        self.sequencers, self.watermarks = {}, {}
        positions: dict[int, int] = {}
        last: dict[int, LastRecord | None] = {}
        for partition, (checkpoint, heads) in checkpoints.items():
            if checkpoint is None:
                # Only a fold from the very first record counts right. If that is gone, the tail says so.
                sequencer = Sequencer(self._generation)
                positions[partition], self.watermarks[partition], last[partition] = 0, 0, None
            else:
                sequencer = Sequencer.resume(self._generation, checkpoint, dict(heads))
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
        await self.tail.__aenter__()
