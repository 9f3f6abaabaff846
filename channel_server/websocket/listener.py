"""Accepting WebSocket connections: the opening handshake, bounds on how many, and an end for those that never finish."""

from __future__ import annotations

import asyncio
import resource
import socket
import sys
import time
from collections.abc import Callable, Collection
from typing import Any

import structlog
from picows import (
    WSProtocolError,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from channel_server.websocket import metrics
from channel_server.websocket.addresses import NO_ADDRESS_LIMITS, Addresses, AddressLimits
from channel_server.websocket.connection import Application, Limits, WebSocketConnection
from channel_server.websocket.handshake import Refusal, Rules, examine, target_of
from channel_server.websocket.sockets import ACCEPTS_PER_TURN, ListeningSocket

log = structlog.get_logger()

READ_BUFFER = 4096
"""Bytes of a connection's read buffer at first. It doubles to fit a frame and never shrinks; picows' default of 16 KiB
would be most of what an idle connection costs."""

_SPARE_DESCRIPTORS = 128
"""What a process needs besides its clients: Kafka, HTTP, files."""


class Server:
    """A listening socket and the connections that came through it."""

    def __init__(
        self,
        factory: Callable[[], Application],
        sock: ListeningSocket,
        loop: asyncio.AbstractEventLoop,
        *,
        limits: Limits,
        rules: Rules,
        addresses: Addresses,
        max_connections: int,
    ) -> None:
        """Made by `listen`."""
        self._factory = factory
        self._socket = sock
        self._port = int(sock.getsockname()[1])
        self._loop = loop
        self._limits = limits
        self._rules = rules
        self._addresses = addresses
        self._max_connections = max_connections
        self._connections: set[WebSocketConnection] = set()
        self._picows: asyncio.Server | None = None
        self._closed = False
        self._beat_timer: asyncio.TimerHandle | None = None
        self._last_beat = 0.0
        sock.tell(self._on_shed)

    @property
    def port(self) -> int:
        """The bound TCP port."""
        return self._port

    @property
    def connections(self) -> int:
        """Open WebSocket connections, those that are closing included."""
        return len(self._connections)

    @property
    def sockets(self) -> int:
        """Descriptors held: connections, handshakes under way, and sockets that linger after their close."""
        return self._socket.open

    def close(self) -> None:
        """Stop accepting, at once. Open connections stay open; their close handshakes are still bounded."""
        self._closed = True
        if self._picows is not None:
            self._picows.close()

    async def wait_closed(self) -> None:
        """After `close`: return when the last descriptor is given back. Waits as long as any connection is open."""
        await self._socket.idle.wait()
        if self._beat_timer is not None:
            self._beat_timer.cancel()

    # Called by picows and by the connections -------------------------------------------------------------------------

    def accept(self, request: WSUpgradeRequest) -> WebSocketConnection | WSUpgradeResponseWithListener:
        """Picows' listener factory: a connection, or the HTTP answer that refuses it."""
        refusal = examine(request, self._rules)
        if refusal is None and self._closed:
            refusal = Refusal(503, "closed", "This node is going away; try another one")
        if refusal is None and len(self._connections) >= self._max_connections:
            refusal = Refusal(503, "connections", "Too many connections; try another node")
        if refusal is None:
            return WebSocketConnection(self._factory, self, self._limits, target_of(request))
        metrics.REFUSED.labels(refusal.reason).inc()
        answer = WSUpgradeResponse.create_error_response(
            refusal.status, f"{refusal.text}\n".encode(), refusal.headers
        )
        return WSUpgradeResponseWithListener(answer, None)

    def opened(self, connection: WebSocketConnection) -> None:
        self._socket.opened(connection.descriptor)
        self._connections.add(connection)
        metrics.CONNECTIONS.inc()

    def closed(self, connection: WebSocketConnection, code: int) -> None:
        self._connections.discard(connection)
        metrics.CONNECTIONS.dec()
        metrics.CLOSED.labels(metrics.code_label(code)).inc()

    def flooded(self, connection: WebSocketConnection) -> None:
        metrics.FLOODED.inc()

    def pong_replaced(self, connection: WebSocketConnection) -> None:
        metrics.PONGS_REPLACED.inc()

    @property
    def handshakes(self) -> int:
        """Sockets whose handshake is not complete."""
        return self._socket.handshakes

    def _on_shed(self, reason: str) -> None:
        if reason == "rest":
            metrics.RESTS.inc()
        else:
            metrics.REFUSED.labels(reason).inc()

    # The beat -------------------------------------------------------------------------------------------------------

    def serve(self, picows: asyncio.Server) -> None:
        """Take charge of the accepting server; called once by `listen`."""
        self._picows = picows
        self._last_beat = time.monotonic()
        self._schedule_beat()

    def _schedule_beat(self) -> None:
        # One timer for all connections rather than several each: hardly any of them has something to wait for.
        self._beat_timer = self._loop.call_later(min(self._limits.close_timeout / 4, 1.0), self._beat)

    def _beat(self) -> None:
        now = time.monotonic()
        seconds, self._last_beat = now - self._last_beat, now
        for connection in self._connections:
            if connection.tick(now, seconds):
                metrics.OVERDUE.inc()
        self._addresses.forget(self._loop.time())
        metrics.HANDSHAKES.set(self._socket.handshakes)
        metrics.LINGERING.set(self._socket.lingering)
        if not self._closed or self._connections:
            self._schedule_beat()


class _PicowsLog:
    """picows' log lines, as far as they are news.

    picows writes two lines for each connection and an error for each bad frame of a client, which would let anybody
    fill the disk; what is kept is the failures of our own callbacks. Not a logging.Logger, because picows would make a
    child of that for each connection.
    """

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        return False

    def debug(self, message: str, *args: object, **kwargs: Any) -> None: ...

    def info(self, message: str, *args: object, **kwargs: Any) -> None: ...

    def warning(self, message: str, *args: object, **kwargs: Any) -> None:
        self.error(message, *args)

    def error(self, message: str, *args: object, **kwargs: Any) -> None:
        if not isinstance(sys.exc_info()[1], WSProtocolError):
            log.error("websocket callback failed", what=message % args, exc_info=True)

    def exception(self, message: str, *args: object, **kwargs: Any) -> None:
        self.error(message, *args)

    def log(self, level: int, message: str, *args: object, **kwargs: Any) -> None: ...


async def listen(
    host: str,
    port: int,
    factory: Callable[[], Application],
    *,
    path: str = "/",
    max_message: int = 64 * 1024,
    high_water: int = 64 * 1024,
    low_water: int | None = None,
    close_timeout: float = 5.0,
    frames_per_second: int = 5_000,
    max_connections: int = 10_000,
    max_handshakes: int = 2_000,
    handshake_timeout: float = 5.0,
    origins: Collection[str] | None = None,
    send_buffer: int = 128 * 1024,
    receive_buffer: int = 32 * 1024,
    backlog: int = 4096,
    address_limits: AddressLimits = NO_ADDRESS_LIMITS,
) -> Server:
    """Listen on host:port (0: any free port) and make an `Application` with `factory` for each connection.

    `max_message`, `high_water`, `low_water`, `close_timeout`, `frames_per_second`: see `connection.Limits`; `low_water` None
    is a quarter of `high_water`. `path`: the only path served (404 for others; a query is allowed). `max_connections`: open connections, above which the handshake is answered 503.
    `max_handshakes`: sockets that have not completed the handshake; above it the slowest is ended to make room, or the
    newcomer is turned away while none of them has taken a tenth of a second.
    `handshake_timeout`: seconds from accept to the complete request. `origins`: allowed values of the Origin header, as
    browsers send it (403 for others; a request without one is no browser's and passes); None allows all. `send_buffer`:
    bytes that the kernel keeps for each connection; without a bound it would grow to megabytes for one that does not read,
    and `buffered` would say nothing of it. `receive_buffer`: likewise what a client may have sent ahead of our reading; it
    bounds how long one read keeps the loop, and the read buffer, which doubles whenever a read fills it and never shrinks.
    `backlog`: connections waiting in the kernel to be accepted. `address_limits`: of each remote address (429 above).

    Whatever the limits say, accepted sockets leave the rest of the process some descriptors: all but 128 of the soft limit
    of open files at this moment (all but half of a limit below 256) may be theirs.

    Raises OSError when the address cannot be resolved or bound, ValueError for water marks in the wrong order.
    """
    if low_water is None:
        low_water = high_water // 4
    if not 0 <= low_water <= high_water:
        raise ValueError(f"low_water {low_water} is not between 0 and high_water {high_water}")
    loop = asyncio.get_running_loop()
    addresses = Addresses(address_limits)
    sock = await _bind(
        loop,
        host,
        port,
        lambda family: ListeningSocket(
            family,
            loop,
            backlog=backlog,
            max_open=_descriptors(max_connections + max_handshakes),
            max_handshakes=max_handshakes,
            addresses=addresses,
        ),
        send_buffer=send_buffer,
        receive_buffer=receive_buffer,
    )
    server = Server(
        factory,
        sock,
        loop,
        limits=Limits(max_message, high_water, low_water, close_timeout, frames_per_second),
        rules=Rules(path, None if origins is None else frozenset(origin.lower() for origin in origins)),
        addresses=addresses,
        max_connections=max_connections,
    )
    try:
        picows_server = await ws_create_server(
            server.accept,
            sock=sock,
            backlog=ACCEPTS_PER_TURN,
            websocket_handshake_timeout=handshake_timeout,
            enable_auto_pong=False,
            max_frame_size=max_message,
            read_buffer_init_size=READ_BUFFER,
            logger_name=_PicowsLog(),  # type: ignore[arg-type]  # "or logger-like object", says its documentation
            use_aiofastnet=True,
        )
    except BaseException:
        sock.close()
        raise
    server.serve(picows_server)
    return server


async def _bind(
    loop: asyncio.AbstractEventLoop,
    host: str,
    port: int,
    make: Callable[[int], ListeningSocket],
    *,
    send_buffer: int,
    receive_buffer: int,
) -> ListeningSocket:
    found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    sock = make(family)
    try:
        # All but the first are inherited by the accepted sockets: no system call for each connection.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        # A peer that vanished is noticed after about two minutes even if the application never writes to it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, seconds in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)
        sock.setblocking(False)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _descriptors(needed: int) -> int:
    """How many descriptors clients may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return sys.maxsize
    if needed + _SPARE_DESCRIPTORS > soft:
        log.warning("fewer file descriptors than connections allowed", limit=soft, needed=needed)
    return max(soft - _SPARE_DESCRIPTORS, soft // 2)
