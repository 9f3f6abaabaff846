"""A TCP proxy that understands just enough of Kafka's protocol to hold one produce request back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

PRODUCE = 0


class ProduceStaller:
    """Passes everything on, until it is armed: then the next produce request is held, with its connection.

    What is held goes to the broker on `release`, even if the client has long gone: a late copy.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._armed = False
        self._release = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.held = asyncio.Event()
        self.delivered = asyncio.Event()

    async def start(self, port: int) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def arm(self) -> None:
        """Hold the next one; may be called again once what was held has been released."""
        self._armed = True
        for event in (self._release, self.held, self.delivered):
            event.clear()

    def release(self) -> None:
        self._release.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connection(reader, writer))
        self._tasks.add(task)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        answers = asyncio.create_task(self._pass_answers(broker_reader, writer))
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    size = await reader.readexactly(4)
                    request = await reader.readexactly(int.from_bytes(size, "big"))
                    held = self._armed and int.from_bytes(request[:2], "big") == PRODUCE
                    if held:
                        self._armed = False
                        self.held.set()
                        await self._release.wait()
                    broker_writer.write(size + request)
                    await broker_writer.drain()
                    if held:
                        self.delivered.set()
        finally:
            # Answers still under way show that the broker has taken what it was sent.
            broker_writer.write_eof()
            await asyncio.wait([answers], timeout=5)
            answers.cancel()
            broker_writer.transport.abort()
            writer.transport.abort()

    async def _pass_answers(self, broker: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await broker.read(65536):
                client.write(data)
                await client.drain()
        client.transport.abort()


@contextlib.asynccontextmanager
async def produce_staller(target_port: int, port: int) -> AsyncIterator[ProduceStaller]:
    staller = ProduceStaller(target_port)
    await staller.start(port)
    try:
        yield staller
    finally:
        await staller.close()
