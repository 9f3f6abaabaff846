"""All benchmarks by name, in the order in which they are run and shown."""

from __future__ import annotations

from types import ModuleType
from typing import Final

from benchmarks.rows import (
    ack,
    breakdown,
    capacity,
    curves,
    fanout,
    history,
    idle,
    large,
    persister,
    relay,
    rest,
    resume,
    rivals,
    rooms,
    start,
)

BENCHMARKS: Final[dict[str, ModuleType]] = {
    "fanout": fanout,
    "ack": ack,
    "capacity": capacity,
    "idle": idle,
    "rooms": rooms,
    "persister": persister,
    "rest": rest,
    "history": history,
    "relay": relay,
    "resume": resume,
    "start": start,
    "large": large,
    "curves": curves,
    "breakdown": breakdown,
    "rivals": rivals,
}
