"""One client's WebSocket on picows: whole messages in, frames out, the close handshake in between.

picows takes the bytes apart and refuses what is wrong with a single frame; `protocol.MessageAssembler` decides what the
frames mean together. This class joins the two with the socket: it delivers messages to an `Application`, answers PING
and CLOSE, and keeps the promise that nothing is delivered and nothing is written after a CLOSE was sent.

Everything here runs in the event loop's thread and never blocks. Lean on purpose: a process holds 10,000 of these.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import termios
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from channel_server.websocket.protocol import (
    Code,
    MessageAssembler,
    PeerClosed,
    Pong,
    is_sendable_code,
    truncate_reason,
)


class Application(Protocol):
    """What a connection tells; one object per connection or one for all. Must not block.

    The order is on_open, then any number of on_message and on_writable, then on_close exactly once. An exception out of
    on_open or on_message closes the connection with 1011 and is logged.
    """

    def on_open(self, connection: WebSocketConnection) -> None:
        """The handshake is complete; from here on writing is allowed."""

    def on_message(self, connection: WebSocketConnection, message: str | bytes, is_text: bool) -> None:
        """One whole message: `str` when `is_text`, else `bytes`. Never after a CLOSE was sent."""

    def on_writable(self, connection: WebSocketConnection) -> None:
        """The write buffer had risen above the high-water mark and is now at or below the low-water mark."""

    def on_close(self, connection: WebSocketConnection, code: int, reason: str) -> None:
        """The TCP connection is gone. `code` and `reason` are of the CLOSE that came first, ours or the peer's.

        1005: the peer's CLOSE had no code. 1006: there was no CLOSE.
        """


class Limits(NamedTuple):
    """Bounds of each connection, shared by all of a listener. Bytes and seconds."""

    max_message: int = 64 * 1024
    """A whole incoming message, whatever its fragments; more is refused with 1009."""
    high_water: int = 64 * 1024
    """Buffered bytes above which a connection counts as congested."""
    low_water: int = 16 * 1024
    """Buffered bytes at or below which `on_writable` follows."""
    close_timeout: float = 5.0
    """From our CLOSE, or the peer's end of stream, to the end of TCP; then the connection is aborted."""
    frames_per_second: int = 5_000
    """Incoming frames of any kind; above it reading pauses until the average is kept. An empty frame has six bytes and costs
    as much as a short message: without this, one fast line of them would keep the loop from everybody else."""


class Registry(Protocol):
    """Who keeps count of the connections, and calls `tick` of each of them about once a second."""

    def opened(self, connection: WebSocketConnection) -> None: ...

    def closed(self, connection: WebSocketConnection, code: int) -> None: ...

    def flooded(self, connection: WebSocketConnection) -> None:
        """Reading was paused, because too many frames came."""

    def pong_replaced(self, connection: WebSocketConnection) -> None:
        """A PING will not be answered, because a later one will be, once the client reads."""


_RESET = struct.pack("ii", 1, 0)
"""struct linger: on, zero seconds. Close then means reset."""

_MARKS = 60
"""How many of its last looks a connection with unsent bytes remembers: when it was, and how many bytes had been written."""

_OPEN = 0
_CLOSING = 1
_CLOSED = 2


