"""Any handshake, any frames, in any order, over several connections at once, against the real connection class.

A state machine drives a listener over TCP: whole and broken frames, fragments, half a handshake, sudden ends. What the
application is told and what the client is answered must be what the oracle says; at the end nothing is left.
"""

from __future__ import annotations

import contextlib
import gc
import random
import string
import tracemalloc
import weakref
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, multiple, rule

from channel_server.websocket.connection import WebSocketConnection
from tests.system.websocket.raw import (
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    EndOfStream,
    RawClient,
    frame,
    request,
    upgrade_headers,
    wait_until,
)
from tests.system.websocket.serving import Recorder, Running, echo_process, running
from tests.unit.websocket.oracle import Oracle

LIMIT = 300


class Watching(Recorder):
    """Echoes, and holds its connections by weak references alone."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: weakref.WeakSet[WebSocketConnection] = weakref.WeakSet()
        self.opened = 0
        self.closed = 0

    def on_open(self, connection: WebSocketConnection) -> None:
        self.alive.add(connection)
        self.opened += 1

    def on_message(self, connection: WebSocketConnection, message: str | bytes, is_text: bool) -> None:
        if isinstance(message, str):
            connection.send_text(message)
        else:
            connection.send_binary(message)

    def on_writable(self, connection: WebSocketConnection) -> None: ...

    def on_close(self, connection: WebSocketConnection, code: int, reason: str) -> None:
        self.closed += 1


class Peer:
    def __init__(self, port: int) -> None:
        self.client = RawClient(port).upgrade()
        self.oracle = Oracle(LIMIT)


PAYLOADS = st.one_of(
    st.text(max_size=30).map(str.encode),
    st.binary(max_size=40),
    st.sampled_from([b"", b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"x" * LIMIT, b"x" * (LIMIT + 1)]),
)


class ConnectionMachine(RuleBasedStateMachine):
    """One listener for all runs: what one run leaves behind, the next would find."""

    server: Running
    application: Watching
    peers = Bundle("peers")

    def __init__(self) -> None:
        super().__init__()
        self.came: list[Peer] = []

    @rule(target=peers)
    def connect(self) -> Peer:
        peer = Peer(self.server.port)
        self.came.append(peer)
        return peer

    @rule(
        target=peers,
        peer=consumes(peers),
        opcode=st.sampled_from([0, 1, 2, 9, 10]),
        payload=PAYLOADS,
        fin=st.booleans(),
    )
    def send(self, peer: Peer, opcode: int, payload: bytes, fin: bool) -> Any:
        return self._send(peer, opcode, payload, fin)

    @rule(
        target=peers,
        peer=consumes(peers),
        opcode=st.integers(0, 15),
        payload=st.binary(max_size=130),
        fin=st.booleans(),
        rsv=st.integers(0, 7),
    )
    def send_anything(self, peer: Peer, opcode: int, payload: bytes, fin: bool, rsv: int) -> Any:
        return self._send(peer, opcode, payload, fin, rsv)

    @rule(
        peer=consumes(peers),
        code=st.integers(0, 5100),
        reason=st.one_of(st.just(b""), st.just(b"\xff"), st.just(b"bye")),
    )
    def close(self, peer: Peer, code: int, reason: bytes) -> None:
        assert self._send(peer, CLOSE, code.to_bytes(2, "big") + reason, True) == multiple()

    def _send(self, peer: Peer, opcode: int, payload: bytes, fin: bool, rsv: int = 0) -> Any:
        """One frame and what the oracle says of it; gives the peer back unless that ended it."""
        kind, detail = peer.oracle.expects(opcode, payload, fin, bool(rsv))
        peer.client.send(frame(opcode, payload, fin=fin, rsv=rsv))
        if kind == "nothing":
            # That there is no answer, and that it still lives, a PING tells without waiting.
            peer.client.send(frame(PING, b"there?"))
            assert peer.client.read_frame() == (PONG, b"there?", True)
            return peer
        if kind in ("text", "binary", "pong"):
            answer = {"text": 1, "binary": 2, "pong": PONG}[kind]
            assert peer.client.read_frame() == (answer, detail, True)
            return peer
        code = peer.client.read_close()
        expected = {detail} if kind == "fail" else {detail[2]}
        if opcode == CLOSE or len(payload) > LIMIT:
            expected |= {1002, 1007, 1009} if kind == "fail" else set()
        assert code in expected, (code, expected)
        peer.client.expect_end()
        peer.client.socket.close()
        return multiple()

    @rule(peer=consumes(peers), head=st.binary(max_size=12))
    def vanish(self, peer: Peer, head: bytes) -> None:
        """In the middle of whatever it is."""
        with contextlib.suppress(OSError):
            peer.client.send(frame(TEXT, b"half", fin=False), head)
        peer.client.socket.close()

    @rule(data=st.binary(max_size=200))
    def knock(self, data: bytes) -> None:
        """Bytes that are no handshake."""
        with RawClient(self.server.port) as client:
            client.send(data)

    @rule(
        headers=st.permutations([*upgrade_headers(), "Cookie: x", "Connection: x"]), cut=st.integers(0, 300)
    )
    def half_a_handshake(self, headers: list[str], cut: int) -> None:
        with RawClient(self.server.port) as client:
            client.send(request("/", headers)[:cut])

    def teardown(self) -> None:
        for peer in self.came:
            peer.client.socket.close()


def test_the_connection_class_does_what_the_oracle_says_and_leaves_nothing() -> None:
    application = Watching()
    with running(application, max_message=LIMIT, handshake_timeout=30.0) as server:
        ConnectionMachine.server = server
        case = ConnectionMachine.TestCase
        case.settings = settings(
            max_examples=60,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        )
        case("runTest").debug()
        gc.collect()
        wait_until(lambda: server.server.sockets == 0, what="every descriptor is given back")
        assert server.server.connections == server.server.handshakes == 0
        assert application.opened == application.closed > 60
        gc.collect()
        wait_until(lambda: not application.alive, what="no connection object is kept alive")


def mutated(source: random.Random) -> bytes:
    """A handshake with some of it changed, cut, doubled or swapped."""
    data = bytearray(
        request("/", [*upgrade_headers(), "Origin: https://a", "Cookie: " + "c" * source.randrange(50)])
    )
    for _ in range(source.randrange(1, 6)):
        at = source.randrange(len(data))
        choice = source.randrange(5)
        if choice == 0:
            data[at] = source.randrange(256)
        elif choice == 1:
            del data[at : at + source.randrange(1, 20)]
        elif choice == 2:
            data[at:at] = source.choice([b"\r\n", b"\n", b"\0", b":", b"\xff" * 8, b" ", b"\r\nHost: b"])
        elif choice == 3:
            data[at:at] = data[at : at + 40]
        else:
            data[at:at] = "".join(source.choices(string.printable, k=200)).encode()
        if not data:
            break
    return bytes(data) + source.choice([b"", b"\r\n\r\n", frame(TEXT, b"early"), frame(CONTINUATION, b"bad")])


def test_handshakes_of_every_kind_are_answered_or_closed_and_leave_nothing() -> None:
    """Never anything but an HTTP answer or the end; the server's memory stays what it was."""
    with echo_process() as echo:
        idle = echo.descriptors()
        settled = 0
        for number in range(900):
            source = random.Random(number)
            data = mutated(source)
            with RawClient(echo.port) as client:
                with contextlib.suppress(ConnectionError):
                    client.send(data)
                    client.socket.shutdown(1)
                heard = client.read_until_end()
            assert not heard or heard.startswith(b"HTTP/1.1 "), f"{number}: {data!r} -> {heard!r}"
            if heard:
                assert int(heard[9:12]) in (101, 400, 403, 404, 426), f"{number}: {data!r} -> {heard!r}"
            if number == 300:
                settled = echo.memory()
        wait_until(lambda: echo.descriptors() == idle, what="all descriptors are given back")
        assert echo.memory() - settled < 1024 * 1024, "600 handshakes later"
        with RawClient(echo.port) as client:
            client.upgrade().send(frame(TEXT, b"still there"))
            assert client.read_text() == "still there"


