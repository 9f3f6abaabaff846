"""Figures of several rounds, and percentiles of counted latencies."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Self

import msgspec


class Figure(msgspec.Struct, frozen=True):
    """One quantity, measured once a round. `unit` as it is printed."""

    unit: str
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def low(self) -> float:
        return min(self.rounds)

    @property
    def high(self) -> float:
        return max(self.rounds)

    def per(self, other: Self) -> Figure:
        """The ratio, round by round: the machine's mood of a moment is in both."""
        return Figure("x", tuple(a / b for a, b in zip(self.rounds, other.rounds, strict=True)))

    def minus(self, other: Self) -> Figure:
        return Figure(self.unit, tuple(a - b for a, b in zip(self.rounds, other.rounds, strict=True)))

    def scaled(self, factor: float, unit: str) -> Figure:
        return Figure(unit, tuple(value * factor for value in self.rounds))

    def __str__(self) -> str:
        return f"{spell(self.median)} {self.unit} ({spell(self.low)}-{spell(self.high)})"


def spell(value: float) -> str:
    """Three significant digits, thousands separated."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


class Latencies:
    """Counted latencies: (lower bound in microseconds, how many), from the sink or from `of`."""

    def __init__(self, buckets: Iterable[tuple[float, int]]) -> None:
        self._buckets = sorted(buckets)
        self.count = sum(count for _, count in self._buckets)

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Self:
        return cls((each * 1e6, 1) for each in seconds)

    def ms(self, percent: float) -> float:
        """The percentile in milliseconds; 0.0 when nothing was counted."""
        left = self.count * percent / 100
        for micros, count in self._buckets:
            left -= count
            if left <= 0:
                return micros / 1000
        return self._buckets[-1][0] / 1000 if self._buckets else 0.0


def figure(unit: str, samples: Sequence[object], of: Callable[[object], float]) -> Figure:
    """One value of each round's sample."""
    return Figure(unit, tuple(of(sample) for sample in samples))
