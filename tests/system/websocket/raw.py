"""A WebSocket client made of a socket and nothing else, so that a test can send what no library would."""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import termios
import time
from collections.abc import Iterable
from types import TracebackType
from typing import NamedTuple

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""RFC 6455 section 1.3: the answer to KEY."""

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA


class ServerFrame(NamedTuple):
    opcode: int
    payload: bytes
    fin: bool


class EndOfStream(AssertionError):
    """The server closed TCP where a test expected more."""


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = b"\x01\x02\x03\x04",
    length: bytes | None = None,
) -> bytes:
    """A client frame. `rsv`: three bits; `mask` None: unmasked; `length`: the length field's bytes instead of right ones."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    bit = 0 if mask is None else 0x80
    if length is None:
        size = len(payload)
        if size < 126:
            length = bytes([size])
        elif size < 65536:
            length = b"\x7e" + struct.pack("!H", size)
        else:
            length = b"\x7f" + struct.pack("!Q", size)
    head = bytes([first, bit | length[0]]) + length[1:]
    if mask is None:
        return head + payload
    whole = mask * (len(payload) // 4 + 1)
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(whole[: len(payload)], "big")
    return head + mask + masked.to_bytes(len(payload), "big")


def request(path: str = "/", headers: Iterable[str] | None = None) -> bytes:
    """An upgrade request; `headers` are whole lines instead of the usual ones."""
    lines = headers if headers is not None else upgrade_headers()
    return f"GET {path} HTTP/1.1\r\n{''.join(line + chr(13) + chr(10) for line in lines)}\r\n".encode()


def upgrade_headers(connection: str = "Upgrade") -> list[str]:
    return [
        "Host: 127.0.0.1",
        f"Connection: {connection}",
        "Upgrade: websocket",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
    ]


class RawClient:
    """A TCP connection to a server; `upgrade` makes it a WebSocket. Every wait ends after `timeout` seconds."""

    def __init__(
        self,
        port: int,
        *,
        timeout: float = 60.0,
        receive_buffer: int | None = None,
        source: str | None = None,
    ) -> None:
        """`source`: the address to come from, anything in 127.0.0.0/8."""
        self.socket = socket.socket()
        if source is not None:
            self.socket.bind((source, 0))
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        self._pending = b""

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, *data: bytes) -> None:
        self.socket.sendall(b"".join(data))

    def unsent(self) -> int:
        """Bytes sent that the server's kernel has not acknowledged."""
        answer = fcntl.ioctl(self.socket.fileno(), termios.TIOCOUTQ, bytes(4))
        return int.from_bytes(answer, sys.byteorder)

    def upgrade(self, path: str = "/") -> RawClient:
        self.send(request(path))
        status, _ = self.read_response()
        assert status == 101
        return self

    def read_response(self) -> tuple[int, dict[str, str]]:
        """Status and headers (names in lower case) of an HTTP answer."""
        while b"\r\n\r\n" not in self._pending:
            self._receive()
        head, self._pending = self._pending.split(b"\r\n\r\n", 1)
        status, *lines = head.decode().split("\r\n")
        return int(status.split()[1]), {
            name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)
        }

    def read_frame(self) -> ServerFrame:
        first, second = self._take(2)
        assert not second & 0x80, "a server does not mask"
        assert not first & 0x70, "no extension was negotiated"
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self._take(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._take(8))
        return ServerFrame(first & 0xF, self._take(size), bool(first & 0x80))

    def read_text(self) -> str:
        got = self.read_frame()
        assert (got.opcode, got.fin) == (TEXT, True), got
        return got.payload.decode()

    def read_close(self) -> int:
        """The code of the next frame, which must be a CLOSE; 1005 for an empty one."""
        got = self.read_frame()
        assert got.opcode == CLOSE, got
        assert len(got.payload) <= 125
        got.payload[2:].decode()
        return int.from_bytes(got.payload[:2], "big") if got.payload else 1005

    def expect_end(self) -> None:
        """The server closes TCP, in order, and sends nothing before that."""
        assert self._pending == b""
        assert self.socket.recv(4096) == b""

    def read_until_end(self) -> bytes:
        """All that comes until the server closes TCP in whatever way."""
        data, self._pending = self._pending, b""
        try:
            while chunk := self.socket.recv(65536):
                data += chunk
        except ConnectionError:
            pass
        return data

    def _take(self, size: int) -> bytes:
        while len(self._pending) < size:
            self._receive()
        taken, self._pending = self._pending[:size], self._pending[size:]
        return taken

    def _receive(self) -> None:
        chunk = self.socket.recv(65536)
        if not chunk:
            raise EndOfStream(f"after {self._pending!r}")
        self._pending += chunk


def wait_until(condition: object, timeout: float = 60.0, what: str = "") -> None:
    """Ask `condition()` until it is true; for tests that block. Raises TimeoutError."""
    assert callable(condition)
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        time.sleep(0.01)
