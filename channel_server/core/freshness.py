"""How current this node is, and what follows: refuse sends, hold what is shown, give up.

A tail proves that it is current by having been at the end of its log at some moment; what it knows is at most as
old as that moment.
"""

from __future__ import annotations

from collections.abc import Mapping

from channel_server.core.limits import Limits


class Freshness:
    """When each tail was last proven to be at its end, monotonic seconds: the events tail partition by partition, because
    a broker that says nothing holds up no more than the partitions that it leads."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.events_proven: Mapping[int, float] = {}
        self.directory_proven = 0.0
        self._stale_since: float | None = None

    @property
    def oldest(self) -> float:
        """The proof of the partition that has waited longest for one; 0.0 while there is none of any."""
        return min(self.events_proven.values(), default=0.0)

    @property
    def newest(self) -> float:
        return max(self.events_proven.values(), default=0.0)

    def is_late(self, partition: int, now: float) -> bool:
        """The tail may lack something of the partition older than `Limits.late`: taking sends to it would feed a storm of
        retries."""
        return now - self.events_proven.get(partition, 0.0) > self._limits.late

    def is_deaf(self, now: float) -> bool:
        """Every partition is late: it is this node that hears nothing of the log, or the log that says nothing at all."""
        return now - self.newest > self._limits.late

    def must_hold(self, now: float) -> bool:
        """Somebody may have been removed without this node knowing: show nothing to anybody."""
        return now - self.directory_proven > self._limits.hold

    def must_give_up(self, now: float) -> bool:
        """Events have gone on for `Limits.stale` while the directory has not. Ask at least every second."""
        if not self.must_hold(now) or self.is_deaf(now):
            self._stale_since = None
            return False
        if self._stale_since is None:
            self._stale_since = now
        return now - self._stale_since > self._limits.stale

    def why_not_ready(self, now: float) -> str | None:
        if self.is_deaf(now):
            return f"the events tail was last proven current {now - self.newest:.1f} s ago"
        if now - self.directory_proven > self._limits.late:
            return f"the directory tail was last proven current {now - self.directory_proven:.1f} s ago"
        return None
