"""The shell around the core: WebSockets to the nodes, one after another, for as long as the client lives.

It moves bytes and time; what they mean is decided in `client.session`. It reads nothing from the socket while the
application is slow and nothing else is waited for, so that TCP tells the server to hold back.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple, Protocol

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI, WebSocketException

from client.backoff import delay_s
from client.buffer import ReceiveBuffer
from client.effects import Effect, Leave
from client.errors import ApiError, LockstepError, NotLoggedIn, SessionEnded
from client.session import Session
from services.contract import frames
from services.contract.codes import CLOSES, CLOSES_BY_CODE, CloseCode

MAX_FRAME: Final = 16 << 20  # `welcome` names every channel of a person
OPEN_S: Final = 10.0
STEADY_S: Final = 5.0
"""A connection that lived so long was a good one: the next trouble starts again with short waits."""

_ABNORMAL: Final = 1006
_TOKENS_TRIED: Final = 3


class State(msgspec.Struct, frozen=True, kw_only=True):
    """How the connection stands.

    connecting      to `node`
    connected       to `node`
    waiting         for `delay_s` seconds before the next try, because of `reason`
    ended           for good, because of `reason` (empty: the application closed the client)
    """

    name: Literal["connecting", "connected", "waiting", "ended"]
    node: str = ""
    reason: str = ""
    delay_s: float = 0.0


class Credential(NamedTuple):
    """A realtime token and the nodes' addresses."""

    token: str
    nodes: Sequence[str]


class Host(Protocol):
    """What a connection needs of the client it belongs to."""

    async def credential(self, *, renew: bool, doubt: bool) -> Credential:
        """`renew`: the last token was refused. `doubt`: none of the nodes answers; there may be new ones by now.

        Raises LockstepError.
        """

    def apply(self, effects: Iterable[Effect]) -> Leave | None:
        """Carry out the effects; gives the `Leave` among them."""

    def sending(self, frame: frames.Send, attempt: int) -> None: ...

    def welcomed(self, node: str, frame: frames.Welcome, resume: frames.Resume | None) -> None: ...

    def parted(self, code: int, reason: str) -> None:
        """A connection that had been welcomed is gone."""

    def show_state(self, state: State) -> None: ...


class _End(NamedTuple):
    """How a connection ended. `code`: the close code received, 1006 for none."""

    code: int
    reason: str
    leave: Leave | None = None


