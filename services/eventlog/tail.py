"""The tail: every record of `events.<epoch>`, partition by partition, with a proof of how current it is."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from services.eventlog.records import LogRecord
from services.eventlog.sequencer import LastRecord


class Tail:
    """Reads the given partitions of a topic from the given positions on, in order, each record once.

    Guarantees: records of a partition come in the order of their offsets without holes; nothing is handed out
    after a break in the answers of the log (more than about 1.5 s, or any failed answer) before the last record
    has been read again and found to be the same. No consumer group, no automatic reset.

    positions       partition -> next offset to be handed out
    last            partition -> the last record handed out (or given at the start)

    `async with` connects and compares; raises LogLost, or aiokafka's KafkaError when no broker can be reached.
    """

    positions: dict[int, int]
    last: dict[int, LastRecord | None]

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
        """`partitions`: of the topic, when `positions` names only some of them (default: as many as it names)."""

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    async def batch(self, timeout_ms: int) -> dict[int, list[LogRecord]]:
        """The next records by partition; {} when none came within about `timeout_ms`, and also earlier.

        Raises LogLost or `contract.envelope.UnknownEnvelopeVersion`; after either the tail is spent. Broken
        connections are not raised: the tail reconnects, and `proven_current` stands still. Cancelling it loses
        no record.
        """
        raise NotImplementedError

    def proven_current(self) -> float:
        """When (time.monotonic()) the tail was last proven to be at its end; 0.0: never yet.

        At that moment the log held, in every partition, nothing but what `batch` has handed out and its caller
        has come back from. The time is that of the *request* whose answer proved it, hence never too late.
        While idle it is renewed several times a second, also while nobody waits in `batch`.
        """
        raise NotImplementedError
