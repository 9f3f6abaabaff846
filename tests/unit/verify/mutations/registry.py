"""One breach each: takes a world that keeps every promise and breaks one of them, or raises NoPlace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import NamedTuple, TypeVar

from tests.unit.verify.world import Line, World

T = TypeVar("T")
Breach = Callable[[World, Random], None]


class NoPlace(Exception):
    """The world has nothing that could be broken so."""


class Mutation(NamedTuple):
    """`rules`: any of these must be named."""

    breach: Breach
    rules: frozenset[str]

    def mutate(self, world: World, rng: Random) -> bool:
        """False: this world has no place for it."""
        try:
            self.breach(world, rng)
        except NoPlace:
            return False
        return True


MUTATIONS: dict[str, Mutation] = {}


def breaks(*rules: str) -> Callable[[Breach], Breach]:
    def register(breach: Breach) -> Breach:
        MUTATIONS[breach.__name__] = Mutation(breach, frozenset(rules))
        return breach

    return register


def choose(rng: Random, candidates: Sequence[T]) -> T:
    """Raises NoPlace when there are none."""
    if not candidates:
        raise NoPlace
    return rng.choice(candidates)


def places(world: World, kind: str, **fields: object) -> list[tuple[list[Line], int]]:
    """Where lines of this kind are: (lines of a recording, index)."""
    return [
        (lines, index)
        for lines in world.recordings.values()
        for index, line in enumerate(lines)
        if line["kind"] == kind and all(line.get(name) == value for name, value in fields.items())
    ]


def shown(world: World) -> list[tuple[list[Line], int]]:
    return places(world, "event", via="live")


def later(lines: list[Line], index: int, kind: str, channel: str) -> Iterator[int]:
    """The indexes of later lines of this kind and channel."""
    for at in range(index + 1, len(lines)):
        if lines[at]["kind"] == kind and lines[at]["channel"] == channel:
            yield at


def copies(world: World, channel: str, seq: int) -> list[tuple[int, int]]:
    """(partition, offset) of every copy of this event in the log."""
    event = world.events[channel][seq - 1]
    key = f" {channel} {event.sender} {event.id} ".encode()
    return [
        (partition, offset)
        for partition, records in enumerate(world.log)
        for offset, record in enumerate(records)
        if key in record.header
    ]


def pick(world: World, rng: Random) -> tuple[str, int]:
    channel = rng.choice(world.channels)
    return channel, rng.randint(1, len(world.events[channel]))


def reader(world: World, rng: Random) -> tuple[str, int]:
    """A person and the index of an event of theirs in history. Raises NoPlace."""
    user = choose(rng, [user for user, events in world.history.items() if events])
    return user, rng.randrange(len(world.history[user]))
