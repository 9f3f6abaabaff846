"""Waking up together.

A process that has nothing to do still looks at its deadlines, its brokers, its proofs, each several times a second. Waking
it costs many times what it then does: a bare loop under uvloop took 90 to 170 us of processor time for an empty turn,
whose caches others had used meanwhile. So what is done every so often is done at multiples of its period by the
monotonic clock; whatever has periods that divide each other wakes the process once. Processes of one host are at it at the
same time, which is as good as any other.
"""

from __future__ import annotations

from typing import Final

_TOO_SOON: Final = 0.1
"""Of a period. Timers fire up to a millisecond early: what was done just before its time is not done again."""


def until_beat(period: float, now: float) -> float:
    """Seconds from `now` (monotonic) until the next multiple of `period` that is not too soon: a tenth of the period at
    least, eleven tenths at most."""
    seconds = period - now % period
    return seconds if seconds > _TOO_SOON * period else seconds + period
