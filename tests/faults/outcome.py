"""What a scenario reports."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from verify.judge import Verdict


@dataclass
class Outcome:
    """The row of one scenario in the table.

    did             what was done to the system, with its counts
    sent ... reordered      as the judge counted them
    pause_s         the longest time that any client waited for an acknowledgement; None: nobody was measured
    recovery_s      each time from the end of a fault until every client was served again
    facts           further figures, by name
    """

    did: str
    sent: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    reordered: int = 0
    pause_s: float | None = None
    recovery_s: list[float] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)

    def judged(self, verdict: Verdict) -> None:
        """Add the figures of a judgement; a scenario may have several."""
        figures = verdict.figures
        self.sent += figures.sent
        self.acknowledged += figures.acknowledged
        self.lost += figures.lost
        self.doubled += figures.duplicated
        self.reordered += figures.out_of_order

    @property
    def recovery(self) -> float | None:
        """The median recovery, seconds."""
        return statistics.median(self.recovery_s) if self.recovery_s else None


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value below which this share (0 to 1) of the values lies; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


class Pairs:
    """Waits in rounds without a fault and with it, in turn: the machine itself changes, so each round is held against the
    one beside it."""

    def __init__(self) -> None:
        self.without: list[float] = []
        self.during: list[float] = []

    def add(self, without: Sequence[float], during: Sequence[float]) -> None:
        """One round of each; seconds. Raises AssertionError when nobody waited for anything in one of them."""
        for waits, figures in ((without, self.without), (during, self.during)):
            p99 = percentile(waits, 0.99)
            assert p99 is not None, "a round in which nothing was measured"
            figures.append(p99)

    def facts(self, what: str) -> dict[str, object]:
        """Medians over the rounds, of p99 and of the ratio within each pair."""
        ratios = [during / without for without, during in zip(self.without, self.during, strict=True)]
        return {
            f"{what} p99 without": milliseconds(statistics.median(self.without)),
            "with": milliseconds(statistics.median(self.during)),
            f"ratio, median of {len(ratios)}": f"{statistics.median(ratios):.2f}",
        }
