"""Waiting for something to become known: each wait has a key that may advance, and a deadline."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

Resume = Callable[[bool], None]
"""Called with whether the deadline passed."""


class Wait:
    """One wait; `cancel` forgets it. `resume(expired)` is called at most once."""

    __slots__ = ("key", "resume")

    def __init__(self, key: str | None, resume: Resume) -> None:
        self.key = key
        self.resume: Resume | None = resume


class Waits:
    """All waits of a node. Who is resumed because the key advanced decides whether to wait on."""

    def __init__(self) -> None:
        self.by_key: dict[str, dict[Wait, None]] = {}
        """Who waits for what, to be read only: as long as it is empty nothing need advance."""
        self._deadlines: list[tuple[float, int, Wait]] = []
        self._count = count()
        self._live = 0

    def __len__(self) -> int:
        return self._live

    def wait(self, key: str | None, deadline: float, resume: Resume) -> Wait:
        """Call `resume(False)` when `key` advances, or `resume(True)` at `deadline` (monotonic seconds).

        `key` None: a mere timer.
        """
        wait = Wait(key, resume)
        if key is not None:
            self.by_key.setdefault(key, {})[wait] = None
        heapq.heappush(self._deadlines, (deadline, next(self._count), wait))
        self._live += 1
        return wait

    def cancel(self, wait: Wait) -> None:
        """Forget it; harmless when it is over."""
        if self._finish(wait) is not None and wait.key is not None:
            # Not among them while `advance` is at it.
            waiting = self.by_key.get(wait.key, {})
            waiting.pop(wait, None)
            if not waiting:
                self.by_key.pop(wait.key, None)

    def advance(self, key: str) -> None:
        """`key` has advanced: resume everybody who waits for it, in the order in which they came."""
        for wait in self.by_key.pop(key, ()):
            resume = self._finish(wait)
            if resume is not None:
                resume(False)

    def expire(self, now: float) -> None:
        """Resume everybody whose deadline has passed."""
        while self._deadlines and self._deadlines[0][0] <= now:
            wait = heapq.heappop(self._deadlines)[2]
            resume = wait.resume
            if resume is not None:
                self.cancel(wait)
                resume(True)

    def _finish(self, wait: Wait) -> Resume | None:
        resume, wait.resume = wait.resume, None
        if resume is not None:
            self._live -= 1
        return resume
