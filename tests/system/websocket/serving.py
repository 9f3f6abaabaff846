"""Servers for the WebSocket tests: the echo process, and a listener in this process whose application records."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import psutil
import uvloop

from channel_server.websocket.connection import WebSocketConnection
from channel_server.websocket.framing import prepare_text
from channel_server.websocket.listener import Server, listen
from tests.system.websocket.raw import wait_until

T = TypeVar("T")

CHUNK = prepare_text(b"x" * 10_000)
"""A server frame for tests that fill buffers."""


class EchoProcess:
    """`python -m tests.conformance.echo`, with a look at its costs."""

    def __init__(self, port: int, process: psutil.Process) -> None:
        self.port = port
        self.process = process

    def memory(self) -> int:
        """Resident bytes."""
        return int(self.process.memory_info().rss)

    def descriptors(self) -> int:
        return int(self.process.num_fds())

    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextlib.contextmanager
def echo_process(*arguments: str, max_descriptors: int | None = None) -> Iterator[EchoProcess]:
    """`max_descriptors`: the process's limit (RLIMIT_NOFILE)."""

    process = subprocess.Popen(
        [sys.executable, "-m", "tests.conformance.echo", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on "), line
        running = psutil.Process(process.pid)
        if max_descriptors is not None:
            running.rlimit(resource.RLIMIT_NOFILE, (max_descriptors, max_descriptors))
        yield EchoProcess(int(line.split()[-1]), running)
        assert process.poll() is None, f"the server ended with {process.returncode}"
    finally:
        process.terminate()
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()


class Recorder:
    """An application that keeps what it is told, as (what, detail) in order. Read it from any thread."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.connections: list[WebSocketConnection] = []
        self.on_message_do: Callable[[WebSocketConnection, str | bytes], None] = lambda connection, message: (
            None
        )

    def on_open(self, connection: WebSocketConnection) -> None:
        self.connections.append(connection)
        self.told.append(("open", connection.path))

    def on_message(self, connection: WebSocketConnection, message: str | bytes, is_text: bool) -> None:
        assert isinstance(message, str) == is_text
        self.told.append(("message", message))
        self.on_message_do(connection, message)

    def on_writable(self, connection: WebSocketConnection) -> None:
        self.told.append(("writable", connection.buffered()))

    def on_close(self, connection: WebSocketConnection, code: int, reason: str) -> None:
        self.told.append(("close", (code, reason)))


class Running:
    """A listener in a thread of its own, on uvloop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, server: Server) -> None:
        self.server = server
        self._loop = loop

    @property
    def port(self) -> int:
        return self.server.port

    def call(self, action: Callable[[], T]) -> T:
        """Run `action` in the server's loop and give what it returns."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                future.set_result(action())
            except Exception as error:  # noqa: BLE001 - handed to the caller
                future.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return future.result(60)

    def start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)


@contextlib.contextmanager
def running(application: Any, factory: Callable[[], Any] | None = None, **options: Any) -> Iterator[Running]:
    """One `application` for all connections, or a `factory` of one for each; `options` are those of `listen`."""
    started: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, Server]] = concurrent.futures.Future()
    stop = asyncio.Event()

    async def main() -> None:
        try:
            server = await listen("127.0.0.1", 0, factory or (lambda: application), **options)
        except BaseException as error:
            started.set_exception(error)
            raise
        started.set_result((asyncio.get_running_loop(), server))
        await stop.wait()
        server.close()

    thread = threading.Thread(target=lambda: uvloop.run(main()), name="websocket server")
    thread.start()
    loop, server = started.result(60)
    try:
        yield Running(loop, server)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)


def opened(server: Running, recorder: Recorder) -> WebSocketConnection:
    wait_until(lambda: recorder.connections, what="the connection is open")
    return recorder.connections[-1]


def fill(connection: WebSocketConnection, up_to: int) -> int:
    """Write CHUNKs until so many bytes wait to be sent; in the server's loop. Gives the bytes written."""
    written = 0
    while connection.buffered() < up_to:
        connection.write_prepared(CHUNK)
        written += len(CHUNK)
    return written


def ended(recorder: Recorder) -> tuple[int, str]:
    """How the connection ended; waits for it."""
    wait_until(
        lambda: recorder.told and recorder.told[-1][0] == "close", what="the application is told of the end"
    )
    assert [what for what, _ in recorder.told].count("close") == 1
    code, reason = recorder.told[-1][1]
    return code, reason
