"""A set of whole numbers that is nearly one run: kept as its runs."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Spans:
    """Numbers as disjoint, ascending, non-adjacent runs; adding the next number of the last run is the fast path."""

    __slots__ = ("_firsts", "_lasts", "count")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self.count = 0

    def add(self, number: int) -> bool:
        """False when it was there already."""
        firsts, lasts = self._firsts, self._lasts
        if lasts and lasts[-1] == number - 1:
            lasts[-1] = number
            self.count += 1
            return True
        at = bisect_right(firsts, number)
        if at and lasts[at - 1] >= number:
            return False
        self.count += 1
        joins_left = at > 0 and lasts[at - 1] == number - 1
        joins_right = at < len(firsts) and firsts[at] == number + 1
        if joins_left and joins_right:
            lasts[at - 1] = lasts[at]
            del firsts[at], lasts[at]
        elif joins_left:
            lasts[at - 1] = number
        elif joins_right:
            firsts[at] = number
        else:
            firsts.insert(at, number)
            lasts.insert(at, number)
        return True

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number)
        return at > 0 and self._lasts[at - 1] >= number

    def runs(self) -> Iterator[tuple[int, int]]:
        """(first, last) of each run, ascending."""
        return zip(self._firsts, self._lasts, strict=True)

    def missing(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The runs of `first` .. `last` that are not in the set."""
        at = bisect_left(self._lasts, first)
        while first <= last:
            if at == len(self._firsts) or self._firsts[at] > last:
                yield first, last
                return
            if self._firsts[at] > first:
                yield first, self._firsts[at] - 1
            first = self._lasts[at] + 1
            at += 1

    @property
    def first(self) -> int:
        """The least number; 0 when empty."""
        return self._firsts[0] if self._firsts else 0

    @property
    def last(self) -> int:
        """The greatest number; 0 when empty."""
        return self._lasts[-1] if self._lasts else 0
