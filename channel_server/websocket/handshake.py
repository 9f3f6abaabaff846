"""The opening handshake as a server sees it (RFC 6455 section 4.2): which requests are refused, and how.

picows parses the request (GET, HTTP/1.1, no body, at most 16 KiB and 128 headers: 400 otherwise) and checks the key; the
rest is decided here. Pure: a parsed request in, a verdict out.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from multidict import CIMultiDict
from picows import WSUpgradeRequest

VERSION = "13"


class Refusal(NamedTuple):
    """An HTTP answer instead of the upgrade. `reason` is a short stable word for metrics, `text` is for a person."""

    status: int
    reason: str
    text: str
    headers: tuple[tuple[str, str], ...] = ()


class Rules(NamedTuple):
    """What a listener serves."""

    path: str
    """The only path; compared without the query."""
    origins: Collection[str] | None
    """Allowed Origin values, lower case; None allows every one."""


def target_of(request: WSUpgradeRequest) -> str:
    """The request target as text: path and query. Bytes outside ASCII become surrogates."""
    return request.path.decode("ascii", "surrogateescape")


def examine(request: WSUpgradeRequest, rules: Rules) -> Refusal | None:
    """None when the request may become a WebSocket; then `Connection` and `Upgrade` are as picows wants them.

    picows compares both headers as a whole, and Firefox sends `Connection: keep-alive, Upgrade`: RFC 6455 section 4.2.1
    asks for the token in the list.
    """
    headers = request.headers
    if target_of(request).partition("?")[0] != rules.path:
        return Refusal(404, "path", f"There is nothing here; WebSocket is at {rules.path}")
    if not (_has_token(headers, "Connection", "upgrade") and _has_token(headers, "Upgrade", "websocket")):
        return Refusal(
            426, "no_upgrade", "This address speaks WebSocket only", (("Upgrade", "websocket"), _SUPPORTED)
        )
    if headers.getall("Sec-WebSocket-Version", []) != [VERSION]:
        return Refusal(426, "version", "Only WebSocket version 13 is spoken here", (_SUPPORTED,))
    if len(headers.getall("Host", [])) != 1:
        return Refusal(400, "host", "A request has exactly one Host header")
    if len(headers.getall("Sec-WebSocket-Key", [])) != 1:
        return Refusal(400, "key", "A request has exactly one Sec-WebSocket-Key header")
    if rules.origins is not None:
        # Who is no browser sends none, and could send any: this protects a browser's user, not the server.
        for origin in headers.getall("Origin", []):
            if origin.lower() not in rules.origins:
                return Refusal(403, "origin", "This origin is not allowed here")
    headers["Connection"] = "Upgrade"
    headers["Upgrade"] = "websocket"
    return None


_SUPPORTED = ("Sec-WebSocket-Version", VERSION)


def _has_token(headers: CIMultiDict[str], name: str, token: str) -> bool:
    return any(
        item.strip().lower() == token for value in headers.getall(name, []) for item in value.split(",")
    )
