"""How often something may happen in any stretch of so many seconds, for each of many keys, in this process's memory."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

_SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600}


class MovingWindow:
    """`rate`: `20/minute`, `100/hour`. A hit costs the same however many keys and hits there are: the time of the last
    `20` is all that is kept of a key, and keys whose hits are all too old to count are forgotten with the next hit.

    `clock`: seconds that never go back.
    """

    def __init__(self, rate: str, clock: Callable[[], float] = time.monotonic) -> None:
        amount, _, unit = rate.partition("/")
        self._amount = int(amount)
        self._seconds = _SECONDS[unit]
        self._clock = clock
        # The key that was hit last comes last.
        self._hits: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._hits)

    def hit(self, key: str) -> bool:
        """Count one more, if there may be one more now."""
        now = self._clock()
        self._forget(now)
        if self._wait(key, now) > 0:
            return False
        hits = self._hits.get(key)
        if hits is None:
            hits = self._hits[key] = deque(maxlen=self._amount)
        hits.append(now)
        self._hits.move_to_end(key)
        return True

    def wait(self, key: str) -> float:
        """After how many seconds there may be one more: 0 for at once."""
        return self._wait(key, self._clock())

    def _wait(self, key: str, now: float) -> float:
        hits = self._hits.get(key)
        if hits is None or len(hits) < self._amount:
            return 0.0
        return max(0.0, hits[0] + self._seconds - now)

    def _forget(self, now: float) -> None:
        while self._hits:
            hits = next(iter(self._hits.values()))
            if hits[-1] + self._seconds > now:
                return
            self._hits.popitem(last=False)
