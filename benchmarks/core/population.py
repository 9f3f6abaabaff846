"""Many people and channels, written into a cell's directory before its nodes start."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.contract.directory import DirectoryRecord
from services.contract.ids import new_entity_id
from tests.system.channel_server.cell import Cell, Person

CHUNK = 5_000
"""Records in one transaction of the directory's writer."""


@dataclass
class Population:
    cell: Cell
    people: list[Person]
    channels: list[str]

    def tokens(self, people: Iterable[Person]) -> list[str]:
        return [self.cell.token(person) for person in people]

    def first_messages(
        self, people: Iterable[Person], resume: Sequence[Mapping[str, int]] | None = None
    ) -> list[str]:
        """The `connect` of each person; `resume`: where each stands."""
        messages = []
        for place, token in enumerate(self.tokens(people)):
            frame: dict[str, object] = {"type": "connect", "token": token}
            if resume is not None:
                frame["resume"] = {"epoch": self.cell.generation.epoch, "channels": dict(resume[place])}
            messages.append(json.dumps(frame))
        return messages


async def populate(cell: Cell, people: int, channels: Sequence[Sequence[int]]) -> Population:
    """`channels`: for each, the places of its members among the people."""
    crowd = [Person() for _ in range(people)]
    names = [new_entity_id("ch") for _ in channels]

    def records() -> Iterator[DirectoryRecord]:
        for person in crowd:
            yield cell.user_record(person)
        for name, members in zip(names, channels, strict=True):
            yield cell.channel_record(name)
            for place in members:
                yield cell.member_record(name, crowd[place])

    await publish(cell, records())
    return Population(cell, crowd, names)


async def publish(cell: Cell, records: Iterator[DirectoryRecord]) -> None:
    while chunk := list(itertools.islice(records, CHUNK)):
        await cell.publish(*chunk)
