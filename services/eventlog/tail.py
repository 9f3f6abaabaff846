"""The tail: every record of `events.<epoch>`, partition by partition, with a proof of how current it is."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from services.contract.envelope import MalformedEnvelope, decode_envelope
from services.eventlog import metrics
from services.eventlog.batches import RawRecord
from services.eventlog.reader import MAX_RECORDS, TopicReader
from services.eventlog.records import LogRecord, read_record
from services.eventlog.sequencer import LastRecord


class Tail:
    """Reads the given partitions of a topic from the given positions on, in order, each record once.

    Guarantees: records of a partition come in the order of their offsets without holes; nothing is handed out
    after a break in the answers of the log (more than about 1.5 s, or any failed answer) before the last record
    has been read again and found to be the same. No consumer group, no automatic reset.

    `async with` connects and compares; raises LogLost, or aiokafka's KafkaError (TimeoutError when brokers answer
    half) when the log cannot be reached.
    """

    def __init__(
        self,
        kafka: str,
        topic: str,
        positions: Mapping[int, int],
        *,
        partitions: int | None = None,
        last: Mapping[int, LastRecord | None] | None = None,
        committed_only: bool = False,
    ) -> None:
        """`positions`: partition -> the first offset to hand out. `last`: partition -> a record read earlier.

        `partitions`: of the topic, when `positions` names only some of them (default: as many as it names).
        """
        self.topic = topic
        self._partitions = len(positions) if partitions is None else partitions
        self._reader = TopicReader(
            kafka,
            topic,
            positions,
            last={} if last is None else last,
            identify=event_id_of,
            committed_only=committed_only,
        )

    @property
    def positions(self) -> dict[int, int]:
        """Partition -> next offset to be handed out. To be read only."""
        return self._reader.positions

    @property
    def last(self) -> dict[int, LastRecord | None]:
        """Partition -> the last record handed out, or the one given at the start. To be read only."""
        return self._reader.last

    async def __aenter__(self) -> Self:
        await self._reader.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._reader.__aexit__(kind, error, trace)

    async def batch(self, timeout_ms: int, most: int = MAX_RECORDS) -> dict[int, list[LogRecord]]:
        """The next records by partition, `most` at most; {} when none came within about `timeout_ms`, and also earlier.

        Raises LogLost or `contract.envelope.UnknownEnvelopeVersion`; after either the tail is spent. Broken
        connections are not raised: the tail reconnects, and `proven_current` stands still. Cancelling it loses
        no record.
        """
        fetched = await self._reader.batch(timeout_ms, most)
        partitions = self._partitions
        batch: dict[int, list[LogRecord]] = {}
        for partition, records in fetched.items():
            batch[partition] = read = [
                read_record(partition, partitions, r.offset, r.timestamp, r.headers, r.value) for r in records
            ]
            skipped = sum(record.envelope is None for record in read)
            if skipped:
                metrics.SKIPPED.labels(self.topic).inc(skipped)
        return batch

    async def look(self) -> None:
        """Compare what was read with the log, now and once. Raises LogLost, `contract.envelope.UnknownEnvelopeVersion`,
        aiokafka's KafkaError or TimeoutError."""
        await self._reader.look()

    def proven_current(self) -> float:
        """When (time.monotonic()) the tail was last proven to be at its end; 0.0: never yet.

        At that moment the log held, in every partition, nothing but what `batch` has handed out and its caller
        has come back from (by calling `batch` again). The time is that of the *request* whose answer proved it,
        hence never too late. While idle it is renewed several times a second, also while nobody waits in `batch`.
        """
        return self._reader.proven_current()

    def proofs(self) -> dict[int, float]:
        """The same by partition: one that its broker says nothing of stands still, and the others go on."""
        return self._reader.proofs()


def event_id_of(record: RawRecord) -> str:
    """The id in the envelope of a record; empty when it is malformed. Raises UnknownEnvelopeVersion."""
    try:
        return decode_envelope(record.headers).id
    except MalformedEnvelope:
        return ""
