"""The TCP side of a listener: socket options, running out of descriptors, and closing without losing the last words.

picows' transport (aiofastnet) accepts and closes through the methods of the socket it is given, so both are met here:

- *accept.* When no descriptor is left, Linux reports the listening socket as readable for ever, and the loop would
  spin. A spare descriptor is kept for that moment: it is given up to accept the client, tell it 503 and let it go.
- *crowds.* Sockets whose handshake is not complete are bounded; room is made by ending the one that has taken longest, so
  that thousands who drip or say nothing keep nobody out. What one address may have is bounded by `addresses`.
- *close.* Closing a socket with unread bytes makes TCP reset the connection, and the reset can overtake the CLOSE frame
  or the HTTP status that says why. So writing is shut down, what still comes is thrown away until the peer closes too,
  and only then, or after a deadline, the descriptor is closed (as nginx' lingering_close; RFC 6455 section 7.1.1).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable
from typing import Any, NoReturn

from channel_server.websocket.addresses import Addresses

LINGER_SECONDS = 2.0
"""How long a closed connection's incoming bytes are thrown away before the descriptor is closed."""

LINGER_BYTES = 16 * 1024 * 1024
"""How many bytes at most."""

LINGERING_AT_MOST = 1_000
"""Closed connections that may linger at once; the oldest gives way. Without a bound, who is refused quickly enough would
use up the descriptors after all."""

HANDSHAKE_GRACE = 0.1
"""Seconds that a handshake may take in any case; while all are younger, it is the newcomer that is turned away. The request
of an honest client follows its SYN by a round trip and is there when we accept."""

