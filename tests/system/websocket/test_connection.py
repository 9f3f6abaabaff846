"""What a connection promises its application, seen from both ends."""

from __future__ import annotations

import gc
import socket
import struct
import weakref

import pytest
import structlog

from channel_server.websocket.connection import WebSocketConnection
from channel_server.websocket.framing import prepare_text
from tests.system.websocket.raw import (
    CLOSE,
    PING,
    TEXT,
    RawClient,
    frame,
    request,
    upgrade_headers,
    wait_until,
)
from tests.system.websocket.serving import Recorder, ended, fill, opened, running


def test_the_application_sees_the_request_only_while_it_opens() -> None:
    seen: dict[str, object] = {}

    class Curious(Recorder):
        def on_open(self, connection: WebSocketConnection) -> None:
            super().on_open(connection)
            seen.update(
                agent=connection.headers["USER-AGENT"], path=connection.path, remote=connection.remote
            )

    recorder = Curious()
    with running(recorder, path="/chat") as server, RawClient(server.port) as client:
        client.send(request("/chat?client=1", [*upgrade_headers(), "User-Agent: test/1"]))
        assert client.read_response()[0] == 101
        connection = opened(server, recorder)
        assert seen == {"agent": "test/1", "path": "/chat?client=1", "remote": client.socket.getsockname()}
        with pytest.raises(LookupError):
            _ = connection.headers


def test_messages_come_typed_and_in_order() -> None:
    recorder = Recorder()
    with running(recorder) as server, RawClient(server.port) as client:
        client.upgrade().send(frame(TEXT, "grüße".encode()), frame(2, b"\x00"), frame(TEXT, b""))
        wait_until(lambda: len(recorder.told) == 4)
        assert recorder.told == [("open", "/"), ("message", "grüße"), ("message", b"\x00"), ("message", "")]


def test_prepared_frames_arrive_as_messages() -> None:
    recorder = Recorder()
    with running(recorder) as server, RawClient(server.port) as client:
        client.upgrade()
        connection = opened(server, recorder)
        joined = b"".join(prepare_text(text.encode()) for text in ("a", "b" * 70_000, "ü"))
        server.call(lambda: connection.write_prepared(joined))
        assert [client.read_text() for _ in range(3)] == ["a", "b" * 70_000, "ü"]


# Closing -------------------------------------------------------------------------------------------------------------


def test_the_server_closes_and_the_client_agrees() -> None:
    recorder = Recorder()
    with running(recorder) as server, RawClient(server.port) as client:
        client.upgrade()
        connection = opened(server, recorder)
        server.call(lambda: connection.close(4007, "drained"))
        got = client.read_frame()
        assert (got.opcode, got.payload) == (CLOSE, struct.pack("!H", 4007) + b"drained")
        client.send(frame(CLOSE, got.payload))
        client.expect_end()
        assert ended(recorder) == (4007, "drained")


def test_nothing_is_delivered_and_nothing_is_written_after_close() -> None:
    recorder = Recorder()
    with running(recorder) as server, RawClient(server.port) as client:
        client.upgrade()
        connection = opened(server, recorder)

        def close_and_go_on() -> None:
            connection.close(1001)
            connection.send_text("late")
            connection.send_binary(b"late")
            connection.write_prepared(prepare_text(b"late"))
            connection.close(4000, "again")

        server.call(close_and_go_on)
        client.send(
            frame(TEXT, b"late"), frame(PING, b"late"), frame(9, b"late", rsv=1), frame(CLOSE, b"\x03\xe9")
        )
        assert client.read_close() == 1001
        client.expect_end()
        assert ended(recorder) == (1001, "")
        assert recorder.told == [("open", "/"), ("close", (1001, ""))]


def test_messages_of_the_same_read_after_the_application_closed_are_not_delivered() -> None:
    recorder = Recorder()
    recorder.on_message_do = lambda connection, message: connection.close(1003)
    with running(recorder) as server, RawClient(server.port) as client:
        client.upgrade().send(frame(TEXT, b"one") + frame(TEXT, b"two") + frame(TEXT, b"three"))
        assert client.read_close() == 1003
        client.send(frame(CLOSE, b"\x03\xeb"))
        ended(recorder)
        assert recorder.told == [("open", "/"), ("message", "one"), ("close", (1003, ""))]


