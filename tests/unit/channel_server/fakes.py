"""A clock, links and a log for the core's tests, and a reader of what was written to a link."""

from __future__ import annotations

import json
from typing import Any

from channel_server.core.sends import Outgoing


def channel_id(number: int) -> str:
    return f"ch_{number:032x}"


def user_id(number: int) -> str:
    return f"usr_{number:032x}"


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall_ms(self) -> int:
        return 1_700_000_000_000 + round((self.now - 1000.0) * 1000)


class FakeLink:
    """Keeps what was written. While `reads` is False nothing leaves the buffer."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.reads = True
        self.unread = 0
        self.closed: int | None = None
        self.aborted = False
        self.writes = 0
        self.unsent_since = 0.0

    def write_prepared(self, frames: bytes) -> int:
        if self.closed is None and not self.aborted:
            self.writes += 1
            self.written += frames
            if not self.reads:
                self.unread += len(frames)
        return self.unread

    def buffered(self) -> int:
        return self.unread

    @property
    def remote(self) -> tuple[str, int]:
        return ("192.0.2.1", 50_000)

    def kernel_unsent(self) -> int:
        return 0

    def close(self, code: int, reason: str = "") -> None:
        if self.closed is None:
            self.closed = code

    def abort(self) -> None:
        self.aborted = True

    def take(self) -> list[dict[str, Any]]:
        """The frames written since the last time, parsed."""
        frames = unframe(bytes(self.written))
        self.written.clear()
        return frames


class FakeLog:
    """Keeps what was appended; takes nothing while `full`."""

    def __init__(self) -> None:
        self.appended: list[tuple[Outgoing, int, bytes]] = []
        self.full = False

    def append(self, outgoing: Outgoing, stamped: int, value: bytes) -> bool:
        if self.full:
            return False
        self.appended.append((outgoing, stamped, value))
        return True


def unframe(data: bytes) -> list[dict[str, Any]]:
    frames = []
    place = 0
    while place < len(data):
        assert data[place] == 0x81
        length, start = data[place + 1], place + 2
        if length == 126:
            length, start = int.from_bytes(data[start : start + 2], "big"), start + 2
        elif length == 127:
            length, start = int.from_bytes(data[start : start + 8], "big"), start + 8
        frames.append(json.loads(data[start : start + length]))
        place = start + length
    assert place == len(data)
    return frames
