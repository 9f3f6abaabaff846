"""Rounds: every way once, in alternating order; what the machine spoiled is done again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

T = TypeVar("T")

ATTEMPTS: Final = 3

_PAUSE_S: Final = 2.0


class Spoiled(ValueError):
    """A round that lost, refused or reordered something, or did not come to its end: its figure would be one of
    something else."""


async def patiently(way: Callable[[], Awaitable[T]]) -> T:
    """What `way` gives; when it is spoiled it is tried again, a few times, which is said. Raises Spoiled."""
    for attempt in range(1, ATTEMPTS):
        try:
            return await way()
        except Spoiled as reason:
            print(f"  (a round is repeated: {reason}; {attempt})", file=sys.stderr, flush=True)
            await asyncio.sleep(_PAUSE_S)
    return await way()


async def interleaved(rounds: int, ways: Mapping[str, Callable[[], Awaitable[T]]]) -> dict[str, list[T]]:
    """Every way once a round, in alternating order, so that none always comes after the same other."""
    samples: dict[str, list[T]] = {name: [] for name in ways}
    for number in range(rounds):
        order = list(ways.items())
        for name, way in order if number % 2 == 0 else reversed(order):
            samples[name].append(await patiently(way))
    return samples
