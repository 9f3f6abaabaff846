"""How current this node is, and what follows: refuse sends, hold what is shown, give up.

A tail proves that it is current by having been at the end of its log at some moment; what it knows is at most as
old as that moment.
"""

from __future__ import annotations

from channel_server.core.limits import Limits


class Freshness:
    """Ages of both tails' last proofs, in monotonic seconds."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.events_proven = 0.0
        self.directory_proven = 0.0
        self._stale_since: float | None = None

    def is_late(self, now: float) -> bool:
        """The events tail may lack something older than `Limits.late`: taking sends would feed a storm of retries."""
        return now - self.events_proven > self._limits.late

    def must_hold(self, now: float) -> bool:
        """Somebody may have been removed without this node knowing: show nothing to anybody."""
        return now - self.directory_proven > self._limits.hold

    def must_give_up(self, now: float) -> bool:
        """Events have gone on for `Limits.stale` while the directory has not. Ask at least every second."""
        if not self.must_hold(now) or self.is_late(now):
            self._stale_since = None
            return False
        if self._stale_since is None:
            self._stale_since = now
        return now - self._stale_since > self._limits.stale

    def why_not_ready(self, now: float) -> str | None:
        if self.is_late(now):
            return f"the events tail was last proven current {now - self.events_proven:.1f} s ago"
        if now - self.directory_proven > self._limits.late:
            return f"the directory tail was last proven current {now - self.directory_proven:.1f} s ago"
        return None
