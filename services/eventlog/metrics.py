"""What the log's readers and writers measure. Names: `lockstep_eventlog_<what>_<unit>`."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

SKIPPED: Final = Counter(
    "lockstep_eventlog_skipped_records_total",
    "Records that every reader skips: a malformed envelope, the wrong partition, an undecodable directory record.",
    ["topic"],
)
BREAKS: Final = Counter(
    "lockstep_eventlog_breaks_total",
    "Breaks in the answers to fetches, after each of which the last record is read again and compared.",
    ["topic"],
)
APPENDED: Final = Counter(
    "lockstep_eventlog_appended_records_total",
    "Records that the log acknowledged to this process.",
    ["topic"],
)
APPEND_BATCHES: Final = Counter(
    "lockstep_eventlog_append_batches_total",
    "Batches that the log acknowledged; records / batches is how far batches have grown by themselves.",
    ["topic"],
)
APPEND_FAILURES: Final = Counter(
    "lockstep_eventlog_append_failures_total",
    "Partitions that failed with all that waited in them, and went on under a new producer id.",
    ["topic"],
)
OVERLOADED: Final = Counter(
    "lockstep_eventlog_overloaded_total", "Appends refused because too much waited for the log.", ["topic"]
)
IN_FLIGHT: Final = Gauge(
    "lockstep_eventlog_in_flight_records", "Records that wait for the log's acknowledgement.", ["topic"]
)
APPEND_SECONDS: Final = Histogram(
    "lockstep_eventlog_append_seconds",
    "From sending a batch to its acknowledgement.",
    ["topic"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
