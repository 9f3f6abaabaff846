"""How much is allowed: every bound of the core in one place, and the token bucket that rates are judged by."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """Seconds, bytes and counts. The defaults suit people; a stack under test may set others."""

    # a connection
    connect_timeout: float = 10.0
    heartbeat: float = 25.0
    connections_per_user: int = 50
    bad_frames: int = 10
    """So many frames that cannot be read are answered by `error`; the next one closes."""
    unadmitted: int = 2_000
    """Connections without a `welcome`, of the whole node. Room for one more is made by ending the one that has waited
    longest, so that a crowd that says nothing keeps nobody out: who speaks at once is admitted before its turn comes."""
    unadmitted_grace: float = 0.5
    """How long a connection may wait in any case; while all of them are younger, it is the newcomer that is ended."""

    # inbound
    connection_rate: float = 50.0
    connection_burst: float = 200.0
    user_rate: float = 100.0
    user_burst: float = 400.0
    flooding_burst: float = 500.0
    """Refusals for going too fast, after which (refilled at `connection_rate`) the connection is closed."""
    sends_per_connection: int = 64
    sends_per_node: int = 5_000
    """In the log's hands at once. By Little's law a node that takes 5,000 messages a second keeps nobody waiting for
    more than a second; who comes on top is told to slow down at once, which costs little, rather than kept in a queue."""
    send_timeout: float = 15.0
    """How long a send waits for its verdict before it is refused with `log_unavailable`: longer than the log takes to
    fail an append, which is the better answer."""

    # waiting for the directory; a send's waits follow each other
    directory_wait: float = 5.0
    """For what it names with `directory_at`."""
    member_wait: float = 1.0
    """For the membership, and for the proof that no earlier copy of it stands in the log unseen."""
    connect_wait: float = 5.0
    waits_per_node: int = 20_000
    channels_at_once: int = 200
    """Channels that a newcomer is brought into, or one who leaves is taken out of, before others get their turn."""

    # delivery
    high_water: int = 64 * 1024
    """Buffered bytes above which a connection is behind: the same as the connection's own mark."""
    chunk: int = 64 * 1024
    """Bytes of replay written to one connection at a time."""
    hard_limit: int = 2 * 1024 * 1024
    """Buffered bytes, its `welcome` not counted, at which a connection is ended at once, whatever it was that filled it."""
    behind_timeout: float = 30.0
    """How long a connection may be behind: longer while its `welcome` is still in the buffer, in proportion to its size."""
    slice: int = 125
    """Connections written to before the event loop gets its turn, and before others who wait to be written to get theirs."""
    unshown: int = 256 * 1024
    """Bytes of a channel's events that may wait until it is their turn to be shown; above it nothing more is read from the
    log before they are. Also the bytes that may be pending for a connection, above which it lags instead."""
    unwritten: int = 16 * 1024 * 1024
    """Bytes pending for all connections that are to be written to at once; above it nothing more is read either."""

    # freshness
    late: float = 1.0
    """Age of the events tail's last proof beyond which the node takes no sends and is not ready."""
    hold: float = 2.0
    """Age of the directory tail's last proof beyond which nothing is shown to anybody."""
    stale: float = 15.0
    """How long events may go on while the directory does not, before connections are closed."""


class TokenBucket:
    """`rate` tokens a second, `burst` at most. Starts full."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, now: float) -> float:
        """0.0 when a token was there and is taken; else the seconds until there will be one."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rate

    def is_full(self, now: float) -> bool:
        """Whether nobody could tell it from a new one."""
        return self._tokens + (now - self._at) * self._rate >= self._burst


class Buckets:
    """A token bucket for each of many names. Who leaves and comes back finds it as it was: coming back fills nothing."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._of: dict[str, TokenBucket] = {}
        self._left: set[str] = set()

    def __len__(self) -> int:
        return len(self._of)

    def of(self, name: str, now: float) -> TokenBucket:
        """Of somebody who is there; `left` when they are not any more."""
        self._left.discard(name)
        bucket = self._of.get(name)
        if bucket is None:
            bucket = self._of[name] = TokenBucket(self._rate, self._burst, now)
        return bucket

    def left(self, name: str) -> None:
        """They are gone; harmless for who never was there."""
        if name in self._of:
            self._left.add(name)

    def forget(self, now: float) -> None:
        """Let go of what those who are gone have left, as far as it is full again."""
        for name in [name for name in self._left if self._of[name].is_full(now)]:
            self._left.discard(name)
            del self._of[name]
