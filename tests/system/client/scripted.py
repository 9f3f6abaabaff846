"""A WebSocket server that does exactly what a test says, and a web app made of a function: no Lockstep behind them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import httpx
import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve

from client import LockstepClient, MemoryTokens, Realtime, Tokens
from services.contract import frames
from services.contract.events import MessagePosted, encode_event
from tests.stack.waiting import PATIENCE_S

F = TypeVar("F", bound=frames.ClientFrame)

ME = "usr_" + "1" * 32
OTHER = "usr_" + "2" * 32
C = "ch_" + "c" * 32
D = "ch_" + "d" * 32


def body(text: str) -> bytes:
    return encode_event(MessagePosted(text=text))


def event(seq: int, text: str = "", channel: str = C) -> frames.EventFrame:
    raw = msgspec.Raw(body(text or f"text {seq}"))
    return frames.EventFrame(
        channel=channel, seq=seq, id=f"00000000-0000-7000-8000-{seq:012d}", sender=OTHER, at=seq, event=raw
    )


def page(channel: str, events: list[frames.EventFrame], head: int, epoch: int = 1) -> httpx.Response:
    rows = [{"seq": e.seq, "id": e.id, "sender": e.sender, "at": e.at, "event": e.event} for e in events]
    content = {"epoch": epoch, "channel": channel, "head": head, "events": rows}
    return httpx.Response(200, content=msgspec.json.encode(content))


class Peer:
    """One client's connection, as the server sees it."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.done = asyncio.Event()

    async def receive(self, kind: type[F]) -> F:
        """The next frame of this kind; pings are answered and passed over."""
        while True:
            async with asyncio.timeout(PATIENCE_S):
                frame = frames.decode_client_frame(await self.socket.recv())
            if isinstance(frame, kind):
                return frame
            assert isinstance(frame, frames.Ping), f"{frame} instead of {kind.__name__}"
            await self.send(frames.Pong())

    async def send(self, *what: frames.ServerFrame) -> None:
        for frame in what:
            await self.socket.send(frames.encode_frame(frame), text=True)

    async def welcome(
        self,
        heads: dict[str, int],
        *,
        epoch: int = 1,
        heartbeat_ms: int = 10_000,
        nodes: list[str] | None = None,
    ) -> frames.Connect:
        """Take `connect` and answer it."""
        connect = await self.receive(frames.Connect)
        await self.send(
            frames.Welcome(
                session="ses",
                user=ME,
                epoch=epoch,
                server_time=time.time_ns() // 1_000_000,
                heartbeat_ms=heartbeat_ms,
                first_heartbeat_ms=heartbeat_ms,
                heads=heads,
                nodes=nodes or [],
            )
        )
        return connect

    def ack(self, send: frames.Send, seq: int) -> frames.Ack:
        return frames.Ack(channel=send.channel, id=send.id, seq=seq, at=seq)

    async def close(self, code: int) -> None:
        await self.socket.close(code)
        self.done.set()

    def break_off(self) -> None:
        """As when the process is killed: no farewell."""
        self.socket.transport.abort()
        self.done.set()


class Node:
    def __init__(self) -> None:
        self.peers: asyncio.Queue[Peer] = asyncio.Queue()
        self.server: Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/websocket"

    async def peer(self) -> Peer:
        """The next connection."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.peers.get()

    async def handle(self, socket: ServerConnection) -> None:
        peer = Peer(socket)
        self.peers.put_nowait(peer)
        closed = asyncio.create_task(socket.wait_closed())
        done = asyncio.create_task(peer.done.wait())
        await asyncio.wait({closed, done}, return_when=asyncio.FIRST_COMPLETED)
        for task in (closed, done):
            task.cancel()


@contextlib.asynccontextmanager
async def node() -> AsyncIterator[Node]:
    it = Node()
    async with serve(it.handle, "127.0.0.1", 0, ping_interval=None, compression=None) as server:
        it.server = server
        it.port = next(iter(server.sockets)).getsockname()[1]
        yield it


class Web:
    """The web app: `realtime` gives tokens for `nodes`; other paths go to `history`. `away`: nobody answers."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes = nodes
        self.tokens = 0
        self.away = False
        self.history: Callable[[httpx.Request], httpx.Response] = lambda _: httpx.Response(500)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            raise httpx.ConnectError("refused")
        if request.url.path == "/v1/realtime":
            self.tokens += 1
            return httpx.Response(
                200,
                json={
                    "token": f"token-{self.tokens}",
                    "expires_in": 86_400,
                    "epoch": 1,
                    "nodes": [each.url for each in self.nodes],
                    "directory_at": "x@1",
                },
            )
        return self.history(request)


def client(web: Web, **options: Any) -> LockstepClient:
    tokens = Tokens(access_token="a", refresh_token="r", expires_at=time.time() + 900)
    http = options.pop("http", None) or httpx.AsyncClient(transport=httpx.MockTransport(web))
    options.setdefault("rng", random.Random(1))
    options.setdefault("patience_s", 0.2)
    return LockstepClient("http://web", MemoryTokens(tokens), http=http, **options)


def realtime(*nodes: Node) -> Realtime:
    return Realtime(token="kept", expires_at=time.time() + 3600, nodes=[each.url for each in nodes])


@contextlib.asynccontextmanager
async def connected(
    where: Node, web: Web, heads: dict[str, int], *, nodes: list[str] | None = None, **options: Any
) -> AsyncIterator[tuple[LockstepClient, Peer]]:
    """A client that has been welcomed by `where`, which named `nodes`, and its peer."""
    it = client(web, **options)
    entering = asyncio.create_task(it.__aenter__())
    try:
        peer = await where.peer()
        await peer.welcome(heads, nodes=nodes)
        await entering
        yield it, peer
    finally:
        entering.cancel()
        await it.aclose()


async def seqs(chat: LockstepClient, count: int, channel: str = C) -> list[int]:
    """The seqs of the next `count` numbered events of a channel."""
    found: list[int] = []
    events = chat.events()
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < count:
            shown = await anext(events)
            seq = getattr(shown, "seq", None)
            if seq is not None and getattr(shown, "channel", None) == channel:
                found.append(seq)
    return found
