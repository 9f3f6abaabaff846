"""What the core counts, for the metrics: plain numbers, added to once a batch, never once a delivery."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from services.eventlog.sequencer import Kind

BOUNDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Durations:
    """A histogram: `buckets[i]` counts those of at most `BOUNDS[i]` seconds and more than the bound before; the last the rest."""

    __slots__ = ("buckets", "sum")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds


class DeliveryCounts:
    """What delivery has done since it began."""

    __slots__ = (
        "behind",
        "closed",
        "deliveries",
        "drained",
        "gaps",
        "opened",
        "replayed",
        "replays",
        "writes",
    )

    def __init__(self) -> None:
        self.deliveries = 0
        self.writes = 0
        self.replays = 0
        self.replayed = 0
        self.gaps = 0
        self.behind = 0
        self.drained = 0
        self.opened = 0
        self.closed = 0


class NodeCounts:
    """What the node has done since it began."""

    __slots__ = ("events", "malformed", "notices", "records", "verdict_seconds", "verdicts")

    def __init__(self) -> None:
        self.records = 0
        self.malformed = 0
        self.events = 0
        self.notices = 0
        self.verdicts = [0] * len(Kind)
        self.verdict_seconds = Durations()
