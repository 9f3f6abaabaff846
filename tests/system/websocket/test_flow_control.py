"""What one connection may cost: a reader that is slow, a sender that floods, an application that pauses."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

from channel_server.websocket.connection import WebSocketConnection
from tests.system.websocket.raw import CLOSE, PING, PONG, TEXT, RawClient, frame, wait_until
from tests.system.websocket.serving import CHUNK, Recorder, fill, opened, running


def send_until_stuck(client: RawClient) -> int:
    """Send messages until the server takes no more for a third of a second; gives the bytes sent."""
    client.socket.settimeout(0.3)
    sent = 0
    while sent < 100_000_000:
        try:
            sent += client.socket.send(frame(TEXT, b"x" * 60_000))
        except TimeoutError:
            return sent
    raise AssertionError("the server took everything")


def test_a_slow_reader_costs_what_was_written_and_is_announced_when_it_has_caught_up() -> None:
    recorder = Recorder()
    options: dict[str, Any] = {"high_water": 200_000, "low_water": 50_000, "send_buffer": 16_384}
    with running(recorder, **options) as server, RawClient(server.port, receive_buffer=4096) as client:
        client.upgrade()
        connection = opened(server, recorder)
        written = received = 0

        def write() -> int:
            nonlocal written
            connection.write_prepared(CHUNK)
            written += len(CHUNK)
            return connection.buffered()

        def read_all() -> None:
            nonlocal received
            while received < written:
                received += len(client.socket.recv(65536))
            wait_until(lambda: server.call(connection.buffered) == 0)

        while (buffered := server.call(write)) <= 150_000:
            assert buffered <= written
        read_all()
        while server.call(write) <= 200_000:
            pass
        assert not [1 for what, _ in recorder.told if what == "writable"], "it was below the mark until now"
        read_all()
        marks = [at for what, at in recorder.told if what == "writable"]
        assert len(marks) == 1
        assert marks[0] <= 50_000


def test_water_marks_can_be_set_for_one_connection() -> None:
    recorder = Recorder()
    with (
        running(recorder, send_buffer=16_384) as server,
        RawClient(server.port, receive_buffer=4096) as client,
    ):
        client.upgrade()
        connection = opened(server, recorder)

        def write() -> int:
            connection.set_water_marks(20_000, 0)
            fill(connection, 30_000)
            return connection.buffered()

        left = server.call(write)
        assert left < 64 * 1024, "below the listener's mark"
        client.socket.settimeout(0.5)

        def told_once_it_was_read() -> bool:
            with contextlib.suppress(TimeoutError):
                while client.socket.recv(65536):
                    pass
            return ("writable", 0) in recorder.told

        wait_until(told_once_it_was_read, what="it may write again")


def test_reading_can_be_paused_and_resumed() -> None:
    recorder = Recorder()
    with running(recorder) as server, RawClient(server.port) as client:
        client.upgrade()
        connection = opened(server, recorder)
        server.call(connection.pause_reading)
        sent = send_until_stuck(client)
        assert len(recorder.told) == 1, "nothing is delivered, and TCP has stopped the client"
        server.call(connection.resume_reading)
        wait_until(lambda: len(recorder.told) > sent // 61_000)


def test_a_close_is_completed_although_reading_was_paused() -> None:
    recorder = Recorder()
    with running(recorder) as server, RawClient(server.port) as client:
        client.upgrade()
        connection = opened(server, recorder)
        server.call(connection.pause_reading)
        client.send(frame(TEXT, b"unread"))
        server.call(lambda: connection.close(1001))
        assert client.read_close() == 1001
        client.send(frame(CLOSE, b"\x03\xe9"))
        client.expect_end()
        assert recorder.told == [("open", "/"), ("close", (1001, ""))]


def test_pings_are_answered_while_the_application_writes() -> None:
    recorder = Recorder()

    def write(connection: WebSocketConnection, _: str | bytes) -> None:
        connection.write_prepared(CHUNK * 100)

    recorder.on_message_do = write
    with running(recorder) as server, RawClient(server.port) as client:
        client.upgrade().send(frame(TEXT, b"go"), frame(PING, b"and"))
        for _ in range(100):
            assert client.read_frame().opcode == TEXT
        assert client.read_frame().opcode == PONG


def test_a_flood_of_pings_from_one_who_does_not_read_is_bounded() -> None:
    """Section 5.5.3: only the last of them need be answered."""
    recorder = Recorder()
    options: dict[str, Any] = {"high_water": 20_000, "send_buffer": 16_384}
    with running(recorder, **options) as server, RawClient(server.port, receive_buffer=4096) as client:
        client.upgrade()
        connection = opened(server, recorder)
        for number in range(20):
            client.send(frame(PING, b"%125d" % number) * 1000)
        client.send(frame(TEXT, b"sent all"), frame(PING, b"last"))
        wait_until(lambda: recorder.told[-1] == ("message", "sent all"))
        assert server.call(connection.buffered) <= 20_000 + 127
        pongs = [client.read_frame().payload]
        while pongs[-1] != b"last":
            pongs.append(client.read_frame().payload)
        assert len(pongs) < 20_000


def test_a_flood_of_frames_is_slowed_down_to_the_rate_and_loses_nothing() -> None:
    recorder = Recorder()
    options: dict[str, Any] = {"frames_per_second": 2_000, "close_timeout": 0.4}
    with running(recorder, **options) as server, RawClient(server.port) as client:
        client.upgrade()
        started = time.monotonic()
        sender = threading.Thread(target=client.send, args=(frame(PING, b"x" * 125) * 8_000,))
        sender.start()
        with RawClient(server.port) as other:
            other.upgrade().send(frame(PING, b"me too"))
            assert other.read_frame().payload == b"me too"
            assert client.unsent(), "answered long before the flood was over"
        for _ in range(8_000):
            assert client.read_frame().opcode == PONG
        sender.join()
        assert time.monotonic() - started > 2.5, "2,000 at once, then 2,000 a second"


def test_slowing_down_a_flood_does_not_resume_what_the_application_paused() -> None:
    recorder = Recorder()
    recorder.on_message_do = lambda connection, message: connection.pause_reading()
    with (
        running(recorder, frames_per_second=100, close_timeout=0.2) as server,
        RawClient(server.port) as client,
    ):
        client.upgrade()
        connection = opened(server, recorder)
        client.send(frame(PONG) * 150 + frame(TEXT, b"pause"))
        wait_until(lambda: recorder.told[-1] == ("message", "pause"))
        wait_until(lambda: server.call(lambda: connection._frames_left) == 100, what="the flood is forgiven")
        assert not server.call(connection._underlying.is_reading)
        server.call(connection.resume_reading)
        assert server.call(connection._underlying.is_reading)
