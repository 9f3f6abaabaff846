"""One run of benchmarks: its measure, its servers, and the interleaving of rounds."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

from benchmarks.core.agent import python
from benchmarks.core.rounds import interleaved
from tests.stack.servers import Kafka, kafka_broker
from tests.system.channel_server.cell import Cell, new_cell

T = TypeVar("T")

GENEROUS = {
    "connection_rate": "1000000",
    "user_rate": "1000000",
    "sends_per_connection": "100000",
    "sends_per_node": "100000",
    "connections_per_user": "20000",
    "max_connections": "20000",
    "max_handshakes": "20000",
    "max_unadmitted": "20000",
    "connect_seconds": "60",
    "heartbeat_seconds": "1200",
    "log_level": "warning",
}
"""Settings of the nodes measured: a few clients stand for many, so what bounds one client is out of the way."""


class Bench:
    """`brief`: short rounds that show that a benchmark works; their figures mean nothing."""

    def __init__(self, folder: Path, *, brief: bool, rounds: int, owned: contextlib.AsyncExitStack) -> None:
        self.folder = folder
        self.brief = brief
        self.rounds = rounds
        self._owned = owned
        self._kafka: Kafka | None = None
        self._folders = itertools.count(1)

    def of(self, full: T, brief: T) -> T:
        """A length or a size, by the kind of run."""
        return brief if self.brief else full

    async def kafka(self) -> Kafka:
        """The broker that all benchmarks of a run share; each makes epochs or topics of its own."""
        if self._kafka is None:
            self._kafka = await self._owned.enter_async_context(
                kafka_broker(self.folder / "kafka", lasting=True)
            )
            await self._warm_up(self._kafka)
        return self._kafka

    async def _warm_up(self, kafka: Kafka) -> None:
        """A broker's first ten seconds under load are its compiler's, which takes a core for itself."""
        async with python("benchmarks.floors.log", kafka.bootstrap) as log:
            await log.hear()
            await log.do("run", rate=2_000, seconds=self.of(15.0, 0.1), size=300)

    def new_folder(self, name: str) -> Path:
        folder = self.folder / f"{name}-{next(self._folders)}"
        folder.mkdir(parents=True)
        return folder

    @contextlib.asynccontextmanager
    async def cell(self, **facts: int) -> AsyncIterator[Cell]:
        """An epoch of its own, whose directory the benchmark writes; nodes start within it."""
        kafka = await self.kafka()
        async with new_cell(kafka.bootstrap, self.new_folder("cell"), **facts) as cell:
            yield cell

    async def interleaved(self, ways: Mapping[str, Callable[[], Awaitable[T]]]) -> dict[str, list[T]]:
        """As `rounds.interleaved`, for the rounds of this run."""
        return await interleaved(self.rounds, ways)