class Connection:
    """Keeps one session connected. `run` until it is cancelled or ends for good."""

    def __init__(
        self, session: Session, buffer: ReceiveBuffer, host: Host, *, name: str, rng: random.Random
    ) -> None:
        self._session = session
        self._buffer = buffer
        self._host = host
        self._name = name
        self._rng = rng
        self._wake = asyncio.Event()
        self._read_on = asyncio.Event()
        self._leave_at: float | None = None
        self._leave: Leave | None = None
        self._known: list[str] = []
        self._failed: set[str] = set()

    def wake(self) -> None:
        """Something may be ready to be sent, or the application has taken something."""
        self._wake.set()
        self._read_on.set()

    async def run(self) -> None:
        """Connect, resume, reconnect. Raises SessionEnded or NotLoggedIn when coming back is of no use."""
        attempt = 0
        refused_tokens = 0
        unanswered = 0
        preferred: Sequence[str] = ()
        while True:
            try:
                known = len(self._known)
                credential = await self._host.credential(
                    renew=refused_tokens > 0, doubt=unanswered >= known > 0
                )
            except NotLoggedIn:
                raise
            except LockstepError as error:
                if isinstance(error, ApiError) and not error.retry:
                    raise
                await self._pause(attempt, str(error))
                attempt += 1
                continue
            node = self._choose(preferred, credential.nodes)
            if node is None:
                await self._pause(attempt, "no channel server is known")
                attempt += 1
                continue
            self._host.show_state(State(name="connecting", node=node))
            welcomed_at, end = await self._connection(node, credential.token)
            unanswered = 0 if welcomed_at is not None else unanswered + 1
            steady = welcomed_at is not None and time.monotonic() - welcomed_at >= STEADY_S
            close = _meaning(end.code)
            if end.code == CLOSES["unauthenticated"].code and refused_tokens < _TOKENS_TRIED:
                refused_tokens += 1
            elif not close.reconnect:
                raise SessionEnded(end.code, close.name, f"{close.meaning} {close.next}")
            elif welcomed_at is not None:
                refused_tokens = 0
            if steady:
                attempt = 0
                self._failed.clear()
            preferred = ()
            if end.leave is not None and end.leave.planned:
                preferred = end.leave.nodes
                if preferred:
                    self._failed.add(node)
                if not steady:
                    await self._pause(0, end.reason)
                continue  # nothing has failed, and a crowd was spread before
            self._failed.add(node)
            await self._pause(attempt, end.reason)
            attempt += 1

    def _choose(self, preferred: Sequence[str], nodes: Sequence[str]) -> str | None:
        """Any node, but none that has just failed while there is another one; None when none is known."""
        self._known = list(dict.fromkeys([*preferred, *self._session.nodes, *nodes]))
        untried = [node for node in preferred if node not in self._failed] or [
            node for node in self._known if node not in self._failed
        ]
        if not untried:
            self._failed.clear()
            untried = self._known
        return self._rng.choice(untried) if untried else None

    async def _pause(self, attempt: int, reason: str) -> None:
        pause = delay_s(attempt, self._rng)
        self._host.show_state(State(name="waiting", reason=reason, delay_s=pause))
        await asyncio.sleep(pause)

    async def _connection(self, node: str, token: str) -> tuple[float | None, _End]:
        """One connection from its handshake to its end; when it was welcomed (monotonic), and how it ended."""
        try:
            socket = await connect(
                node,
                compression=None,  # 10 µs and 37 KiB a connection for text that is short already
                ping_interval=None,  # the protocol has its own heartbeat, at the server's pace
                open_timeout=OPEN_S,
                close_timeout=1.0,
                max_size=MAX_FRAME,
                max_queue=16,
                proxy=None,
            )
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as error:
            return None, _End(_ABNORMAL, f"cannot connect to {node}: {error or type(error).__name__}")
        self._leave = self._leave_at = None
        welcomed_at: list[float] = []
        reading = asyncio.create_task(self._read(socket, node, token, welcomed_at), name=f"read {node}")
        pacing = asyncio.create_task(self._pace(socket), name=f"pace {node}")
        end = _End(_ABNORMAL, "the client was closed")
        try:
            done, _ = await asyncio.wait({reading, pacing}, return_when=asyncio.FIRST_COMPLETED)
            end = next(iter(done)).result()
            return (welcomed_at[0] if welcomed_at else None), end
        except asyncio.CancelledError:
            end = _End(CLOSES["normal"].code, "the client was closed")
            raise
        finally:
            self._session.disconnected()
            for task in (reading, pacing):
                task.cancel()
            if end.code == CLOSES["normal"].code or (end.leave is not None and end.leave.planned):
                await _farewell(socket)
            else:
                socket.transport.abort()
            await asyncio.gather(reading, pacing, return_exceptions=True)
            if welcomed_at:
                self._host.parted(end.code, end.reason)

    async def _read(self, socket: ClientConnection, node: str, token: str, welcomed_at: list[float]) -> _End:
        session = self._session
        first = session.connecting(token, self._name, time.monotonic())
        self._wake.set()
        try:
            await socket.send(frames.encode_frame(first), text=True)
            while True:
                if self._buffer.full and not session.deaf:
                    await self._hold_back()
                message = await socket.recv(decode=False)
                try:
                    frame = frames.decode_server_frame(message)
                except msgspec.ValidationError:
                    continue  # of a newer server; one that mattered shows as a hole
                if isinstance(frame, frames.Welcome):
                    welcomed_at.append(time.monotonic())
                    self._host.welcomed(node, frame, first.resume)
                effects = session.received(frame, time.monotonic())
                leave = self._host.apply(effects) if effects else None
                if leave is not None and not leave.planned:
                    return _End(_ABNORMAL, leave.reason, leave)
                if leave is not None:
                    self._leave = leave
                    self._leave_at = time.monotonic() + self._rng.uniform(0, leave.within_ms * 0.8) / 1000
                if not isinstance(frame, frames.EventFrame | frames.Pong):
                    self._wake.set()  # a verdict lets the next send go
        except ConnectionClosed as closed:
            return _closed(closed)
        except (WebSocketException, msgspec.DecodeError) as error:
            return _End(_ABNORMAL, f"not the protocol: {error}")

    async def _hold_back(self) -> None:
        """The application is slow: read nothing until it has caught up.

        Unless a verdict is waited for, which comes the same way: then a second bufferful is taken, and if that is not
        enough, events are read and thrown away; the resume that follows when the application has caught up brings
        them again. (An application that awaits a send while it takes events must not wait for itself.)
        """
        session = self._session
        session.paused()
        while not self._buffer.drained and not session.awaits_verdicts:
            self._read_on.clear()
            await self._read_on.wait()
        session.reading(time.monotonic())
        if self._buffer.overfull:
            session.go_deaf()

    async def _pace(self, socket: ClientConnection) -> _End:
        """Write what is due, when it is due; give up what is dead."""
        session = self._session
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            now = time.monotonic()
            leave = session.given_up(now)
            if leave is None and self._leave_at is not None and now >= self._leave_at:
                leave = self._leave
            if leave is None and session.deaf and self._buffer.drained:
                leave = Leave("the application has caught up", planned=True)
            if leave is not None:
                return _End(_ABNORMAL, leave.reason, leave)
            try:
                async with asyncio.timeout(OPEN_S):
                    ping = session.heartbeat(now)
                    if ping is not None:
                        await socket.send(frames.encode_frame(ping), text=True)
                    for said in session.passing():
                        await socket.send(frames.encode_frame(said), text=True)
                    for frame, attempt in session.sendable(now):
                        self._host.sending(frame, attempt)
                        await socket.send(frames.encode_frame(frame), text=True)
            except ConnectionClosed as closed:
                return _closed(closed)
            except TimeoutError:
                return _End(_ABNORMAL, "the node does not read")
            due = session.next_due(now)
            times = [at for at in (due, self._leave_at) if at is not None]
            timer = loop.call_later(max(0.0, min(times) - now), self._wake.set) if times else None
            try:
                await self._wake.wait()
            finally:
                if timer is not None:
                    timer.cancel()


def _closed(closed: ConnectionClosed) -> _End:
    if closed.rcvd is None:
        return _End(_ABNORMAL, "the connection broke")
    return _End(closed.rcvd.code, _meaning(closed.rcvd.code).meaning)


def _meaning(code: int) -> CloseCode:
    """What a close code that the server sent means for this client, which did not ask to be closed."""
    known = CLOSES_BY_CODE.get(code)
    if known is None or code == CLOSES["normal"].code:
        return CloseCode(code, "closed", True, "The connection was closed.", "Reconnect and resume.")
    return known


async def _farewell(socket: ClientConnection) -> None:
    try:
        await socket.close()
    finally:
        socket.transport.abort()


__all__ = ["Connection", "Credential", "Host", "State"]
