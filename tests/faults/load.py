"""A crowd that talks at a steady pace while things break, and how long each of its people waited."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from collections.abc import AsyncIterator, Iterator
from typing import Final, NamedTuple

from tests.faults.outcome import Outcome, percentile
from tests.stack.crowd import Crowd, Person
from tests.stack.waiting import until

_WORDS = [
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "the",
    "lazy",
    "dog",
    "今日は",
    "そうですね",
    "مرحبا",
    "שלום",
    "👩\u200d👩\u200d👧",
    "naïve",
    "Straße",
]

_POSTED = re.compile(rb" \d+ @(\d+\.\d{6}) ")
QUIET: Final = "quiet"
LONG_SHARE: Final = 0.05
"""Of the texts; some are kilobytes."""


def posted_at(body: bytes) -> float | None:
    """When a message of the load was posted (monotonic seconds), from its event's body; None for other events."""
    found = _POSTED.search(body)
    return float(found[1]) if found else None


class Wait(NamedTuple):
    """One message: who, when it was posted and acknowledged (monotonic seconds), and what was going on (`phase`)."""

    person: str
    posted: float
    acked: float
    phase: str

    @property
    def seconds(self) -> float:
        return self.acked - self.posted


class Load:
    """People of a crowd, each posting one message after another with a pause between.

    `phase` names what is going on, so that waits with and without a fault can be told apart.
    """

    def __init__(
        self, crowd: Crowd, rng: random.Random, pause: tuple[float, float], long_share: float = LONG_SHARE
    ) -> None:
        self.crowd = crowd
        self._long_share = long_share
        self.waits: list[Wait] = []
        self.phase = QUIET
        self._rng = rng
        self._pause = pause
        self._stop = asyncio.Event()
        self._posted: dict[str, float] = {}

    @contextlib.asynccontextmanager
    async def talking(self) -> AsyncIterator[None]:
        """Everybody talks until the end of the block or `hush`. A message refused for good ends it with SendRefused."""
        async with asyncio.TaskGroup() as group:
            for person in self.crowd.people:
                group.create_task(self._talk(person))
            try:
                yield
            finally:
                self._stop.set()

    async def _talk(self, person: Person) -> None:
        rng = random.Random(self._rng.random())
        number = 0
        while not self._stop.is_set():
            number += 1
            words = rng.randint(0, 12) if rng.random() > self._long_share else rng.randint(300, 1200)
            posted, phase = time.monotonic(), self.phase
            self._posted[person.name] = posted
            text = f"{person.name} {number} @{posted:.6f} " + " ".join(rng.choices(_WORDS, k=words))
            ack = await person.client.send(rng.choice(self.crowd.channels), text)
            del self._posted[person.name]
            self.crowd.acks.append(ack)
            # What was under way when a fault began, or posted while it lasted, belongs to the fault.
            phase = self.phase if phase == QUIET else phase
            self.waits.append(Wait(person.name, posted, time.monotonic(), phase))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), rng.uniform(*self._pause))

    async def hush(self, timeout: float = 180.0) -> None:
        """Nobody posts any more; wait until what was posted is acknowledged."""
        self._stop.set()
        await until(
            lambda: not self._posted, timeout, what=f"everything is acknowledged: {sorted(self._posted)}"
        )

    @contextlib.contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Messages under way meanwhile belong to `phase`."""
        before, self.phase = self.phase, phase
        try:
            yield
        finally:
            self.phase = before

    async def acked(self, count: int, timeout: float = 60.0) -> None:
        """Wait until so many more messages are acknowledged."""
        goal = len(self.waits) + count
        await until(
            lambda: len(self.waits) >= goal,
            timeout,
            what=f"{count} more messages are acknowledged",
            every=0.01,
        )

    async def served_again(self, timeout: float = 120.0) -> float:
        """Wait until everybody has had an acknowledgement of something posted from now on; how long it took, seconds."""
        begun = time.monotonic()
        everybody = {person.name for person in self.crowd.people}
        start = len(self.waits)

        def lacking() -> set[str]:
            return everybody - {wait.person for wait in self.waits[start:] if wait.posted >= begun}

        try:
            await until(lambda: not lacking(), timeout, every=0.02)
        except TimeoutError:
            waiting = {name: f"{time.monotonic() - at:.1f} s" for name, at in self._posted.items()}
            raise TimeoutError(
                f"not served within {timeout:g} s: {sorted(lacking())}; waiting since {waiting}"
            ) from None
        return time.monotonic() - begun

    def longest(self, phase: str | None = None) -> float | None:
        """The longest wait, seconds."""
        return max((wait.seconds for wait in self.waits if phase in (None, wait.phase)), default=None)

    def p(self, share: float, phase: str) -> float | None:
        """A percentile of the waits in a phase, seconds."""
        return percentile([wait.seconds for wait in self.waits if wait.phase == phase], share)

    async def judged(self, outcome: Outcome, *, messages: int) -> Outcome:
        """Silence, then everybody catches up and the judge finds nothing; `messages`: at least so many were sent.

        Raises AssertionError with the judge's first counter-examples.
        """
        await self.hush()
        outcome.judged(await self.crowd.must_hold(messages=messages))
        outcome.pause_s = max(filter(None, (outcome.pause_s, self.longest())), default=None)
        return outcome
