"""Connections that keep a server busy without ever becoming clients; each comes back when it is sent away."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlsplit

CONNECTING_AT_ONCE = 100

_UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_HEADERS = "GET {path} HTTP/1.1\r\nHost: {host}\r\n" + "X-Flood: x\r\n" * 300 + "\r\n"
_LONG_HEADER = "GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Flood: " + "x" * 40_000

KINDS = ("silent", "dripping", "upgraded", "flooding")
"""silent: never a byte. dripping: a handshake, a byte now and then. upgraded: a WebSocket, and never a frame. flooding:
headers without end, by count or by bytes."""


class _Idler(asyncio.Protocol):
    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.heard = b""

    def data_received(self, data: bytes) -> None:
        self.heard = (self.heard + data)[:64]

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.gone.set()


class Idlers:
    """`connected`: how many there are now. `sent_away`: how often one was, by kind. `answers`: by HTTP status."""

    def __init__(self, node: str, rng: random.Random) -> None:
        parts = urlsplit(node)
        assert parts.hostname is not None
        assert parts.port is not None
        self._host, self._port = parts.hostname, parts.port
        self._words = {"path": parts.path, "host": parts.netloc}
        self._rng = rng
        self._gate = asyncio.Semaphore(CONNECTING_AT_ONCE)
        self.over = False
        self.connected = 0
        self.most = 0
        self.sent_away: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()

    async def keep(self, kind: str, number: int) -> None:
        """One of them, until it is over."""
        address = f"127.{10 + number // 50_000}.{number // 250 % 200}.{1 + number % 250}"
        loop = asyncio.get_running_loop()
        while not self.over:
            try:
                async with self._gate:
                    transport, idler = await loop.create_connection(
                        _Idler, self._host, self._port, local_addr=(address, 0)
                    )
            except OSError:
                await asyncio.sleep(self._rng.uniform(0.5, 1.5))
                continue
            self.connected += 1
            self.most = max(self.most, self.connected)
            try:
                await self._be(kind, transport, idler)
            finally:
                self.connected -= 1
                transport.abort()
            self.sent_away[kind] += 1
            self.answers[idler.heard[9:12].decode("ascii", "replace") or "none"] += 1
            await asyncio.sleep(self._rng.uniform(0.5, 1.5))

    async def _be(self, kind: str, transport: asyncio.WriteTransport, idler: _Idler) -> None:
        if kind == "upgraded":
            transport.write(_UPGRADE.format(**self._words).encode())
        elif kind == "flooding":
            flood = self._rng.choice((_HEADERS, _LONG_HEADER))
            transport.write(flood.format(**self._words).encode())
        elif kind == "dripping":
            for byte in _UPGRADE.format(**self._words).encode():
                if idler.gone.is_set() or transport.is_closing():
                    return
                transport.write(bytes([byte]))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._rng.uniform(0.5, 1.5)):
                        await idler.gone.wait()
        await idler.gone.wait()


@contextlib.asynccontextmanager
async def idling(node: str, counts: Mapping[str, int], rng: random.Random) -> AsyncIterator[Idlers]:
    """So many of each of `KINDS`, until the end of the block."""
    idlers = Idlers(node, rng)
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    rng.shuffle(kinds)
    tasks = [asyncio.create_task(idlers.keep(kind, number)) for number, kind in enumerate(kinds)]
    try:
        yield idlers
    finally:
        # A cancellation may be lost where a connection is being made at that moment.
        idlers.over = True
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
