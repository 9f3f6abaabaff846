"""Clients of the rivals that post marked messages at a rate, and read nothing. An agent (`core.agent.obey`)."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.core.agent import obey


class Client(WSListener):
    def __init__(self, room: str) -> None:
        self.welcome = asyncio.Event()
        self._room = room
        self.transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        if self._room:
            transport.send(WSMsgType.TEXT, self._room.encode())
        else:
            self.welcome.set()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.welcome.set()


class Shouter:
    def __init__(self) -> None:
        self.clients: list[Client] = []

    async def connect(self, urls: list[str], rooms: list[str]) -> dict[str, Any]:
        """A client for each; the room is its first message, if it has to name one."""
        for url, room in zip(urls, rooms, strict=True):
            _, client = await ws_connect(lambda room=room: Client(room), url)
            assert isinstance(client, Client)
            await asyncio.wait_for(client.welcome.wait(), 30)
            self.clients.append(client)
        return {}

    async def run(self, rate: float, seconds: float, size: int) -> dict[str, Any]:
        total, sent = max(1, round(rate * seconds)), 0
        turn = itertools.cycle(self.clients)
        started = time.monotonic()
        while sent < total:
            elapsed = time.monotonic() - started
            for _ in range(min(min(total, int(elapsed * rate) + 1) - sent, 500)):
                transport = next(turn).transport
                assert transport is not None
                text = f"ns={time.monotonic_ns():020d}".ljust(size, "x")
                transport.send(WSMsgType.TEXT, text.encode())
                sent += 1
            await asyncio.sleep(max(0.0, started + sent / rate - time.monotonic()))
        return {"sent": sent, "seconds": time.monotonic() - started}


async def _main() -> None:
    shouter = Shouter()
    await obey({"connect": shouter.connect, "run": shouter.run})


if __name__ == "__main__":
    uvloop.run(_main())