ACCEPTS_PER_TURN = 100
"""Connections accepted in one turn of the loop; the others wait in the kernel's queue for the next turn."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_REST_SECONDS = 0.9
"""A little less than the second for which the transport stops listening."""

_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

_TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

_TOO_MANY = (
    b"HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
)

_DISCARD_CHUNK = 64 * 1024


class ListeningSocket(socket.socket):
    """A bound TCP socket whose connections linger when they are closed.

    `open` counts the accepted sockets that still hold a descriptor, lingering ones included; `idle` is set while there
    is none.
    """

    __slots__ = (
        "_addresses",
        "_handshakes",
        "_kernel_backlog",
        "_lingering",
        "_loop",
        "_max_handshakes",
        "_max_open",
        "_on_shed",
        "_rests_until",
        "_spare",
        "idle",
        "open",
    )

    def __init__(
        self,
        family: int,
        loop: asyncio.AbstractEventLoop,
        *,
        backlog: int,
        max_open: int,
        max_handshakes: int,
        addresses: Addresses,
    ) -> None:
        """`backlog`: connections that the kernel holds while we have not accepted them (it caps this at somaxconn).

        `max_open`: descriptors that accepted sockets may hold. `max_handshakes`: those of them whose handshake is not
        complete.
        """
        super().__init__(family, socket.SOCK_STREAM)
        self.open = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self._loop = loop
        self._kernel_backlog = backlog
        self._lingering: dict[_AcceptedSocket, tuple[asyncio.TimerHandle, int]] = {}
        self._handshakes: dict[int, tuple[_AcceptedSocket, float]] = {}
        self._max_open = max_open
        self._max_handshakes = max_handshakes
        self._addresses = addresses
        self._on_shed: Callable[[str], None] = lambda reason: None
        self._rests_until = 0.0
        self._spare: int | None = None
        self._take_spare()

    def tell(self, on_shed: Callable[[str], None]) -> None:
        """`on_shed` is told why a socket was turned away: `handshakes`, `slow_handshake`, `descriptors`,
        `address_connections` or `address_rate`; and `rest` when accepting rests for want of descriptors."""
        self._on_shed = on_shed

    def opened(self, descriptor: int) -> None:
        """The handshake of an accepted socket is complete."""
        self._handshakes.pop(descriptor, None)

    @property
    def handshakes(self) -> int:
        """Accepted sockets whose handshake is not complete."""
        return len(self._handshakes)

    @property
    def lingering(self) -> int:
        """Closed connections whose descriptor is still held."""
        return len(self._lingering)

    # What the transport calls ----------------------------------------------------------------------------------------

    def listen(self, accepts_per_turn: int = ACCEPTS_PER_TURN, /) -> None:
        # The transport has one number for the kernel's queue and for the accepts in a turn of the loop. A storm of
        # reconnecting clients needs a long queue and short turns.
        super().listen(self._kernel_backlog)

    def accept(self) -> tuple[socket.socket, Any]:
        """Raises ConnectionAbortedError for a client that was turned away (the caller goes on with the next)."""
        if self._loop.time() < self._rests_until:
            raise BlockingIOError
        try:
            accepted, address = super().accept()
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            if self._spare is None:
                # The transport now stops listening for a second (by `remove_reader`), but first tries a hundred times.
                self._rests_until = self._loop.time() + _REST_SECONDS
                self._on_shed("rest")
                raise
            self._shed_one()
        now = self._loop.time()
        if self.open >= self._max_open:
            self._turn_away(accepted, "descriptors")
        if len(self._handshakes) >= self._max_handshakes and not self._make_room(now):
            self._turn_away(accepted, "handshakes")
        remote = str(address[0])
        if self._addresses.active:
            reason = self._addresses.came(remote, now)
            if reason is not None:
                self._turn_away(accepted, reason, _TOO_MANY)
        if self._spare is None:
            self._take_spare()
        self.open += 1
        self.idle.clear()
        known = _AcceptedSocket(self, accepted, remote)
        self._handshakes[known.fileno()] = (known, now)
        return known, address

    def remove_reader(self, descriptor: int) -> None:
        # aiofastnet 1.2.0 calls this on the socket instead of the loop when accept() fails for want of resources;
        # without it, it would try again in every turn. It comes back by itself after a second.
        self._loop.remove_reader(descriptor)

    def close(self) -> None:
        """Stop listening. Accepted and lingering sockets are not touched."""
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
        super().close()

    def _take_spare(self) -> None:
        # Without one (another thread was quicker), the next exhaustion makes accepting rest for a second instead.
        with contextlib.suppress(OSError):
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    # Turning away ----------------------------------------------------------------------------------------------------

    def _shed_one(self) -> NoReturn:
        assert self._spare is not None
        os.close(self._spare)
        self._spare = None
        try:
            accepted, _ = super().accept()
            self._turn_away(accepted, "descriptors")
        finally:
            self._take_spare()

    def _make_room(self, now: float) -> bool:
        """End the handshake that has taken longest; False when none has taken long."""
        descriptor, (slowest, since) = next(iter(self._handshakes.items()))
        if now - since < HANDSHAKE_GRACE:
            return False
        del self._handshakes[descriptor]
        with contextlib.suppress(OSError):
            slowest.send(_TIMED_OUT)
        with contextlib.suppress(OSError):
            # Its transport reads the end of the stream and closes it.
            slowest.shutdown(socket.SHUT_RDWR)
        self._on_shed("slow_handshake")
        return True

    def _turn_away(self, accepted: socket.socket, reason: str, answer: bytes = _BUSY) -> NoReturn:
        with accepted, contextlib.suppress(OSError):
            accepted.setblocking(False)
            accepted.send(answer)
        self._on_shed(reason)
        raise ConnectionAbortedError(f"turned away: {reason}")

    # Lingering -------------------------------------------------------------------------------------------------------

    def linger(self, accepted: _AcceptedSocket) -> None:
        """Take over a socket that its transport has done with."""
        self._handshakes.pop(accepted.fileno(), None)
        try:
            # l_onoff is set by `reset_on_close` only.
            if accepted.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER) == 0:
                accepted.shutdown(socket.SHUT_WR)
                if not self._discard(accepted, 0):
                    return
        except OSError:
            pass  # the peer has reset the connection
        self._release(accepted)

    def _discard(self, accepted: _AcceptedSocket, seen: int) -> bool:
        """Throw away what has come; True when nothing more will, else the loop calls again."""
        while seen < LINGER_BYTES:
            try:
                chunk = accepted.recv(_DISCARD_CHUNK)
            except BlockingIOError:
                timer, _ = self._lingering.get(accepted, (None, 0))
                if timer is None:
                    if len(self._lingering) >= LINGERING_AT_MOST:
                        self._end_linger(next(iter(self._lingering)))
                    timer = self._loop.call_later(LINGER_SECONDS, self._end_linger, accepted)
                    self._loop.add_reader(accepted.fileno(), self._on_readable, accepted)
                self._lingering[accepted] = (timer, seen)
                return False
            if not chunk:
                return True
            seen += len(chunk)
        return True

    def _on_readable(self, accepted: _AcceptedSocket) -> None:
        _, seen = self._lingering[accepted]
        try:
            if self._discard(accepted, seen):
                self._end_linger(accepted)
        except OSError:
            self._end_linger(accepted)

    def _end_linger(self, accepted: _AcceptedSocket) -> None:
        timer, _ = self._lingering.pop(accepted)
        timer.cancel()
        self._loop.remove_reader(accepted.fileno())
        self._release(accepted)

    def _release(self, accepted: _AcceptedSocket) -> None:
        self.open -= 1
        if not self.open:
            self.idle.set()
        if self._addresses.active:
            self._addresses.left(accepted.remote)
        accepted.close_now()


class _AcceptedSocket(socket.socket):
    """A client's socket; `close` hands it back to its listener to linger. `remote`: the client's address."""

    __slots__ = ("_listener", "remote")

    def __init__(self, listener: ListeningSocket, accepted: socket.socket, remote: str) -> None:
        self._listener: ListeningSocket | None = listener
        self.remote = remote
        family, kind, proto = accepted.family, accepted.type, accepted.proto
        super().__init__(family, kind, proto, fileno=accepted.detach())

    def close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.linger(self)

    def close_now(self) -> None:
        super().close()
