"""What a listener counts. Names and sentences are in one place, for /metrics and docs/operations."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

CONNECTIONS = Gauge(
    "lockstep_websocket_connections", "WebSocket connections that are open, those that are closing included."
)
REFUSED = Counter(
    "lockstep_websocket_refused_total",
    "Clients turned away before the connection was open: over a limit (connections, handshakes, slow_handshake: ended to "
    "make room, descriptors, address_connections, address_rate), while the listener closes (closed), or by the opening handshake's rules (path, no_upgrade, version, host, key, origin).",
    ["reason"],
)
CLOSED = Counter(
    "lockstep_websocket_closed_total",
    "Connections that ended, by the close code that came first, ours or the peer's; 1006: without a CLOSE; "
    "`application`: a code of 3000 or more.",
    ["code"],
)
OVERDUE = Counter(
    "lockstep_websocket_overdue_total", "Connections aborted because the peer did not finish closing in time."
)
FLOODED = Counter(
    "lockstep_websocket_flooded_total",
    "Times reading from a connection was paused, because it sent more frames than allowed.",
)

PONGS_REPLACED = Counter(
    "lockstep_websocket_pongs_replaced_total",
    "PINGs of clients that do not read, answered together with a later one (RFC 6455 section 5.5.3).",
)
RESTS = Counter(
    "lockstep_websocket_accept_rests_total",
    "Times accepting rested for a second, because there was no descriptor left, not even a spare one.",
)
HANDSHAKES = Gauge("lockstep_websocket_handshakes", "Sockets whose handshake is not complete.")
LINGERING = Gauge(
    "lockstep_websocket_lingering", "Closed connections whose last words the client may still be reading."
)


def code_label(code: int) -> str:
    """A label of few values: what a peer may choose freely is one value."""
    return str(code) if code < 3000 else "application"
