"""The smallest application there is, on the product's own connection class: it sends back what it gets.

    python -m tests.conformance.echo --port N [--max-message BYTES]

Prints `listening on PORT` when it is ready, and ends on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

import structlog
import uvloop

from channel_server.websocket.connection import WebSocketConnection
from channel_server.websocket.listener import listen


class Echo:
    """One object for all connections: an echo has no state."""

    def on_open(self, connection: WebSocketConnection) -> None: ...

    def on_message(self, connection: WebSocketConnection, message: str | bytes, is_text: bool) -> None:
        if is_text:
            connection.send_text(message)
        else:
            assert isinstance(message, bytes)
            connection.send_binary(message)

    def on_writable(self, connection: WebSocketConnection) -> None: ...

    def on_close(self, connection: WebSocketConnection, code: int, reason: str) -> None: ...


async def serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    echo = Echo()
    server = await listen(
        arguments.host,
        arguments.port,
        lambda: echo,
        max_message=arguments.max_message,
        frames_per_second=arguments.frames_per_second,
    )
    print(f"listening on {server.port}", flush=True)
    await stop.wait()
    server.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.conformance.echo", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument(
        "--max-message",
        type=int,
        default=1024 * 1024,
        help="bytes; the suite's largest is 16 MiB (cases 9.*)",
    )
    parser.add_argument(
        "--frames-per-second",
        type=int,
        default=10_000_000,
        help="so many that the suite's floods (9.3.1) fit",
    )
    arguments = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    uvloop.run(serve(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