def test_a_message_just_before_a_bad_frame_of_the_same_read_is_not_delivered() -> None:
    """picows has sent its CLOSE by then: an answer could not be sent, so the message must not count as received."""
    recorder = Recorder()
    with running(recorder) as server, RawClient(server.port) as client:
        client.upgrade().send(frame(TEXT, b"good") + frame(3, b"bad"))
        assert client.read_close() == 1002
        assert ended(recorder)[0] == 1002
        assert [what for what, _ in recorder.told] == ["open", "close"]


def test_the_application_learns_how_the_peer_closed() -> None:
    for payload, expected in [
        (struct.pack("!H", 3456) + b"weg", (3456, "weg")),
        (b"", (1005, "")),
    ]:
        recorder = Recorder()
        with running(recorder) as server, RawClient(server.port) as client:
            client.upgrade().send(frame(CLOSE, payload))
            client.read_close()
            assert ended(recorder) == expected


def test_a_lost_connection_is_1006() -> None:
    recorder = Recorder()
    with running(recorder) as server:
        with RawClient(server.port) as client:
            client.upgrade()
        assert ended(recorder) == (1006, "")
        wait_until(lambda: server.server.sockets == 0)


def test_a_reset_connection_is_1006() -> None:
    recorder = Recorder()
    with running(recorder) as server:
        client = RawClient(server.port).upgrade()
        client.socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )  # close is a reset
        client.socket.close()
        assert ended(recorder) == (1006, "")
        wait_until(lambda: server.server.sockets == 0)


def test_a_peer_that_does_not_answer_our_close_is_aborted() -> None:
    recorder = Recorder()
    with running(recorder, close_timeout=1.5) as server, RawClient(server.port) as client:
        client.upgrade()
        connection = opened(server, recorder)
        server.call(lambda: connection.close(4006, "too slow"))
        assert client.read_close() == 4006
        assert ended(recorder) == (4006, "too slow")
        wait_until(lambda: server.server.sockets == 0)


def test_a_peer_that_does_not_read_our_close_is_aborted() -> None:
    """The CLOSE is behind what the peer has not read: it never gets out, and the memory must be given back."""
    recorder = Recorder()
    with (
        running(recorder, close_timeout=0.3) as server,
        RawClient(server.port, receive_buffer=4096) as client,
    ):
        client.upgrade()
        connection = opened(server, recorder)

        def fill_and_close() -> None:
            fill(connection, 1_000_000)
            connection.close(4006)

        server.call(fill_and_close)
        assert ended(recorder)[0] == 4006
        wait_until(lambda: server.server.sockets == 0)


@pytest.mark.parametrize("last", [frame(3), frame(CLOSE, b"\x03\xe8"), b"end of stream"])
def test_a_peer_that_does_not_read_is_aborted_however_the_closing_began(last: bytes) -> None:
    """By a protocol error that picows finds, by its own CLOSE, or half open: it ends its stream and never reads."""
    recorder = Recorder()
    with (
        running(recorder, close_timeout=0.3) as server,
        RawClient(server.port, receive_buffer=4096) as client,
    ):
        client.upgrade()
        connection = opened(server, recorder)
        server.call(lambda: fill(connection, 500_000))
        if last == b"end of stream":
            client.socket.shutdown(socket.SHUT_WR)
        else:
            client.send(last)
        assert ended(recorder)[0] == {frame(3): 1002, b"end of stream": 1006}.get(last, 1000)
        wait_until(lambda: server.server.sockets == 0)


def test_a_half_open_peer_that_reads_within_the_time_gets_everything() -> None:
    recorder = Recorder()
    with (
        running(recorder, close_timeout=30.0) as server,
        RawClient(server.port, receive_buffer=4096) as client,
    ):
        client.upgrade()
        connection = opened(server, recorder)
        written = server.call(lambda: fill(connection, 500_000))
        client.socket.shutdown(socket.SHUT_WR)
        wait_until(lambda: connection._closing_since, what="the time has begun to run")
        assert len(client.read_until_end()) == written
        assert ended(recorder) == (1006, "")


