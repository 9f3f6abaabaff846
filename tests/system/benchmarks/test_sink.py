"""The receivers of the benchmarks say what they are told to, know when they are heard, and time what they are shown."""

from __future__ import annotations

import asyncio
import time

from websockets.asyncio.server import ServerConnection, serve

from benchmarks.core.sink import sink


async def test_a_connection_says_its_frames_and_is_ready_when_the_answer_comes() -> None:
    heard: list[str] = []

    async def handler(connection: ServerConnection) -> None:
        heard.extend([str(await connection.recv()), str(await connection.recv())])
        await connection.send("<open/>")
        await connection.send("<subject/>")
        await connection.send(f"<message xmlns='x'>ns={time.monotonic_ns():020d}</message>")
        await connection.wait_closed()

    async with serve(handler, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with asyncio.timeout(20), sink(port, ["<auth/>\t" + "x" * 200], answer="<subject") as receivers:
            counts = await receivers.received(1)
    assert heard == ["<auth/>", "x" * 200]
    assert (counts.ready, counts.frames, counts.closed) == (1, 1, 0)
    assert counts.latency.count == 1
