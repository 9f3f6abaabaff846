"""The `directory.<epoch>` topic: its tail, for channel servers, and its one writer, for the relay."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from services.contract.directory import DirectoryRecord
from services.contract.generation import Generation


class DirectoryTail:
    """Reads the directory from its beginning, committed transactions only.

    Gives the records in the order of the log, older versions included: which version wins is the caller's rule.
    Undecodable records (a newer release's kinds) are skipped and counted in a metric.

    `async with` connects; raises LogLost, or aiokafka's KafkaError when no broker can be reached.
    """

    def __init__(self, kafka: str, generation: Generation) -> None: ...

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    async def batch(self, timeout_ms: int = 250) -> list[DirectoryRecord]:
        """The next records; [] when none came within about `timeout_ms`, and also earlier. Raises LogLost."""
        raise NotImplementedError

    def proven_current(self) -> float:
        """As `Tail.proven_current`: 0.0 until the whole directory has been handed out once."""
        raise NotImplementedError


class DirectoryWriter:
    """Publishes directory records, one transaction a call. There is one at a time in an epoch: entering fences others.

    `async with` connects and fences; raises aiokafka's KafkaError when no broker can be reached.
    """

    def __init__(self, kafka: str, generation: Generation) -> None: ...

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    async def publish(self, records: Sequence[DirectoryRecord]) -> None:
        """Write the records in this order, all or none.

        Raises Fenced (stop: another writer has taken over), or WriteFailed (not written, or the outcome is
        unknown: publish the same again; repeats are harmless, because records carry versions).
        """
        raise NotImplementedError
