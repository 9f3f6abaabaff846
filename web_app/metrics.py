"""The web app's metrics, each with its sentence."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter(
    "lockstep_web_requests_total",
    "Requests answered, by the route's template, method, status and problem code (empty on success).",
    ["route", "method", "status", "code"],
)
REQUEST_SECONDS = Histogram(
    "lockstep_web_request_seconds",
    "From the first byte of a request to the last byte of its answer, by the route's template and method.",
    ["route", "method"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
IN_FLIGHT = Gauge("lockstep_web_requests_in_flight", "Requests being worked on now.")
APPENDS = Counter(
    "lockstep_web_appends_total",
    "Messages handed to channel servers, by what came of it: `ok`, `duplicate`, or the problem's code.",
    ["outcome"],
)
APPEND_SECONDS = Histogram(
    "lockstep_web_append_seconds",
    "From handing a message to the first channel server until its number or a refusal is known.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
APPEND_ATTEMPTS_FAILED = Counter(
    "lockstep_web_append_attempts_failed_total",
    "Attempts at one channel server that ended without an answer to pass on, by node.",
    ["node"],
)
AT_LEAST_WAITS = Counter(
    "lockstep_web_at_least_waits_total",
    "History reads that had to wait for the persister, by what came of it: `reached` or `not_yet`.",
    ["outcome"],
)
PASSWORDS_WAITING = Gauge(
    "lockstep_web_passwords_waiting", "Requests that wait for a thread to hash a password."
)
SESSIONS_REVOKED = Counter(
    "lockstep_web_sessions_revoked_total",
    "Sessions ended before their time, by why: `logout`, `revoked`, `reuse`, `deactivated`, `password`.",
    ["why"],
)
