"""What surrounds every request: its id, its log line, its metrics, bounds on its body, a few headers."""

from __future__ import annotations

import re
import secrets
import time
from typing import Final

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web_app import metrics
from web_app.problems import REQUEST_ID_HEADER

MAX_BODY_BYTES: Final = 256 * 1024

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{8,64}")

_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    # Answers are personal, and a page of history is out of date with the next message.
    (b"cache-control", b"no-store"),
)

_QUIET: Final = ("/health/live", "/health/ready", "/metrics")
"""Asked every second by machines: counted, and logged only when they go wrong."""

log = structlog.get_logger()


class Observation:
    """ASGI middleware. `lockstep.request_id` in the scope is the request's id, `lockstep.code` a problem's code."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        sent = dict[bytes, bytes](scope["headers"])
        request_id = _request_id(sent.get(REQUEST_ID_HEADER.encode()))
        scope["lockstep.request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status = 500  # of a request that ends without an answer: the handler outside answers for it
        received = 0

        async def bounded_receive() -> Message:
            nonlocal received
            if _declared_length(sent) > MAX_BODY_BYTES:
                raise HTTPException(413)
            message = await receive()
            if message["type"] == "http.request":
                part = message.get("body", b"")
                received += len(part)
                if received > MAX_BODY_BYTES:
                    raise HTTPException(413)
                # JSON is UTF-8, without NUL (RFC 8259, sections 7 and 8.1); Python's reader would take UTF-16 and UTF-32.
                if b"\x00" in part:
                    raise HTTPException(400)
            return message

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    *_HEADERS,
                    (REQUEST_ID_HEADER.encode(), request_id.encode()),
                ]
            await send(message)

        metrics.IN_FLIGHT.inc()
        try:
            await self.app(scope, bounded_receive, noting_send)
        finally:
            metrics.IN_FLIGHT.dec()
            _note(scope, status, time.perf_counter() - started)


def _note(scope: Scope, status: int, seconds: float) -> None:
    method = scope["method"] if scope["method"] in _METHODS else "other"
    path = scope["path"]
    route = getattr(scope.get("route"), "path", None) or (path if path in _QUIET else "unmatched")
    code = scope.get("lockstep.code", "")
    metrics.REQUESTS.labels(route, method, str(status), code).inc()
    metrics.REQUEST_SECONDS.labels(route, method).observe(seconds)
    if path in _QUIET and status < 500:
        return
    client = scope.get("client")
    log.info(
        "request",
        method=method,
        route=route,
        status=status,
        code=code or None,
        ms=round(seconds * 1000, 2),
        client=client[0] if client else None,
    )


_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _request_id(sent: bytes | None) -> str:
    """The client's own, if it is one that can be put into logs and headers; else a fresh one."""
    if sent is not None and _REQUEST_ID.fullmatch(sent):
        return sent.decode("ascii")
    return secrets.token_hex(16)


def _declared_length(headers: dict[bytes, bytes]) -> int:
    length = headers.get(b"content-length", b"")
    return int(length) if length.isdigit() else 0