def test_memory_does_not_grow_with_the_connections_that_broke_every_rule() -> None:
    """By tracemalloc, so that a leak of a few bytes each shows: five rounds, no slope."""
    application = Watching()
    bad = [
        frame(TEXT, b"\xff"),
        frame(3),
        frame(TEXT, b"x" * (LIMIT + 1)),
        frame(CONTINUATION, b"x"),
        frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"),
        frame(CLOSE, b"\x03"),
        frame(TEXT, b"x", mask=None),
        frame(PING, b"x" * 126),
    ]
    with running(application, max_message=LIMIT) as server:

        def round_of() -> int:
            for number in range(200):
                broken = bad[number % len(bad)]
                # Half of them in the middle of a message (in which a continuation would be right).
                begun = number // len(bad) % 2 and broken[0] & 15 != CONTINUATION
                with RawClient(server.port) as client:
                    client.upgrade().send(frame(TEXT, b"part", fin=False) if begun else b"", broken)
                    with contextlib.suppress(EndOfStream, ConnectionError):
                        assert client.read_close() in (1002, 1007, 1009)
            wait_until(lambda: server.server.sockets == 0)
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            round_of()
            sizes = [round_of() for _ in range(4)]
        finally:
            tracemalloc.stop()
    assert sizes[-1] - sizes[0] < 600 * 64, f"{sizes}: more than 64 bytes a connection"
