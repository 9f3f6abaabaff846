"""Thousands of connections that only listen: as light as possible, and each of them checks what it is shown.

The client library is what people use and what the crowd of `load` is made of; a swarm is for numbers that it cannot
reach in one process. A viewer keeps its positions over connections, resumes from them, and holds every event against
them: the next one, or a gap that says exactly what is lacking.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import NamedTuple

from picows import WSCloseCode, WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from client.model import Closed, Opened, Via, shown_event
from client.recorder import Recorder
from services.contract import frames
from services.contract.codes import CLOSES
from tests.stack.waiting import until

CONNECTING_AT_ONCE = 50
_HEARTBEATS_EVERY_S = 1.0


class _Link(WSListener):
    """One connection of a viewer."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.transport: WSTransport | None = None
        self._parts: list[bytes] = []

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            self.viewer.close_codes.append(_code(frame))
            transport.disconnect()
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            self._parts.append(frame.get_payload_as_bytes())
            if frame.fin:
                whole, self._parts = b"".join(self._parts), []
                self.viewer._received(self, frames.decode_server_frame(whole))

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.transport = None
        self.viewer._gone(self)


class Stay(NamedTuple):
    """A connection that had been welcomed and is gone: from when to when (monotonic seconds), and what was shown."""

    node: str
    begun: float
    ended: float
    cursors: dict[str, int]


def _code(frame: WSFrame) -> int:
    payload = frame.get_payload_as_bytes()
    return int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005


