"""What our WebSocket class costs on top of picows: `python -m benchmarks.websocket`.

Three questions, each with a floor from the same run: the memory of an idle connection (against a bare picows listener
that does nothing), the processor time of a write (against the transport's own `write` on the same connections), and of a
received message (against a bare listener that decodes the frame's text). Servers are processes of their own on uvloop;
the figures are theirs alone, not the client's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import selectors
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO

import psutil
import structlog
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from channel_server.websocket.connection import WebSocketConnection
from channel_server.websocket.framing import prepare_text
from channel_server.websocket.listener import READ_BUFFER, listen

DEFAULT_READ_BUFFER = 16 * 1024
"""picows' own choice, in bytes."""

KINDS = {
    "bare": "bare picows listener, as it comes",
    "lean": f"bare picows listener, read buffer {READ_BUFFER} bytes",
    "ours": "our connection class",
}

REQUEST = (
    "GET / HTTP/1.1\r\nHost: chat.example.com\r\nConnection: {connection}\r\nPragma: no-cache\r\n"
    "Cache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130.0 Safari/537.36\r\n"
    "Upgrade: websocket\r\nOrigin: https://chat.example.com\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate\r\n"
    "Accept-Language: de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
).format(connection="Upgrade")
"""As a browser asks."""


# The servers -----------------------------------------------------------------------------------------------------------


class Bare(WSListener):
    """The least that a listener can be, and decode what it gets."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.TEXT:
            counted[0] += len(frame.get_payload_as_utf8_text()) and 1


class Ours:
    """The least that an application can be."""

    def on_open(self, connection: WebSocketConnection) -> None:
        opened.append(connection)

    def on_message(self, connection: WebSocketConnection, message: str | bytes, is_text: bool) -> None:
        counted[0] += len(message) and 1

    def on_writable(self, connection: WebSocketConnection) -> None: ...

    def on_close(self, connection: WebSocketConnection, code: int, reason: str) -> None: ...


counted = [0]
opened: list[WebSocketConnection] = []


async def serve(kind: str) -> None:
    """Answer one JSON line on stdout for each command on stdin, until stdin ends."""
    if kind == "ours":
        ours = Ours()
        port = (await listen("127.0.0.1", 0, lambda: ours, frames_per_second=10**9)).port
    else:
        size = DEFAULT_READ_BUFFER if kind == "bare" else READ_BUFFER
        server = await ws_create_server(
            lambda request: Bare(), "127.0.0.1", 0, backlog=4096, read_buffer_init_size=size
        )
        port = server.sockets[0].getsockname()[1]
    say({"port": port})
    while command := (await asyncio.to_thread(sys.stdin.readline)).split():
        if command[0] == "write":
            say(await write(rounds=int(command[1]), size=int(command[2])))
        else:
            say({"counted": counted[0], "cpu": time.process_time()})


async def write(rounds: int, size: int) -> dict[str, float]:
    """Seconds of processor time for one write to one connection, in each way; medians over the rounds."""
    payload = b"x" * size
    prepared = prepare_text(payload)
    # The floor needs the transport itself; an application has no business with it.
    transports = [connection._underlying for connection in opened]

    def bare() -> None:
        for transport in transports:
            transport.write(prepared)

    def ours() -> None:
        for connection in opened:
            connection.write_prepared(prepared)

    def text() -> None:
        for connection in opened:
            connection.send_text(payload)

    ways: dict[str, Callable[[], None]] = {"transport.write": bare, "write_prepared": ours, "send_text": text}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.process_time()
            way()
            taken[name].append((time.process_time() - started) / len(transports))
            await asyncio.sleep(
                0.005
            )  # for the client to take it: full socket buffers would be measured otherwise
    return {name: statistics.median(times) for name, times in taken.items()}


def say(answer: object) -> None:
    print(json.dumps(answer), flush=True)


# The client ------------------------------------------------------------------------------------------------------------


class ServerProcess:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in: IO[str] = process.stdin
        self._out: IO[str] = process.stdout
        self.process = psutil.Process(process.pid)
        self.port = int(self.hear()["port"])

    def hear(self) -> dict[str, float]:
        answer: dict[str, float] = json.loads(self._out.readline())
        return answer

    def ask(self, command: str) -> dict[str, float]:
        self._in.write(f"{command}\n")
        self._in.flush()
        return self.hear()

    def memory(self) -> int:
        """Bytes that are the process's own."""
        return int(self.process.memory_full_info().uss)