def test_abort_is_a_reset() -> None:
    recorder = Recorder()
    with running(recorder) as server, RawClient(server.port) as client:
        client.upgrade()
        connection = opened(server, recorder)
        server.call(connection.abort)
        with pytest.raises(ConnectionResetError):
            client.socket.recv(10)
        assert ended(recorder) == (1006, "")
        server.call(connection.abort)  # harmless


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2000, 5000])
def test_close_takes_only_codes_that_may_be_sent(code: int) -> None:
    recorder = Recorder()
    with running(recorder) as server, RawClient(server.port) as client:
        client.upgrade()
        connection = opened(server, recorder)
        with pytest.raises(ValueError, match=str(code)):
            server.call(lambda: connection.close(code))
        assert server.call(lambda: connection.is_open)


def test_a_long_reason_is_cut_to_fit_a_control_frame() -> None:
    recorder = Recorder()
    with running(recorder) as server, RawClient(server.port) as client:
        client.upgrade()
        connection = opened(server, recorder)
        server.call(lambda: connection.close(4000, "ü" * 100))
        got = client.read_frame()
        assert got.payload[2:].decode() == "ü" * 61


@pytest.mark.parametrize("where", ["on_open", "on_message"])
def test_a_defect_of_the_application_closes_with_1011_and_is_logged_once(where: str) -> None:
    class Defective(Recorder):
        def on_open(self, connection: WebSocketConnection) -> None:
            super().on_open(connection)
            if where == "on_open":
                raise RuntimeError("a defect")

        def on_message(self, connection: WebSocketConnection, message: str | bytes, is_text: bool) -> None:
            super().on_message(connection, message, is_text)
            raise RuntimeError("a defect")

    recorder = Defective()
    with (
        structlog.testing.capture_logs() as logs,
        running(recorder) as server,
        RawClient(server.port) as client,
    ):
        client.upgrade().send(frame(TEXT, b"x"), frame(TEXT, b"y"))
        assert client.read_close() == 1011
        client.expect_end()
        assert ended(recorder)[0] == 1011
        expected = ["open", "message", "close"] if where == "on_message" else ["open", "close"]
        assert [what for what, _ in recorder.told] == expected
        assert [(entry["event"], entry["exc_info"]) for entry in logs if entry["log_level"] == "error"] == [
            ("websocket callback failed", True)
        ]


def test_what_clients_do_wrong_is_not_logged() -> None:
    """Or anybody could fill the disk."""
    recorder = Recorder()
    with structlog.testing.capture_logs() as logs, running(recorder) as server:
        for bad in (frame(3), frame(TEXT, b"\xff"), frame(TEXT, b"x" * 100_000), b"\x00"):
            with RawClient(server.port) as client:
                client.upgrade().send(bad)
        with RawClient(server.port) as client:
            client.send(b"no HTTP\r\n\r\n")
            assert client.read_response()[0] == 400
        wait_until(lambda: server.server.connections == 0)
    assert [entry for entry in logs if entry["log_level"] != "warning"] == []


def test_a_closed_connection_is_not_kept_alive() -> None:
    """By no registry, no timer, and no cycle that would wait for the garbage collector."""

    class Session(Recorder):
        """As sessions do, it knows its connection."""

        def on_open(self, connection: WebSocketConnection) -> None:
            self.connection = connection
            gone.append(weakref.ref(connection))

        def on_close(self, connection: WebSocketConnection, code: int, reason: str) -> None: ...

    gone: list[weakref.ref[WebSocketConnection]] = []
    with running(None, factory=Session) as server:
        gc.disable()
        try:
            with RawClient(server.port) as client:
                client.upgrade().send(frame(CLOSE, b"\x03\xe8"))
                assert client.read_close() == 1000
            wait_until(lambda: gone and gone[0]() is None, what="the connection's memory is free")
        finally:
            gc.enable()
