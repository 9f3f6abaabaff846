"""The appender: records into `events.<epoch>` in order, with one batch outstanding per partition."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from services.eventlog.errors import AppendFailed


class Appender:
    """Appends to the partitions of one topic, acks=all.

    Guarantees: records of a partition enter the log in the order of their `append` calls, and a record enters
    only after everything before it in its partition was acknowledged. When a batch fails, all that waits fails
    with it, so that nothing overtakes; the producer is replaced; `on_failure` is called once with the error,
    after the futures have failed. A failed record may still appear in the log later (a late copy): append it
    again under the same id, and the fold numbers it once.

    max_in_flight           how many records may wait for their acknowledgement
    request_timeout_ms      one produce request; repeated under the same sequence number (no copy) while time is left
    append_timeout_ms       after this long an append has failed
    """

    def __init__(
        self,
        kafka: str,
        topic: str,
        partitions: int,
        *,
        max_in_flight: int,
        on_failure: Callable[[AppendFailed], None],
        request_timeout_ms: int = 4_000,
        append_timeout_ms: int = 10_000,
        max_batch_bytes: int = 512 * 1024,
        max_in_flight_bytes: int = 64 * 1024 * 1024,
    ) -> None: ...

    async def __aenter__(self) -> Self:
        """Connect. Raises aiokafka's KafkaError when no broker can be reached."""
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Fail what still waits (`flush` first to avoid it) and disconnect."""
        raise NotImplementedError

    def append(self, channel: str, header: tuple[str, bytes], value: bytes) -> asyncio.Future[None]:
        """Put one record behind the others of its channel's partition.

        `header` is `contract.envelope.encode_envelope` of it. The future resolves once all in-sync replicas have
        the record; its exception is AppendFailed: outcome unknown. Raises Overloaded when too much waits, and
        ValueError for a record too large for a batch; then nothing was appended.
        """
        raise NotImplementedError

    async def flush(self) -> None:
        """Wait until everything appended so far has succeeded or failed. Raises nothing."""
        raise NotImplementedError

    @property
    def in_flight(self) -> int:
        """How many records wait for their acknowledgement."""
        raise NotImplementedError