@contextlib.contextmanager
def server(kind: str) -> Iterator[ServerProcess]:
    command = [sys.executable, "-m", "benchmarks.websocket", "--serve", kind]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield ServerProcess(process)
    finally:
        process.terminate()
        process.communicate()


def connect(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(REQUEST.encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    return client


def idle_memory(kind: str, connections: int) -> float:
    """KiB for each of `connections` idle connections."""
    with server(kind) as running:
        clients = [connect(running.port) for _ in range(connections // 10)]
        before = running.memory()
        clients += [connect(running.port) for _ in range(connections)]
        after = running.memory()
        for client in clients:
            client.close()
    return (after - before) / connections / 1024


def write_times(connections: int, rounds: int, size: int) -> dict[str, float]:
    """Microseconds of processor time for a write, by way."""
    with server("ours") as running, contextlib.ExitStack() as open_sockets:
        selector = selectors.DefaultSelector()
        for _ in range(connections):
            client = open_sockets.enter_context(connect(running.port))
            client.setblocking(False)
            selector.register(client, selectors.EVENT_READ)
        stop = threading.Event()

        def drain() -> None:
            while not stop.is_set():
                for key, _ in selector.select(0.1):
                    assert isinstance(key.fileobj, socket.socket)
                    key.fileobj.recv(1 << 20)

        reader = threading.Thread(target=drain)
        reader.start()
        times = running.ask(f"write {rounds} {size}")
        stop.set()
        reader.join()
    return {name: seconds * 1e6 for name, seconds in times.items()}


def receive_time(kind: str, messages: int, size: int) -> float:
    """Microseconds of processor time for a received text message."""
    mask = os.urandom(4)
    payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(b"x" * size))
    frame = bytes([0x81, 0x80 | size]) + mask + payload
    batch = frame * 500
    with server(kind) as running, connect(running.port) as client:
        before = running.ask("count")
        for _ in range(messages // 500):
            client.sendall(batch)
        while (after := running.ask("count"))["counted"] < messages:
            time.sleep(0.01)
    return (after["cpu"] - before["cpu"]) / messages * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.websocket", description=__doc__)
    parser.add_argument(
        "--connections", type=int, default=2000, help="idle ones; a tenth of it is written to"
    )
    parser.add_argument("--rounds", type=int, default=100, help="writes to each connection, in each way")
    parser.add_argument("--messages", type=int, default=300_000, help="to receive")
    parser.add_argument("--serve", choices=KINDS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
        uvloop.run(serve(chosen.serve))
        return

    print(f"{chosen.connections:,} idle connections, opened as a browser does")
    memory = {kind: idle_memory(kind, chosen.connections) for kind in KINDS}
    for kind, kib in memory.items():
        print(f"  {KINDS[kind]:<44}{kib:>7.1f} KiB each   {kib - memory['bare']:+.1f} KiB")

    print(f"one write of 300 bytes to each of {chosen.connections // 10:,} connections")
    times = write_times(chosen.connections // 10, chosen.rounds, 300)
    for name, micros in times.items():
        ratio = micros / times["transport.write"]
        print(f"  {name:<44}{micros:>7.2f} us each    {ratio:.2f} of the floor")

    print(f"{chosen.messages:,} messages of 100 bytes received")
    received = {kind: receive_time(kind, chosen.messages, 100) for kind in ("lean", "ours")}
    for kind, micros in received.items():
        print(f"  {KINDS[kind]:<44}{micros:>7.2f} us each    {micros / received['lean']:.2f} of the floor")


if __name__ == "__main__":
    main()
