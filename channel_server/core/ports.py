"""What the core needs of the world: a clock, a way out to one client, a way into the log."""

from __future__ import annotations

from typing import Protocol

from channel_server.core.sends import Outgoing


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds, of a clock that never jumps."""

    def wall_ms(self) -> int:
        """Unix milliseconds."""


class Link(Protocol):
    """One client's connection. Nothing it does may call back into the core before it returns."""

    def write_prepared(self, frames: bytes) -> int:
        """Write complete frames; dropped silently once the connection is closing.

        Gives `buffered` when that is above the high-water mark, otherwise any number that is not.
        """

    def buffered(self) -> int:
        """Bytes written that the socket has not taken yet."""

    @property
    def unsent_since(self) -> float:
        """Monotonic seconds since when the oldest of those bytes has been there, about a second exact; 0.0 without any."""

    def kernel_unsent(self) -> int:
        """Bytes that the socket has taken and the client's has not acknowledged."""

    @property
    def remote(self) -> tuple[str, int]:
        """The peer's address and port; ("", 0) when it is gone."""

    def close(self, code: int, reason: str = "") -> None:
        """Begin to close; nothing is written or received afterwards."""

    def abort(self) -> None:
        """End the connection now; what is buffered is thrown away."""


class Log(Protocol):
    def append(self, outgoing: Outgoing, stamped: int, value: bytes) -> bool:
        """Hand one record to the log. False: too many are under way, nothing was handed over.

        `outgoing.confirmed` is set once the log has it; a failure is told to `Sends`. What became of the message
        is seen in the tail.
        """
