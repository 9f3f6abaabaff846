"""The TCP side of a listener: socket options, running out of descriptors, and closing without losing the last words.

picows' transport (aiofastnet) accepts and closes through the methods of the socket it is given, so both are met here:

- *accept.* When no descriptor is left, Linux reports the listening socket as readable for ever, and the loop would
  spin. A spare descriptor is kept for that moment: it is given up to accept the client, tell it 503 and let it go.
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

LINGER_SECONDS = 2.0
"""How long a closed connection's incoming bytes are thrown away before the descriptor is closed."""

LINGER_BYTES = 16 * 1024 * 1024
"""How many bytes at most."""

ACCEPTS_PER_TURN = 100
"""Connections accepted in one turn of the loop; the others wait in the kernel's queue for the next turn."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_REST_SECONDS = 0.9
"""A little less than the second for which the transport stops listening."""

_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

_DISCARD_CHUNK = 64 * 1024


class ListeningSocket(socket.socket):
    """A bound TCP socket whose connections linger when they are closed.

    `open` counts the accepted sockets that still hold a descriptor, lingering ones included; `idle` is set while there
    is none.
    """

    __slots__ = (
        "_admits",
        "_kernel_backlog",
        "_lingering",
        "_loop",
        "_on_shed",
        "_rests_until",
        "_spare",
        "idle",
        "open",
    )

    def __init__(self, family: int, loop: asyncio.AbstractEventLoop, *, backlog: int) -> None:
        """`backlog`: connections that the kernel holds while we have not accepted them (it caps this at somaxconn)."""
        super().__init__(family, socket.SOCK_STREAM)
        self.open = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self._loop = loop
        self._kernel_backlog = backlog
        self._lingering: dict[_AcceptedSocket, tuple[asyncio.TimerHandle, int]] = {}
        self._admits: Callable[[], bool] = lambda: True
        self._on_shed: Callable[[str], None] = lambda reason: None
        self._rests_until = 0.0
        self._spare: int | None = None
        self._take_spare()

    def admit_by(self, admits: Callable[[], bool], on_shed: Callable[[str], None]) -> None:
        """`admits` is asked for each new socket; one that is not admitted is told 503 and closed.

        `on_shed` is told why a socket was turned away: `handshakes` or `descriptors`.
        """
        self._admits = admits
        self._on_shed = on_shed

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
                raise
            self._shed_one()
        if not self._admits():
            self._turn_away(accepted, "handshakes")
        if self._spare is None:
            self._take_spare()
        self.open += 1
        self.idle.clear()
        return _AcceptedSocket(self, accepted), address

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

    def _turn_away(self, accepted: socket.socket, reason: str) -> NoReturn:
        with accepted, contextlib.suppress(OSError):
            accepted.setblocking(False)
            accepted.send(_BUSY)
        self._on_shed(reason)
        raise ConnectionAbortedError(f"turned away: {reason}")

    # Lingering -------------------------------------------------------------------------------------------------------

    def linger(self, accepted: _AcceptedSocket) -> None:
        """Take over a socket that its transport has done with."""
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
        accepted.close_now()


class _AcceptedSocket(socket.socket):
    """A client's socket; `close` hands it back to its listener to linger."""

    __slots__ = ("_listener",)

    def __init__(self, listener: ListeningSocket, accepted: socket.socket) -> None:
        self._listener: ListeningSocket | None = listener
        family, kind, proto = accepted.family, accepted.type, accepted.proto
        super().__init__(family, kind, proto, fileno=accepted.detach())

    def close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.linger(self)

    def close_now(self) -> None:
        super().close()
