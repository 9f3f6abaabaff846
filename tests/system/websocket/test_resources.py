"""What the server holds, and gives back: descriptors, memory, its time; with real processes."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import Any

from channel_server.websocket.sockets import ListeningSocket
from tests.system.websocket.raw import CLOSE, CONTINUATION, PING, PONG, TEXT, RawClient, frame, wait_until
from tests.system.websocket.serving import EchoProcess, Recorder, echo_process, running


def test_without_descriptors_clients_are_turned_away_and_the_loop_does_not_spin() -> None:
    with echo_process(max_descriptors=60) as echo, contextlib.ExitStack() as clients:
        inside = [
            clients.enter_context(RawClient(echo.port)).upgrade() for _ in range(50 - echo.descriptors())
        ]
        for _ in range(100):
            clients.enter_context(RawClient(echo.port))
        before = echo.cpu_seconds()
        with RawClient(echo.port) as late:
            assert late.read_until_end().startswith(b"HTTP/1.1 503 "), "told, rather than left waiting"
        # Those who are in are served as ever.
        for client in inside:
            client.send(frame(TEXT, b"hello"))
            assert client.read_text() == "hello"
        wait_until(lambda: echo.descriptors() <= 60, what="within its limit")
        assert echo.cpu_seconds() - before < 1.0
        clients.close()
        wait_until(lambda: can_talk(echo), what="new clients are accepted again")


def can_talk(echo: EchoProcess) -> bool:
    try:
        with RawClient(echo.port) as client:
            client.upgrade().send(frame(TEXT, b"hello"))
            return client.read_text() == "hello"
    except (AssertionError, ConnectionError):
        return False


def test_without_even_the_spare_descriptor_accepting_rests_and_resumes() -> None:
    """As when another thread took it: the server tries once a second, and not in every turn of its loop."""
    with running(Recorder()) as server, contextlib.ExitStack() as clients:
        sock = server.server._socket
        attempts: list[str] = []
        server.call(lambda: exhaust(sock, attempts))
        client = clients.enter_context(RawClient(server.port))
        wait_until(lambda: attempts.count("failed") == 3, what="it tried again and again")
        assert len(attempts) < 20
        server.call(lambda: recover(sock))
        client.upgrade()


def exhaust(sock: ListeningSocket, attempts: list[str]) -> None:
    """Let the kernel have no descriptor for a connection, and nobody a spare one."""

    class Exhausted(ListeningSocket):
        __slots__ = ()

        def accept(self) -> tuple[socket.socket, Any]:
            attempts.append("asked")
            return super().accept()

        def _accept(self) -> tuple[int, object]:
            attempts.append("failed")
            raise OSError(errno.EMFILE, "no descriptor")

        def _take_spare(self) -> None: ...

    assert sock._spare is not None
    os.close(sock._spare)
    sock._spare = None
    sock.__class__ = Exhausted


def recover(sock: ListeningSocket) -> None:
    sock.__class__ = ListeningSocket


def test_connections_that_come_and_go_leave_nothing() -> None:
    """In every way to go: agreed, vanished, reset, refused, in the middle of a message."""
    with echo_process("--max-message", "65536") as echo:
        idle = echo.descriptors()

        def round_of_connections() -> None:
            for way in range(200):
                with RawClient(echo.port) as client:
                    if way % 8 == 0:
                        continue
                    client.upgrade()
                    client.send(frame(TEXT, b"x" * 3000, fin=False))
                    if way % 8 == 1:
                        client.send(frame(CONTINUATION, b"y"))
                        client.read_frame()
                    elif way % 8 == 2:
                        client.send(frame(CLOSE, b"\x03\xe8"))
                        assert client.read_close() == 1000
                    elif way % 8 == 3:
                        client.send(frame(3))
                        assert client.read_close() == 1002
                    elif way % 8 == 4:
                        client.send(frame(CONTINUATION, b"\xff"))
                        assert client.read_close() == 1007
                    elif way % 8 == 5:
                        client.send(frame(CONTINUATION, b"z" * 64000))
                        assert client.read_close() == 1009

        round_of_connections()
        wait_until(lambda: echo.descriptors() == idle, what="all descriptors are given back")
        settled = echo.memory()
        for _ in range(5):
            round_of_connections()
        wait_until(lambda: echo.descriptors() == idle, what="all descriptors are given back")
        assert echo.memory() - settled < 2 * 1024 * 1024, "1,000 connections later"


def test_a_flood_of_empty_fragments_holds_no_memory() -> None:
    with echo_process() as echo, RawClient(echo.port) as client:
        client.upgrade().send(frame(TEXT, b"", fin=False))

        def flood(frames: int) -> int:
            """The server's memory after that many."""
            for _ in range(frames // 10_000):
                client.send(frame(CONTINUATION, b"", fin=False) * 10_000)
            client.send(frame(PING))
            assert client.read_frame().opcode == PONG
            return echo.memory()

        before = flood(200_000)
        after = flood(1_000_000)
        client.send(frame(CONTINUATION, b"end"))
        assert client.read_text() == "end"
        assert after - before < 2 * 1024 * 1024, "a list of a million parts would be 8 MiB of pointers alone"


def test_what_a_client_sent_ahead_does_not_swell_its_read_buffer() -> None:
    """Megabytes wait for a server that was busy; it must not take them at once, nor keep a buffer of that size."""
    with echo_process() as echo, contextlib.ExitStack() as clients:
        flooding = [clients.enter_context(RawClient(echo.port)).upgrade() for _ in range(10)]
        before = echo.memory()
        echo.process.suspend()
        expected = 0
        for client in flooding:
            client.socket.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while expected < 1 << 30:
                    expected += client.socket.send(frame(PONG, b"x" * 125) * 500)
        echo.process.resume()
        for client in flooding:
            client.socket.settimeout(30)
        # One of each of them was cut in the middle, so the streams cannot go on: their memory alone is looked at.
        wait_until(lambda: not any(client.unsent() for client in flooding), what="all was taken")
        assert (echo.memory() - before) / len(flooding) < 300 * 1024
