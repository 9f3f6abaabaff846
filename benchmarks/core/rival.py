"""A rival that runs, and how it is spoken to: the clients are the same for all (`core.sink`, `floors.shouter`), what they
say is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Poster(NamedTuple):
    """Who posts into a room: where it connects, what it says first (frames parted by tabs), and what stands before and
    behind each text that it posts."""

    path: str
    first: str = ""
    before: str = ""
    behind: str = ""


@dataclass(frozen=True)
class Rival:
    """
    port, cpu   of 127.0.0.1; seconds of processor time so far
    listener    what a member of a room tells it first, of (room, which member): a line of `core.sink`
    poster      who posts into a room
    answer      what the frame holds with which one is in the room; empty: any frame says so
    echoes      who posts is a member, and shown what it posted
    """

    port: int
    cpu: Callable[[], float]
    listener: Callable[[str, int], str]
    poster: Callable[[str], Poster]
    answer: str = ""
    echoes: bool = True
