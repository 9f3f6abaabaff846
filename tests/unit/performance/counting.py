"""Counting work instead of timing it: calls and memory are the same on every machine, however busy it is."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

from channel_server.core.limits import Limits
from services.contract.envelope import Envelope, digest_of, partition_of
from services.contract.events import MessagePosted, encode_event
from services.contract.ids import born_ms
from services.eventlog.records import LogRecord
from tests.unit.channel_server.fakes import FakeLink, channel_id, user_id
from tests.unit.channel_server.world import GENERATION, SENDER, Client, World

GENEROUS = Limits(connections_per_user=10_000, unadmitted=10_000)


class Writes(FakeLink):
    """Keeps the very objects that it was given, and copies nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[bytes] = []

    def write_prepared(self, frames: bytes) -> int:
        self.given.append(frames)
        return 0


class Channel:
    """A world with one channel and so many connected members, each a person of their own."""

    def __init__(self, members: int) -> None:
        self.world = World(limits=GENEROUS)
        self.channel = channel_id(1)
        self.clients: list[Client] = []
        self.links: list[Writes] = []
        for number in range(1, members + 1):
            self.world.user(user_id(number))
            self.world.member(self.channel, user_id(number))
            client = Client(self.world, user_id(number), f"ses_{number:032x}")
            client.connects()
            link = Writes()
            client.session.link = link
            self.clients.append(client)
            self.links.append(link)

    def records(self, count: int, text: str = "x" * 300) -> tuple[int, list[LogRecord]]:
        """The channel's next records, as the tail gives them."""
        world = self.world
        partition = partition_of(self.channel, GENERATION.partitions)
        value = encode_event(MessagePosted(text=text))
        now = world.clock.wall_ms()
        records = []
        for _ in range(count):
            id = world.id()
            envelope = Envelope(self.channel, SENDER, id, now, born_ms(id))
            records.append(
                LogRecord(partition, next(world.offsets[partition]), now, envelope, value, digest_of(value))
            )
        return partition, records

    def show(self, partition: int, records: list[LogRecord]) -> None:
        """What the node does with a batch of the tail."""
        self.world.node.records(partition, records)
        while self.world.node.show():
            pass


def calls(work: Callable[[], object]) -> int:
    """Calls of functions, Python's and built-in ones, that `work` makes."""
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def allocated(work: Callable[[], object]) -> int:
    """The most memory that Python allocated for `work` at any one moment, bytes."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        work()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before
