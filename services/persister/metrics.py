"""What the persister counts."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

BATCHES: Final = Counter(
    "lockstep_persister_batches", "Transactions committed, each with what the log held by then."
)
STORED: Final = Counter("lockstep_persister_events_stored", "Events numbered and stored.")
RECORDS: Final = Counter(
    "lockstep_persister_records",
    "Records of the log that were folded, by what became of them (numbered, duplicate, id_reused, expired, future, "
    "skipped: without a well-formed envelope).",
    ["verdict"],
)
UNPROJECTED: Final = Counter(
    "lockstep_persister_events_unprojected",
    "Events stored with a marker because their body is unreadable or not of its kind's shape.",
)
OUTBOX_DONE: Final = Counter(
    "lockstep_persister_outbox_rows_deleted", "Outbox rows deleted because their event is stored."
)
REBUILDS: Final = Counter(
    "lockstep_persister_rebuilds",
    "How often the fold was thrown away and rebuilt from PostgreSQL, by why (database, log, position: another persister wrote).",
    ["reason"],
)
BATCH_EVENTS: Final = Histogram(
    "lockstep_persister_batch_events",
    "Events stored per transaction.",
    buckets=(1, 2, 5, 10, 50, 100, 500, 1000, 5000, 10_000, 50_000),
)
WRITE_SECONDS: Final = Histogram(
    "lockstep_persister_write_seconds",
    "How long a transaction took, commit included.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15),
)
LAG_MS: Final = Histogram(
    "lockstep_persister_lag_ms",
    "From the append of a batch's oldest record to the commit that stored it, by the broker's and this clock.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 250, 500, 1000, 5000, 30_000, 300_000),
)
NEXT_OFFSET: Final = Gauge(
    "lockstep_persister_next_offset", "The next offset to be stored, by partition.", ["partition"]
)
