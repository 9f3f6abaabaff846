"""The checkpointer's fold of the whole log, in rounds: find out how far, read so far, write down.

Between rounds nothing is connected and nothing is buffered but the folds themselves.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

import structlog

from services.checkpointer import metrics
from services.checkpointer.horizon import Quiet, fold_before
from services.contract.generation import Generation
from services.eventlog.comparison import must_exist
from services.eventlog.errors import LogRewritten
from services.eventlog.heads import Checkpoints, HeadsWriter
from services.eventlog.probe import Probe
from services.eventlog.records import LogRecord
from services.eventlog.sequencer import Checkpoint, Kind, LastRecord, Sequencer
from services.eventlog.tail import Tail

log = structlog.get_logger()

_POLL_MS: Final = 250


class Fold:
    """Folds `events.<epoch>` behind its end and writes checkpoints.

    checkpoints     partition -> the newest checkpoint that was written (None: never one)
    """

    def __init__(self, kafka: str, generation: Generation, writer: HeadsWriter, found: Checkpoints) -> None:
        """`found`: what `read_checkpoints` gave after `writer` was entered."""
        self._kafka = kafka
        self._generation = generation
        self._writer = writer
        self._quiet = Quiet()
        self._sequencers: dict[int, Sequencer] = {}
        self._positions: dict[int, int] = {}
        self._last: dict[int, LastRecord | None] = {}
        # channel heads that moved since the newest checkpoint
        self._changed: dict[int, dict[str, int]] = {partition: {} for partition in found}
        self.checkpoints: dict[int, Checkpoint | None] = {}
        for partition, (checkpoint, heads) in found.items():
            self.checkpoints[partition] = checkpoint
            if checkpoint is None:
                self._sequencers[partition] = Sequencer(generation)
                self._positions[partition], self._last[partition] = 0, None
            else:
                self._sequencers[partition] = Sequencer.resume(generation, checkpoint, heads)
                self._positions[partition] = checkpoint.window_start
                self._last[partition] = checkpoint.last

    async def round(self) -> bool:
        """Fold what has become old enough and write it down; False when there was nothing.

        Raises LogLost, UnknownEnvelopeVersion, Fenced, WriteFailed, and aiokafka's KafkaError or TimeoutError when
        the log cannot be reached. After an error the fold may be half-way: begin anew from `read_checkpoints`.
        """
        targets = await self._targets()
        due = {p: target for p, target in targets.items() if target > self._positions[p]}
        if due:
            await self._fold(due)
            await self._write(due)
        metrics.LAST_ROUND.set_to_current_time()
        return bool(due)

    async def _targets(self) -> dict[int, int]:
        """By partition, the offset up to which records are old enough."""
        topic, lag = self._generation.events_topic, self._generation.checkpoint_lag_ms
        async with Probe(self._kafka, topic) as probe:
            await must_exist(probe, topic)
            ends = await probe.ends(self._positions)
            for partition, position in self._positions.items():
                # after a start the position lies at the window's beginning, below what was folded already
                folded = max(position, self._watermark(partition))
                if ends[partition] < folded:
                    raise LogRewritten(
                        f"folded up to {folded}, but the log ends at {ends[partition]}: wiped or truncated",
                        topic,
                        partition,
                        folded,
                        None,
                    )
            now = time.monotonic()
            quiet = {partition: self._quiet.see(partition, end, now) for partition, end in ends.items()}
            unread = {p: end - 1 for p, end in ends.items() if end > self._positions[p]}
            newest = await probe.records(unread, ends)
            before = {p: fold_before(record.timestamp, quiet[p], lag) for p, record in newest.items()}
            young = await probe.at_times({p: max(0, at) for p, at in before.items()}) if before else {}
        for partition, end in ends.items():
            metrics.BEHIND.labels(partition).set(end - self._watermark(partition))
        # No record that is too young: the whole partition, as far as it was seen above.
        return {p: ends[p] if first is None else min(first, ends[p]) for p, first in young.items()}

    async def _fold(self, targets: Mapping[int, int]) -> None:
        """Fold each partition up to its target; what is fetched beyond it is read again in a later round."""
        async with Tail(
            self._kafka,
            self._generation.events_topic,
            {partition: self._positions[partition] for partition in targets},
            partitions=self._generation.partitions,
            last=self._last,
        ) as tail:
            while any(self._positions[partition] < target for partition, target in targets.items()):
                for partition, records in (await tail.batch(_POLL_MS)).items():
                    for record in records:
                        if record.offset < targets[partition]:
                            self._apply(record)

    def _apply(self, record: LogRecord) -> None:
        partition, offset, envelope = record.partition, record.offset, record.envelope
        if envelope is not None:
            verdict = self._sequencers[partition].apply(offset, record.appended, envelope, record.digest)
            if verdict.kind is Kind.NUMBERED and verdict.seq is not None:
                self._changed[partition][envelope.channel] = verdict.head
        self._positions[partition] = offset + 1
        if offset >= self._watermark(partition):
            self._last[partition] = LastRecord(
                offset, record.appended, "" if envelope is None else envelope.id
            )
        metrics.FOLDED.inc()

    async def _write(self, partitions: Mapping[int, int]) -> None:
        written: dict[int, tuple[Checkpoint, dict[str, int]]] = {}
        for partition in partitions:
            position = self._positions[partition]
            if position <= self._watermark(partition):
                continue  # still refilling the window: what is written is newer
            checkpoint = self._sequencers[partition].checkpoint(position, self._last[partition])
            written[partition] = (checkpoint, self._changed[partition])
        if not written:
            return
        await self._writer.write(written)
        for partition, (checkpoint, _) in written.items():
            self.checkpoints[partition] = checkpoint
            self._changed[partition] = {}
            metrics.WATERMARK.labels(partition).set(checkpoint.watermark)
        metrics.WRITTEN.inc(len(written))
        log.info("checkpoint", watermarks={p: checkpoint.watermark for p, (checkpoint, _) in written.items()})

    def _watermark(self, partition: int) -> int:
        checkpoint = self.checkpoints[partition]
        return 0 if checkpoint is None else checkpoint.watermark