class WebSocketConnection(WSListener):
    """One client. Made by the listener, which hands it to the application in `on_open`.

    The `on_ws_*`, `pause_writing` and `resume_writing` methods are picows' callbacks, not for callers.
    """

    __slots__ = (
        "_application",
        "_assembler",
        "_closing_since",
        "_code",
        "_congested",
        "_factory",
        "_frames_left",
        "_limits",
        "_marks",
        "_paused",
        "_pong",
        "_reason",
        "_registry",
        "_state",
        "_transport",
        "_underlying",
        "_written",
        "path",
        "unsent_since",
    )

    path: str
    """The path and query of the request, as sent."""

    unsent_since: float
    """time.monotonic() since when the oldest of the bytes in `buffered` has been waiting, 0.0 when there are none; looked
    at once a second, so it may be that much too late."""

    def __init__(
        self, factory: Callable[[], Application], registry: Registry, limits: Limits, path: str
    ) -> None:
        """`factory` makes the application when the handshake is complete."""
        self.path = path
        self._factory = factory
        self._registry = registry
        self._limits = limits
        self._assembler = MessageAssembler(limits.max_message)
        self._application: Application | None = None
        self._state = _OPEN
        self._frames_left = limits.frames_per_second
        self._paused = False
        self._congested = False
        self._pong: bytes | None = None
        self._closing_since = 0.0
        self._written = 0
        self._marks: deque[tuple[float, int]] | None = None
        self.unsent_since = 0.0
        self._code = 0
        self._reason = ""

    # What the application may do -------------------------------------------------------------------------------------

    def send_text(self, payload: bytes | str) -> None:
        """Send one TEXT message; bytes must be valid UTF-8. Dropped silently after a CLOSE was sent or TCP is closing."""
        if self._is_writable():
            self._transport.send(WSMsgType.TEXT, payload)

    def send_binary(self, payload: bytes) -> None:
        """Send one BINARY message. Dropped silently as in `send_text`."""
        if self._is_writable():
            self._transport.send(WSMsgType.BINARY, payload)

    def write_prepared(self, frames: bytes) -> int:
        """Write complete server frames (`framing.prepare_text`), any number joined, in one transport write.

        What the socket does not take at once is kept by reference or copy, and counts in `buffered`. Dropped silently
        after a CLOSE was sent or TCP is closing. Gives `buffered` while the connection is congested, else 0: most writes
        of a node are these, and few leave anything behind.
        """
        if not self._transport.is_close_frame_sent and not self._underlying.is_closing():
            self._written += len(frames)
            self._underlying.write(frames)
        return self._underlying.get_write_buffer_size() if self._congested else 0

    def buffered(self) -> int:
        """Bytes that were written and that the kernel has not taken yet."""
        return self._underlying.get_write_buffer_size()

    def kernel_unsent(self) -> int:
        """Bytes that the kernel has taken and the client's has not acknowledged (Linux; elsewhere 0). A system call."""
        try:
            answer = fcntl.ioctl(self.descriptor, termios.TIOCOUTQ, b"\0\0\0\0")
        except OSError:
            return 0
        return int.from_bytes(answer, sys.byteorder)

    def set_water_marks(self, high: int, low: int) -> None:
        """When `on_writable` fires: after `buffered` had passed `high`, once it is `low` or less (0 <= low <= high)."""
        self._underlying.set_write_buffer_limits(high, low)

    def pause_reading(self) -> None:
        """Take nothing more from the socket, so that TCP slows the client down.

        Messages of the read under way are still delivered. The end of the connection is not noticed until
        `resume_reading`, except by a failing write.
        """
        if self._state == _OPEN:
            self._paused = True
            self._underlying.pause_reading()

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""
        self._paused = False
        if self._frames_left > 0:
            self._underlying.resume_reading()

    def close(self, code: int = Code.NORMAL, reason: str = "") -> None:
        """Start the close handshake; `on_close` follows when TCP is gone, after `close_timeout` at the latest.

        `reason` is cut to 123 bytes of UTF-8. Does nothing when the connection is already closing. Raises ValueError
        for a code that may not be sent (RFC 6455 section 7.4).
        """
        if not is_sendable_code(code):
            raise ValueError(f"{code} is not a close code that may be sent")
        if self._is_writable():
            self._send_close(code, reason)
            self.resume_reading()  # or the peer's answer would never be seen

    def abort(self) -> None:
        """End TCP now, by a reset; what is buffered is thrown away. `on_close` follows in the next turn of the loop."""
        if self._state == _CLOSED:
            return
        self._state = _CLOSING
        # A plain close would leave up to `send_buffer` bytes in the kernel for minutes, for a peer that does not read.
        sock = self._underlying.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._underlying.abort()

    @property
    def is_open(self) -> bool:
        """Whether messages may still be sent."""
        return self._is_writable()

    @property
    def descriptor(self) -> int:
        """The socket's; -1 when it is closed."""
        return int(self._underlying.get_extra_info("socket").fileno())

    @property
    def remote(self) -> tuple[str, int]:
        """The peer's IP address and port; ("", 0) when it was gone before it could be asked."""
        name = self._underlying.get_extra_info("peername")
        return (str(name[0]), int(name[1])) if name else ("", 0)

    @property
    def headers(self) -> Mapping[str, str]:
        """The request's headers, by case-insensitive name. Only while `on_open` runs: they are not kept, being large.

        Raises LookupError afterwards.
        """
        headers: Mapping[str, str] | None = getattr(self._transport.request, "headers", None)
        if headers is None:
            raise LookupError("the request's headers are kept only until on_open returns")
        return headers

    # What picows tells -----------------------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._underlying = transport.underlying_transport
        self._underlying.set_write_buffer_limits(self._limits.high_water, self._limits.low_water)
        self._registry.opened(self)
        self._application = self._factory()
        try:
            self._application.on_open(self)
        finally:
            del transport.request.headers

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._frames_left -= 1
        if self._frames_left == 0:
            self._underlying.pause_reading()
            self._registry.flooded(self)
        if transport.is_close_frame_sent or self._state != _OPEN:
            # picows goes on delivering the frames of the same read. Of all of them only the peer's CLOSE matters.
            if frame.msg_type is WSMsgType.CLOSE:
                transport.disconnect()
            return
        opcode: int = frame.msg_type  # type: ignore[assignment]  # an IntEnum; the stub says Enum
        outcome = self._assembler.receive(
            opcode, frame.get_payload_as_bytes(), frame.fin, frame.rsv1 or frame.rsv2 or frame.rsv3
        )
        application = self._application
        assert application is not None
        if outcome is None:
            return
        if isinstance(outcome, str):
            application.on_message(self, outcome, True)
        elif isinstance(outcome, bytes):
            application.on_message(self, outcome, False)
        elif isinstance(outcome, Pong):
            if self._congested:
                # Who pings and does not read must not fill our memory; the last PING may be answered for all (5.5.3).
                if self._pong is not None:
                    self._registry.pong_replaced(self)
                self._pong = outcome.payload
            else:
                transport.send_pong(outcome.payload)
        elif isinstance(outcome, PeerClosed):
            self._send_close(outcome.reply, "")
            self._code, self._reason = outcome.code, outcome.reason
            transport.disconnect()  # RFC 6455 section 7.1.1: the server closes TCP first
        else:
            self._send_close(outcome.code, outcome.reason)
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._state = _CLOSED
        if not self._code:
            self._code, self._reason = _first_close(transport)
        self._registry.closed(self, self._code)
        # It is likely to refer to us: no cycle is left behind.
        application, self._application = self._application, None
        if application is not None:
            application.on_close(self, self._code, self._reason)

    def pause_writing(self) -> None:
        self._congested = True

    def resume_writing(self) -> None:
        self._congested = False
        if self._application is None or not self._is_writable():
            return
        pong, self._pong = self._pong, None
        if pong is not None:
            self._transport.send_pong(pong)
        self._application.on_writable(self)

    # What the listener enforces --------------------------------------------------------------------------------------

    def tick(self, now: float, seconds: float) -> bool:
        """Grant the frames of the `seconds` since the last tick, and abort, and say so, what is overdue with closing.

        `now` is time.monotonic(). Overdue: closing began `close_timeout` or longer ago. The socket is asked too, because
        picows closes by itself after some protocol errors and at the end of the stream, and a peer that does not read
        would keep that open for ever.
        """
        left, most = self._frames_left, self._limits.frames_per_second
        if left < most:
            self._frames_left = min(left + int(most * seconds) + 1, most)
            if left <= 0 < self._frames_left and not self._paused:
                self._underlying.resume_reading()
        if self._state == _CLOSED:
            return False
        buffered = self._underlying.get_write_buffer_size()
        if not buffered:
            self.unsent_since = 0.0
            self._marks = None
        else:
            marks = self._marks
            if marks is None:
                marks = self._marks = deque()
            taken = self._written - buffered
            while marks and marks[0][1] <= taken:
                marks.popleft()
            marks.append((now, self._written))
            if len(marks) > _MARKS:
                del marks[1]
            self.unsent_since = marks[0][0]
        if self._is_writable():
            return False
        if not self._closing_since:
            self._closing_since = now
        if now - self._closing_since < self._limits.close_timeout:
            return False
        self.abort()
        return True

    def _is_writable(self) -> bool:
        return (
            self._state == _OPEN
            and not self._transport.is_close_frame_sent
            and not self._underlying.is_closing()
        )

    def _send_close(self, code: int, reason: str) -> None:
        self._state = _CLOSING
        self._closing_since = time.monotonic()
        self._code, self._reason = code, truncate_reason(reason)
        picows_code: WSCloseCode = code  # type: ignore[assignment]  # any number is taken; the stub knows only the enum
        self._transport.send_close(picows_code, self._reason)


def _first_close(transport: WSTransport) -> tuple[int, str]:
    """Code and reason of the CLOSE that came first when picows dealt with it alone; 1006 when there was none."""
    handshake = transport.close_handshake
    if not handshake:
        return Code.ABNORMAL, ""
    first = handshake.recv if handshake.recv_then_sent else handshake.sent
    if not first:
        return Code.ABNORMAL, ""
    code: int = first.code  # type: ignore[assignment]  # an IntEnum; the stub says Enum
    return code or Code.NO_STATUS, first.reason or ""
