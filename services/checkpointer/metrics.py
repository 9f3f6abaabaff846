"""What the checkpointer measures. Names: `lockstep_checkpointer_<what>_<unit>`."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

WATERMARK: Final = Gauge(
    "lockstep_checkpointer_watermark_offset", "The newest checkpoint's next offset.", ["partition"]
)
BEHIND: Final = Gauge(
    "lockstep_checkpointer_behind_records",
    "Records between the newest checkpoint and the end of the log: what a starting node folds.",
    ["partition"],
)
WRITTEN: Final = Counter("lockstep_checkpointer_written_checkpoints_total", "Checkpoints written.")
FOLDED: Final = Counter("lockstep_checkpointer_folded_records_total", "Records folded.")
LAST_ROUND: Final = Gauge(
    "lockstep_checkpointer_last_round_timestamp_seconds", "When a round last came to its end, Unix seconds."
)
DELETED_BELOW: Final = Gauge(
    "lockstep_checkpointer_deleted_below_offset",
    "The offset below which records were deleted.",
    ["partition"],
)
RETENTION_SKIPPED: Final = Counter(
    "lockstep_checkpointer_skipped_retentions_total",
    "Retention runs that were left out, because PostgreSQL or the brokers did not answer.",
)
