"""What a scenario gets to work with. Whatever it starts is gone when it ends."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from tests.faults.load import LONG_SHARE, Load
from tests.faults.outcome import Outcome
from tests.stack.crowd import crowd
from tests.stack.lockstep import Stack, lockstep_stack
from tests.stack.servers import Cluster, Kafka, kafka_broker, kafka_cluster

T = TypeVar("T")

SHORT_WINDOWS: Final[Mapping[str, str]] = {
    "LOCKSTEP_RETRY_MS": "6000",
    "LOCKSTEP_FUTURE_MS": "3000",
    "LOCKSTEP_CHECKPOINT_LAG_MS": "10000",
}
"""An epoch in which an id expires after seconds instead of minutes."""

REPLICATED: Final[Mapping[str, str]] = {"LOCKSTEP_REPLICATION": "3"}


class Skip(Exception):
    """The scenario cannot be played on this machine; the message says why."""


class Lab:
    """`rng` is seeded with the run's seed and the scenario's name, so each scenario can be repeated alone.

    `brief`: the short form that is part of the ordinary tests; fewer repetitions, the same checks. `say` prints what
    is being done.
    """

    def __init__(
        self, name: str, seed: int, folder: Path, *, brief: bool, say: Callable[[str], None]
    ) -> None:
        self.name = name
        self.folder = folder
        self.rng = random.Random(f"{seed} {name}")
        self.brief = brief
        self.say = say
        self._owned = contextlib.AsyncExitStack()
        self._count = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._owned.aclose()

    def times(self, whole: int, brief: int) -> int:
        """How often something is repeated."""
        return brief if self.brief else whole

    def place(self, name: str) -> Path:
        """A new folder."""
        self._count += 1
        made = self.folder / f"{self._count}-{name}"
        made.mkdir(parents=True)
        return made

    async def own(self, context: contextlib.AbstractAsyncContextManager[T]) -> T:
        """Enter something that ends with the scenario."""
        return await self._owned.enter_async_context(context)

    async def stack(self, **options: Any) -> Stack:
        """A running stack of two nodes; options as of `tests.stack.lockstep.lockstep_stack`."""
        if "kafka" not in options:
            options["kafka"] = await self.broker()
        return await self.own(lockstep_stack(self.place("stack"), **options))

    async def broker(self, folder: Path | None = None, **options: Any) -> Kafka:
        """One broker; options as of `tests.stack.servers.kafka_broker`."""
        return await self.own(kafka_broker(folder or self.place("kafka"), lasting=not self.brief, **options))

    async def cluster(self, *, proxied: bool = False) -> Cluster:
        """Three brokers."""
        return await self.own(kafka_cluster(self.place("cluster"), proxied=proxied, lasting=not self.brief))

    @contextlib.asynccontextmanager
    async def load(
        self,
        stack: Stack,
        *,
        people: int,
        channels: int,
        pause: tuple[float, float] = (0.01, 0.05),
        long_share: float = LONG_SHARE,
        alone: bool = False,
    ) -> AsyncIterator[Load]:
        """A crowd that talks until the end of the block; the judge has not been asked then.

        `long_share`: of the texts, those that are kilobytes. `alone`: nobody posts as one of them but their recorded
        clients, so that the judge takes what none of those has sent for forged.
        """
        async with crowd(stack, self.place("crowd"), people=people, channels=channels) as talkers:
            talkers.alone = alone
            load = Load(talkers, random.Random(self.rng.random()), pause, long_share)
            async with load.talking():
                yield load


Run = Callable[[Lab], Awaitable[Outcome]]


@dataclass(frozen=True)
class Scenario:
    """`name` is what ONLY takes; `title` says what is done. `brief`: part of the ordinary tests. `limit_s`: when it
    is given up."""

    name: str
    title: str
    run: Run
    brief: bool
    limit_s: float


SCENARIOS: Final[dict[str, Scenario]] = {}


def scenario(name: str, title: str, *, brief: bool = False, limit_s: float = 600.0) -> Callable[[Run], Run]:
    """Register a scenario."""

    def register(run: Run) -> Run:
        if name in SCENARIOS:
            raise ValueError(f"two scenarios are called {name}")
        SCENARIOS[name] = Scenario(name, title, run, brief, limit_s)
        return run

    return register
