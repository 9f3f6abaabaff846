"""Connections that keep a server busy without ever becoming clients; each comes back when it is sent away.

They live in a process of their own (`python -m tests.faults.idlers NODE COUNTS SEED`, until its input ends): what they
do must not be taken for slowness of those whom a scenario measures, and they need their own descriptors.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from urllib.parse import urlsplit

import msgspec

from tests.faults.apart import apart

CONNECTING_AT_ONCE = 100
REPORT_S = 0.2

_UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_HEADERS = "GET {path} HTTP/1.1\r\nHost: {host}\r\n" + "X-Flood: x\r\n" * 300 + "\r\n"
_LONG_HEADER = "GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Flood: " + "x" * 40_000

KINDS = ("silent", "dripping", "upgraded", "flooding")
"""silent: never a byte. dripping: a handshake, a byte now and then. upgraded: a WebSocket, and never a frame. flooding:
headers without end, by count or by bytes."""


class Report(msgspec.Struct):
    """How it stands.

    connected   how many there are now
    most        how many there were at most
    upgraded    how many different ones have completed the WebSocket handshake
    sent_away   how often one was, by kind
    answers     by HTTP status
    """

    connected: int = 0
    most: int = 0
    upgraded: int = 0
    sent_away: dict[str, int] = {}
    answers: dict[str, int] = {}


class _Idler(asyncio.Protocol):
    def __init__(self, on_upgraded: Callable[[], None]) -> None:
        self.gone = asyncio.Event()
        self.heard = b""
        self._on_upgraded = on_upgraded

    @property
    def status(self) -> str:
        return self.heard[9:12].decode("ascii", "replace")

    def data_received(self, data: bytes) -> None:
        first = not self.heard
        self.heard = (self.heard + data)[:64]
        if first and self.status == "101":
            self._on_upgraded()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.gone.set()


class _Idlers:
    def __init__(self, node: str, rng: random.Random) -> None:
        parts = urlsplit(node)
        assert parts.hostname is not None
        assert parts.port is not None
        self._host, self._port = parts.hostname, parts.port
        self._words = {"path": parts.path, "host": parts.netloc}
        self._rng = rng
        self._gate = asyncio.Semaphore(CONNECTING_AT_ONCE)
        self.over = False
        self._connected = 0
        self._most = 0
        self._upgraded: set[int] = set()
        self._sent_away: Counter[str] = Counter()
        self._answers: Counter[str] = Counter()

    def report(self) -> Report:
        return Report(self._connected, self._most, len(self._upgraded), self._sent_away, self._answers)

    async def keep(self, kind: str, number: int) -> None:
        """One of them, until it is over."""
        address = f"127.{10 + number // 50_000}.{number // 250 % 200}.{1 + number % 250}"
        loop = asyncio.get_running_loop()
        while not self.over:
            try:
                async with self._gate:
                    transport, idler = await loop.create_connection(
                        lambda: _Idler(lambda: self._upgraded.add(number)),
                        self._host,
                        self._port,
                        local_addr=(address, 0),
                    )
            except OSError:
                await asyncio.sleep(self._rng.uniform(0.5, 1.5))
                continue
            self._connected += 1
            self._most = max(self._most, self._connected)
            try:
                await self._be(kind, transport, idler)
            finally:
                self._connected -= 1
                transport.abort()
            self._sent_away[kind] += 1
            self._answers[idler.status or "none"] += 1
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
async def idling(node: str, counts: Mapping[str, int], rng: random.Random) -> AsyncIterator[Report]:
    """So many of each of `KINDS`, until the end of the block; how it stands is kept up to date."""
    report = Report()
    arguments = (node, msgspec.json.encode(counts).decode(), str(rng.random()))
    async with apart("tests.faults.idlers", *arguments) as process:
        reading = asyncio.create_task(_read(process.lines, report))
        try:
            yield report
            assert process.running, "the idlers' process has ended"
        finally:
            await process.end()
            await asyncio.gather(reading, return_exceptions=True)


async def _read(lines: asyncio.StreamReader, report: Report) -> None:
    decode = msgspec.json.Decoder(Report).decode
    async for line in lines:
        now = decode(line)
        for name in Report.__struct_fields__:
            setattr(report, name, getattr(now, name))


async def _idle(node: str, counts: Mapping[str, int], seed: str) -> None:
    rng = random.Random(seed)
    idlers = _Idlers(node, rng)
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    rng.shuffle(kinds)
    tasks = [asyncio.create_task(idlers.keep(kind, number)) for number, kind in enumerate(kinds)]
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin.buffer
    )
    while not orders.at_eof():
        print(msgspec.json.encode(idlers.report()).decode(), flush=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(orders.read(1), REPORT_S)
    # A cancellation may be lost where a connection is being made at that moment.
    idlers.over = True
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(_idle(sys.argv[1], msgspec.json.decode(sys.argv[2], type=dict[str, int]), sys.argv[3]))
