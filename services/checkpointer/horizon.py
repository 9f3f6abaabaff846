"""How far the checkpointer may fold: everything that is older than the lag, in the log's own time. Pure.

Nodes rebuild their ring of recent events from the records after the watermark, so the watermark must stay behind.
The log's own time is the append time of the broker: up to the last record that is `checkpoint_lag_ms` older than
the newest one. A partition that has gone quiet has no newer record to be older than; then the time for which
nothing came counts as log time. It is measured by this process's monotonic clock from when it first saw the end
that it sees now, so that neither a wrong wall clock nor a restart makes it fold too far.
"""

from __future__ import annotations

from typing import NamedTuple


class _End(NamedTuple):
    offset: int
    seen: float


class Quiet:
    """For how long each partition has been quiet."""

    def __init__(self) -> None:
        self._ends: dict[int, _End] = {}

    def see(self, partition: int, end: int, monotonic: float) -> int:
        """Note where a partition ends now (`monotonic` in seconds); gives for how many ms it has been there."""
        known = self._ends.get(partition)
        if known is None or known.offset != end:
            self._ends[partition] = known = _End(end, monotonic)
        return int((monotonic - known.seen) * 1000)


def fold_before(newest_appended: int, quiet_ms: int, lag_ms: int) -> int:
    """Records appended before this time (Unix ms, the broker's clock) are old enough."""
    return newest_appended + quiet_ms - lag_ms