class Viewer:
    """Somebody who only reads, over any number of connections.

    cursors         channel -> the last seq shown, or passed over by a gap
    events, gaps    how many were shown; the gaps that were told, as (channel, first, last)
    wrong           what must not happen, in words: holes, repeats
    stays           its connections that broke
    close_codes     with which the server closed, in order
    on_event        called with each event, when it is there
    receive_buffer  bytes that the system may hold for it unread: a small one makes its slowness felt at once
    """

    def __init__(
        self,
        name: str,
        token: str,
        *,
        address: str = "127.0.0.1",
        recorder: Recorder | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        self.name = name
        self.cursors: dict[str, int] = {}
        self.epoch = 0
        self.events = 0
        self.gaps: list[tuple[str, int, int]] = []
        self.wrong: list[str] = []
        self.close_codes: list[int] = []
        self.stays: list[Stay] = []
        self.node = ""
        self.welcomed_at = 0.0
        self.heartbeat_s = 25.0
        self.on_event: Callable[[Viewer, frames.EventFrame], None] | None = None
        self.reconnect: frames.Reconnect | None = None
        self._token = token
        self._address = address
        self._recorder = recorder
        self._receive_buffer = receive_buffer
        self._link: _Link | None = None
        self._welcome: asyncio.Future[frames.Welcome] | None = None
        self._resumed: dict[str, int] = {}
        self._due: dict[str, int] = {}
        self._next_heartbeat = 0.0
        self._moved = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether it has been welcomed and the connection is still there."""
        return self._link is not None and self._link.transport is not None and self.welcomed_at > 0

    @property
    def caught_up(self) -> bool:
        """Whether everything up to the heads of the last welcome was shown, or named by a gap."""
        return self.connected and all(self.cursors.get(c, head) >= head for c, head in self._due.items())

    async def until_gone(self) -> frames.Reconnect | None:
        """Wait until the connection is gone (None), or the node asks to leave it."""
        while self.connected and self.reconnect is None:
            self._moved.clear()
            await self._moved.wait()
        asked, self.reconnect = self.reconnect, None
        return asked

    async def connect(self, node: str, *, timeout: float = 15.0, resume: bool = True) -> None:
        """Connect to the address and wait for `welcome`. Raises OSError, TimeoutError or WSError when it does not
        come; whatever was there before is dropped."""
        self.drop()
        link = self._link = _Link(self)
        self.node = node
        self.welcomed_at = 0.0
        self._welcome = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(timeout):
            await ws_connect(
                lambda: link, node, websocket_handshake_timeout=timeout, local_addr=(self._address, 0)
            )
            if self._receive_buffer is not None:
                self.set_receive_buffer(self._receive_buffer)
            self._resumed = dict(self.cursors) if resume and self.epoch else {}
            resumed = (
                frames.Resume(epoch=self.epoch, channels=self._resumed) if self.epoch and resume else None
            )
            self._send(frames.Connect(token=self._token, resume=resumed, client="swarm"))
            await self._welcome

    def drop(self) -> None:
        """Break the connection off without a farewell."""
        if self._link is not None and self._link.transport is not None:
            self._link.transport.underlying_transport.abort()
        self._link = None
        self._moved.set()

    def leave(self) -> None:
        """Close in the orderly way; nothing is recorded after it."""
        if self._link is not None and self._link.transport is not None:
            self._link.transport.send_close(WSCloseCode.OK)
        if self._recorder is not None:
            self._recorder.disconnected(1000, "left")
            self._recorder = None

    def read(self, on: bool) -> None:
        """Stop reading from the socket, or go on."""
        if self._link is not None and self._link.transport is not None:
            transport = self._link.transport.underlying_transport
            if on:
                transport.resume_reading()
            else:
                transport.pause_reading()

    def set_receive_buffer(self, size: int) -> None:
        """Bytes that the system may hold for it unread, on this connection and later ones."""
        self._receive_buffer = size
        if self._link is not None and self._link.transport is not None:
            connection = self._link.transport.underlying_transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def heartbeat(self, now: float) -> None:
        if self.connected and now >= self._next_heartbeat:
            self._next_heartbeat = now + self.heartbeat_s
            self._send(frames.Ping())

    def send(self, frame: frames.Send) -> None:
        """Say something; the answer is not looked at."""
        self._send(frame)

    def _send(self, frame: frames.ClientFrame) -> None:
        if self._link is not None and self._link.transport is not None:
            self._link.transport.send(WSMsgType.TEXT, frames.encode_frame(frame))

    # --- what comes ---------------------------------------------------------------------------------------------

    def _received(self, link: _Link, frame: frames.ServerFrame) -> None:
        if link is not self._link:
            return
        match frame:
            case frames.EventFrame():
                self._event(frame)
            case frames.Gap():
                self._gap(frame)
            case frames.Welcome():
                self._welcomed(frame)
            case frames.Opened():
                self.cursors[frame.channel] = max(frame.head, self.cursors.get(frame.channel, 0))
                if self._recorder is not None:
                    self._recorder.shown(Opened(epoch=self.epoch, channel=frame.channel, head=frame.head))
            case frames.Closed():
                last = self.cursors.pop(frame.channel, 0)
                if self._recorder is not None:
                    self._recorder.shown(Closed(channel=frame.channel, last_seq=last))
            case frames.Reset():
                self.cursors.clear()
                self.epoch = frame.epoch
            case frames.Reconnect():
                self.reconnect = frame
                self._moved.set()
            case _:
                pass

    def _event(self, frame: frames.EventFrame) -> None:
        last = self.cursors.get(frame.channel)
        if last is None or frame.seq != last + 1:
            self.wrong.append(f"{self.name} was shown {frame.channel} {frame.seq} after {last}")
            return
        self.cursors[frame.channel] = frame.seq
        self.events += 1
        if self.on_event is not None:
            self.on_event(self, frame)
        if self._recorder is not None:
            via: Via = "replay" if frame.seq <= self._due.get(frame.channel, 0) else "live"
            raw = bytes(frame.event)
            event = shown_event(
                self.epoch, frame.channel, frame.seq, frame.id, frame.sender, frame.at, raw, via
            )
            self._recorder.shown(event)

    def _gap(self, frame: frames.Gap) -> None:
        last = self.cursors.get(frame.channel)
        if last is None or frame.from_ != last + 1 or frame.to < frame.from_:
            self.wrong.append(f"{self.name}: gap {frame.channel} {frame.from_}..{frame.to} after {last}")
            return
        self.cursors[frame.channel] = frame.to
        self.gaps.append((frame.channel, frame.from_, frame.to))
        if self._recorder is not None:
            self._recorder.lacks(frame.channel, frame.from_, frame.to)

    def _welcomed(self, frame: frames.Welcome) -> None:
        if self.epoch and self.epoch != frame.epoch:
            self.cursors.clear()
            self._resumed = {}
        self.epoch = frame.epoch
        self._due = {channel: head for channel, head in frame.heads.items() if channel in self._resumed}
        for channel, head in frame.heads.items():
            if channel not in self._resumed:
                self.cursors[channel] = head
        self.heartbeat_s = frame.heartbeat_ms / 1000
        self._next_heartbeat = time.monotonic() + frame.first_heartbeat_ms / 1000
        self.welcomed_at = time.monotonic()
        if self._recorder is not None:
            self._recorder.user = frame.user
            self._recorder.connected(frame.epoch, self.node, frame.session, self._resumed, frame.heads)
        if self._welcome is not None and not self._welcome.done():
            self._welcome.set_result(frame)

    def _gone(self, link: _Link) -> None:
        if link is not self._link:
            return
        self._link = None
        self._moved.set()
        if self.welcomed_at:
            self.stays.append(Stay(self.node, self.welcomed_at, time.monotonic(), dict(self.cursors)))
            if self._recorder is not None:
                self._recorder.disconnected(1006, "gone")
        if self._welcome is not None and not self._welcome.done():
            self._welcome.set_exception(
                ConnectionResetError(f"closed before welcome: {self.close_codes[-1:]}")
            )


class Swarm:
    """Viewers that are kept connected: whoever loses the connection comes back, as the client library does, to any
    node. `recovered`: how long each return took, from the loss to `welcome`, seconds."""

    def __init__(self, nodes: Sequence[str], rng: random.Random) -> None:
        self.nodes = list(nodes)
        self.viewers: list[Viewer] = []
        self.recovered: list[float] = []
        self._rng = rng
        self._gate = asyncio.Semaphore(CONNECTING_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def enter(
        self,
        tokens: Sequence[str],
        count: int,
        *,
        timeout: float = 120.0,
        receive_buffer: int | None = None,
    ) -> None:
        """`count` more viewers, as the people of these tokens in turn, from addresses all over 127.0.0.0/8."""
        new = []
        for number, token in zip(range(count), itertools.cycle(tokens)):
            name = f"viewer-{len(self.viewers) + number}"
            address = f"127.{1 + number // 60_000}.{number // 250 % 240}.{1 + number % 250}"
            new.append(Viewer(name, token, address=address, receive_buffer=receive_buffer))
        self.viewers += new
        for number, viewer in enumerate(new):
            self._own(self._keep(viewer, self.nodes[number % len(self.nodes)]))
        await until(
            lambda: all(viewer.connected for viewer in new), timeout, what=f"{count} viewers are connected"
        )

    async def _keep(self, viewer: Viewer, node: str) -> None:
        attempt = 0
        lost_at: float | None = None
        while True:
            try:
                async with self._gate:
                    await viewer.connect(node)
                if lost_at is not None:
                    self.recovered.append(time.monotonic() - lost_at)
                lost_at, attempt = None, 0
                asked = await viewer.until_gone()
                if asked is not None:
                    await asyncio.sleep(self._rng.uniform(0, 0.8) * asked.after_ms / 1000)
            except (OSError, TimeoutError, WSError):
                pass
            lost_at = lost_at if lost_at is not None else time.monotonic()
            await asyncio.sleep(self._rng.uniform(0, min(8.0, 0.25 * 2**attempt)))
            attempt += 1
            attempt = min(attempt, 5)
            others = [other for other in self.nodes if other != node]
            node = self._rng.choice(others or self.nodes)

    async def _heartbeats(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEATS_EVERY_S)
            now = time.monotonic()
            for number, viewer in enumerate(self.viewers):
                viewer.heartbeat(now)
                if number % 500 == 499:
                    await asyncio.sleep(0)

    def _own(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def wrong(self) -> list[str]:
        return [sentence for viewer in self.viewers for sentence in viewer.wrong]

    async def caught_up(self, heads: dict[str, int], timeout: float = 120.0) -> None:
        """Wait until every viewer has been shown (or told it lacks) everything up to these heads."""

        def behind() -> list[str]:
            return [
                f"{viewer.name} {channel} {viewer.cursors.get(channel)} of {head}"
                for viewer in self.viewers
                for channel, head in heads.items()
                if viewer.cursors.get(channel, 0) < head
            ]

        try:
            await until(lambda: not behind(), timeout, every=0.2)
        except TimeoutError:
            found = behind()
            raise TimeoutError(
                f"{len(found)} views not caught up within {timeout:g} s: {found[:3]}"
            ) from None

    async def aclose(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for viewer in self.viewers:
            viewer.drop()


@contextlib.asynccontextmanager
async def swarm(nodes: Sequence[str], rng: random.Random) -> AsyncIterator[Swarm]:
    """An empty swarm; all its connections are gone at the end."""
    made = Swarm(nodes, rng)
    made._own(made._heartbeats())
    try:
        yield made
    finally:
        await made.aclose()


async def is_refused(url: str, token: str) -> bool:
    """Whether a node lets nobody in with this token, and says so."""
    viewer = Viewer("turned away", token)
    try:
        await viewer.connect(url)
    except (OSError, TimeoutError, WSError):
        final = {CLOSES[name].code for name in ("unauthenticated", "session_revoked", "deactivated")}
        return bool(final & set(viewer.close_codes))
    finally:
        viewer.drop()
    return False
