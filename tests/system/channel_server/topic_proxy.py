"""A proxy before a broker that can hold back the connections over which one topic is fetched, and no others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

FETCH = b"\x00\x01"
"""The api_key of a fetch, after the four bytes of the request's size."""


class TopicProxy:
    """Connects through to `port` on this machine. `freeze(topic)`: who fetches this topic gets no more answers."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._frozen = b""
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._tasks: set[asyncio.Task[None]] = set()

    def freeze(self, topic: str) -> None:
        self._frozen = topic.encode()
        self._thawed.clear()

    def thaw(self) -> None:
        self._frozen = b""
        self._thawed.set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        asked = bytearray()
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._up(reader, far_writer, asked))
                pumps.create_task(self._down(far_reader, writer, asked))
        except* OSError:
            pass
        finally:
            writer.transport.abort()
            far_writer.transport.abort()

    async def _up(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, asked: bytearray) -> None:
        while data := await source.read(65536):
            if data[4:6] == FETCH:
                asked[:] = (asked + data)[-65536:]
            sink.write(data)
            await sink.drain()
        raise ConnectionResetError

    async def _down(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, asked: bytearray) -> None:
        while data := await source.read(65536):
            while self._frozen and self._frozen in asked:
                await self._thawed.wait()
            sink.write(data)
            await sink.drain()
        raise ConnectionResetError

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()


@contextlib.asynccontextmanager
async def topic_proxy(broker_port: int, port: int) -> AsyncIterator[TopicProxy]:
    """Listening on `port`, before the broker on `broker_port` that advertises `port`."""
    proxy = TopicProxy(broker_port)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", port)
    try:
        yield proxy
    finally:
        server.close()
        proxy.close()
