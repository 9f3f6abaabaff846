"""What clients were told between two moments, read from their recordings."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from services.contract.codes import CLOSES_BY_CODE, ERRORS
from tests.faults.load import Load


def now_ms() -> int:
    """The clock of recordings."""
    return time.monotonic_ns() // 1_000_000


@dataclass
class Spell:
    """A stretch of a scenario, in the recordings' clock; `ended` is set when it is over."""

    begun: int
    ended: int = 0


@dataclass
class Told:
    """Counted over all clients of a crowd during some spells.

    refused     error code -> how often a send was refused with it
    closed      close code -> how often a connection ended with it (1006: without any)
    acked       acknowledgements
    final       refusals that were for good
    fresh       of the acknowledgements, those of messages that were first sent in the same spell
    first_sent  messages that were sent for the first time
    """

    refused: Counter[str] = field(default_factory=Counter)
    closed: Counter[int] = field(default_factory=Counter)
    acked: int = 0
    final: int = 0
    fresh: int = 0
    first_sent: int = 0

    def words(self) -> str:
        """For the table."""
        parts = [f"{count} refused {code}" for code, count in sorted(self.refused.items())]
        parts += [f"{count} closed {_named(code)}" for code, count in sorted(self.closed.items())]
        return ", ".join(parts) or "nothing"

    def must_be_retryable(self) -> None:
        """Raises AssertionError when somebody was told to give up."""
        assert not self.final, f"{self.final} final refusals: {self.refused}"
        for code in self.refused:
            assert ERRORS[code].retry, f"refused with {code}"
        for number in self.closed:
            close = CLOSES_BY_CODE.get(number)
            assert close is None or close.reconnect, f"closed with {number}"


def _named(code: int) -> str:
    close = CLOSES_BY_CODE.get(code)
    return f"{code} {close.name}" if close else str(code)


@contextlib.contextmanager
def spell(into: list[Spell]) -> Iterator[Spell]:
    """The block is a spell."""
    made = Spell(now_ms())
    into.append(made)
    try:
        yield made
    finally:
        made.ended = now_ms()


def told(load: Load, spells: list[Spell]) -> Told:
    """What the crowd's clients were told during these spells."""
    found = Told()
    for lines in recorded(load).values():
        first: dict[str, int] = {}
        for line in lines:
            if line["kind"] == "sent":
                first.setdefault(line["id"], line["t"])
        for line in lines:
            for one in spells:
                if one.begun <= line["t"] <= one.ended:
                    _count(found, line, one, first)
        found.first_sent += sum(one.begun <= at <= one.ended for at in first.values() for one in spells)
    return found


def _count(found: Told, line: dict[str, Any], one: Spell, first: dict[str, int]) -> None:
    match line["kind"]:
        case "refused":
            found.refused[line["code"]] += 1
            found.final += bool(line["final"])
        case "disconnected":
            found.closed[line["code"]] += 1
        case "ack":
            found.acked += 1
            found.fresh += first.get(line["id"], 0) >= one.begun


def recorded(load: Load) -> dict[str, list[dict[str, Any]]]:
    """Every recording of the crowd, by file name, line by line."""
    for person in load.crowd.people:
        person.recorder.flush()
    decode = msgspec.json.Decoder().decode
    return {
        path.name: [decode(line) for line in path.read_bytes().splitlines()]
        for path in sorted(load.crowd.folder.iterdir())
    }
