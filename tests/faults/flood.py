"""Senders who do not wait: each sends at its own rate, whatever the server says, and notes every answer."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from services.contract import frames
from services.contract.ids import new_event_id

BUFFERED_AT_MOST = 256 * 1024
"""Bytes that a sender has handed to its system and the server has not taken; beyond that it loses its turn."""

_COMES_BACK_S = 0.2


class Sender(WSListener):
    """One connection. `acked`: id -> (channel, seq). `refused`: by code. `sent`: how many went out; `skipped`: how
    many turns were lost because the server did not read."""

    def __init__(self, token: str, channel: str) -> None:
        super().__init__()
        self.acked: dict[str, tuple[str, int]] = {}
        self.refused: Counter[str] = Counter()
        self.sent = 0
        self.skipped = 0
        self.closed: int | None = None
        self._token = token
        self._channel = channel
        self._transport: WSTransport | None = None
        self._welcomed = asyncio.Event()

    async def connect(self, node: str) -> None:
        await ws_connect(lambda: self, node, websocket_handshake_timeout=10.0)
        await asyncio.wait_for(self._welcomed.wait(), 15.0)

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        transport.send(WSMsgType.TEXT, frames.encode_frame(frames.Connect(token=self._token, client="flood")))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            payload = frame.get_payload_as_bytes()
            self.closed = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
            transport.disconnect()
        if frame.msg_type != WSMsgType.TEXT:
            return
        payload = frame.get_payload_as_bytes()
        if payload.startswith(b'{"type":"event"'):
            return  # what the others say is not its business
        match frames.decode_server_frame(payload):
            case frames.Welcome():
                self._welcomed.set()
            case frames.Ack() as ack:
                self.acked[ack.id] = (ack.channel, ack.seq)
            case frames.Refused() as refused:
                self.refused[refused.code] += 1
            case frames.Error() as error:
                self.refused[error.code] += 1
            case _:
                pass

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._transport = None
        self.closed = self.closed or 1006

    async def flood(self, rate: float, stop: asyncio.Event) -> None:
        """Send `rate` messages a second until told to stop, or the connection is gone."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for number in itertools.count():
            due = begun + number / rate
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            elif number % 50 == 0:
                await asyncio.sleep(0)
            if stop.is_set() or self._transport is None:
                return
            if self._transport.underlying_transport.get_write_buffer_size() > BUFFERED_AT_MOST:
                self.skipped += 1
                continue
            self.sent += 1
            frame = frames.Send(channel=self._channel, id=new_event_id(), text=f"flood {number}")
            self._transport.send(WSMsgType.TEXT, frames.encode_frame(frame))

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.underlying_transport.abort()


@contextlib.asynccontextmanager
async def flooding(node: str, senders: Sequence[Sender], rate: float) -> AsyncIterator[None]:
    """All of these send `rate` messages a second each, until the end of the block."""
    stop = asyncio.Event()
    for sender in senders:
        await sender.connect(node)
    tasks = [asyncio.create_task(sender.flood(rate, stop)) for sender in senders]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


@contextlib.asynccontextmanager
async def flooding_on(node: str, make: Callable[[], Sender], rate: float) -> AsyncIterator[list[Sender]]:
    """One sender that comes back whenever it is sent away, until the end of the block; gives each of its connections."""
    stop = asyncio.Event()
    senders: list[Sender] = []

    async def flood() -> None:
        while not stop.is_set():
            sender = make()
            await sender.connect(node)
            senders.append(sender)
            await sender.flood(rate, stop)
            await asyncio.sleep(_COMES_BACK_S)

    task = asyncio.create_task(flood())
    try:
        yield senders
    finally:
        stop.set()
        await task
        for sender in senders:
            sender.drop()


def refusals(senders: Sequence[Sender]) -> Counter[str]:
    """All of them together, by code."""
    return sum((sender.refused for sender in senders), Counter())
