"""Waking up together.

A process that has nothing to do still looks at its deadlines, its brokers, its proofs, each several times a second. Waking
it costs many times what it then does: a bare loop under uvloop took 90 to 170 us of processor time for an empty turn,
whose caches others had used meanwhile. So what is done every so often is done at multiples of its period by the
monotonic clock; whatever has periods that divide each other wakes the process once.
"""

from __future__ import annotations


def until_beat(period: float, now: float) -> float:
    """Seconds from `now` (monotonic) until a multiple of `period`: half of it at least, one and a half at most.

    Not always the next one: timers fire up to a millisecond early, and what was done just before its time is not done again.
    """
    seconds = period - now % period
    return seconds if seconds > period / 2 else seconds + period
