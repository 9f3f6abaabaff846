"""A TCP proxy with the faults of a network: cut, stall, delay."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

CHUNK = 64 * 1024


class Proxy:
    """Stands between clients and `target`; per direction it may hold bytes back. `port` is where clients connect.

    `up` is client to server, `down` server to client. Bytes that are held are not read from the sender, so its
    buffers fill as in a real stall.
    """

    def __init__(self, target_host: str, target_port: int) -> None:
        self.target = (target_host, target_port)
        self.port = 0
        self.delay = 0.0
        """Seconds that every chunk waits, in each direction; order is kept."""
        self.connections = 0
        """How many were accepted so far."""
        self._flows = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._flows["up"].set()
        self._flows["down"].set()
        self._refusing = False
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self.accept, "127.0.0.1", port)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._cancel()

    def stall(self, *directions: str) -> None:
        """Hold everything back (both directions unless named) and keep connections open."""
        for name in directions or ("up", "down"):
            self._flows[name].clear()

    def resume(self) -> None:
        """Undo `stall` and `refuse`; what was held flows on."""
        self._refusing = False
        for flow in self._flows.values():
            flow.set()

    async def cut(self) -> None:
        """Break every connection; new ones are accepted."""
        await self._cancel()

    async def refuse(self) -> None:
        """Break every connection and every new one, until `resume`."""
        self._refusing = True
        await self._cancel()

    async def _cancel(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take over a connection that a listener has accepted: its own, or one in front of several proxies."""
        if self._refusing:
            writer.transport.abort()
            return
        self.connections += 1
        task = asyncio.create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump("up", reader, far_writer))
                pumps.create_task(self._pump("down", far_reader, writer))
        except* OSError:
            pass  # one side broke: both are aborted below
        finally:
            writer.transport.abort()
            far_writer.transport.abort()

    async def _pump(self, direction: str, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Copies until the end of the stream, later by `delay`, not while stalled."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(256)

        async def read() -> None:
            while True:
                await self._flows[direction].wait()
                data = await source.read(CHUNK)
                await waiting.put((loop.time() + self.delay, data))
                if not data:
                    return

        async with asyncio.TaskGroup() as both:
            both.create_task(read())
            while True:
                due, data = await waiting.get()
                if (rest := due - loop.time()) > 0:
                    await asyncio.sleep(rest)
                await self._flows[direction].wait()
                if not data:
                    break
                sink.write(data)
                await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()


@contextlib.asynccontextmanager
async def proxy(target_host: str, target_port: int, port: int = 0) -> AsyncIterator[Proxy]:
    """A running proxy; closed at the end."""
    running = Proxy(target_host, target_port)
    await running.start(port)
    try:
        yield running
    finally:
        await running.close()
