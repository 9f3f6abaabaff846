"""Accepting WebSocket connections: the opening handshake (RFC 6455 section 4.2), bounds, and running out of descriptors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from channel_server.websocket.connection import Application


class Server:
    """A listening socket and the connections that came through it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None: ...

    @property
    def port(self) -> int:
        """The bound TCP port."""
        raise NotImplementedError

    @property
    def connections(self) -> int:
        """Open WebSocket connections, those that are closing included."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop accepting, at once. Open connections stay open; their close handshakes are still bounded."""

    async def wait_closed(self) -> None:
        """Return when the last connection is gone; after `close`."""


async def listen(
    host: str,
    port: int,
    factory: Callable[[], Application],
    *,
    path: str = "/",
    max_message: int = 64 * 1024,
    high_water: int = 64 * 1024,
    low_water: int = 16 * 1024,
    close_timeout: float = 5.0,
    max_connections: int = 10_000,
    max_handshakes: int = 2_000,
    handshake_timeout: float = 5.0,
    origins: Collection[str] | None = None,
) -> Server:
    """Listen on host:port (0: any free port) and make an `Application` with `factory` for each connection.

    `max_message`, `high_water`, `low_water`, `close_timeout`: see `connection.Limits`. `path`: the only path served (404 for others; a query is allowed). `max_connections`: open connections, above which
    the handshake is answered 503. `max_handshakes`: sockets that have not completed the handshake, above which new ones
    are closed unheard. `handshake_timeout`: seconds from accept to the complete request. `origins`: allowed values of the
    Origin header, as browsers send it (403 for others; a request without one is no browser's and passes); None allows all.

    Raises OSError when the address cannot be bound.
    """
    raise NotImplementedError
