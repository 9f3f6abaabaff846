"""What the relay counts."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_SECONDS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600)

ACTIVE: Final = Gauge(
    "lockstep_relay_active",
    "1 while this process is the one that works on this half, 0 on standby.",
    ["half"],
)
WAITING: Final = Gauge("lockstep_relay_outbox_rows_waiting", "Rows in the outbox, by topic.", ["topic"])
OLDEST: Final = Gauge(
    "lockstep_relay_outbox_oldest_age_seconds",
    "Age of the oldest row in the outbox, by topic; 0 when there is none.",
    ["topic"],
)
RESTARTS: Final = Counter("lockstep_relay_restarts", "How often a half began anew after a failure.", ["half"])
PUBLISHED: Final = Counter(
    "lockstep_relay_directory_records_published", "Directory records in committed transactions of the log."
)
DIRECTORY_BATCHES: Final = Counter(
    "lockstep_relay_directory_batches", "Transactions committed to the directory."
)
ORPHANS: Final = Counter(
    "lockstep_relay_directory_rows_without_entity",
    "Outbox rows that were dropped because what they name does not exist.",
)
APPENDED: Final = Counter(
    "lockstep_relay_events_appended", "Appends of events that the log acknowledged, repeated ones included."
)
RESENT: Final = Counter(
    "lockstep_relay_events_resent", "Appends of an event that had been appended before, under the same id."
)
FAILED: Final = Counter(
    "lockstep_relay_appends_failed", "Appends whose outcome is not known; they are repeated."
)
RENEWED: Final = Counter(
    "lockstep_relay_events_renewed", "Events that got a new id, because the old one had expired unnumbered."
)
DELAY_SECONDS: Final = Histogram(
    "lockstep_relay_delay_seconds",
    "From the begin of the transaction that wrote an outbox row until the log acknowledged it first, by topic.",
    ["topic"],
    buckets=_SECONDS,
)
