"""Clients of the rivals that post marked messages at a rate, and read nothing. An agent (`core.agent.obey`)."""

from __future__ import annotations

import asyncio
import itertools
import time
from functools import partial
from typing import Any

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.core.agent import obey
from benchmarks.core.rival import Poster
from benchmarks.core.speakers import TICK_S


class Client(WSListener):
    def __init__(self, poster: Poster, answer: bytes) -> None:
        self.welcome = asyncio.Event()
        self._poster = poster
        self._answer = answer
        self._transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        for frame in filter(None, self._poster.first.split("\t")):
            transport.send(WSMsgType.TEXT, frame.encode())
        if not self._poster.first:
            self.welcome.set()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if not self.welcome.is_set() and self._answer in frame.get_payload_as_memoryview().tobytes():
            self.welcome.set()

    def post(self, text: str) -> None:
        assert self._transport is not None
        self._transport.send(WSMsgType.TEXT, f"{self._poster.before}{text}{self._poster.behind}".encode())


class Shouter:
    def __init__(self) -> None:
        self.clients: list[Client] = []

    async def connect(self, port: int, posters: list[list[str]], answer: str) -> dict[str, Any]:
        """A client for each; it is there when a frame has come that holds `answer`, if it says anything first."""
        for each in itertools.starmap(Poster, posters):
            make = partial(Client, each, answer.encode())
            _, client = await ws_connect(make, f"ws://127.0.0.1:{port}{each.path}")
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
                next(turn).post(f"ns={time.monotonic_ns():020d}".ljust(size, "x"))
                sent += 1
            await asyncio.sleep(max(TICK_S, started + sent / rate - time.monotonic()))
        return {"sent": sent, "seconds": time.monotonic() - started}


async def _main() -> None:
    shouter = Shouter()
    await obey({"connect": shouter.connect, "run": shouter.run})


if __name__ == "__main__":
    uvloop.run(_main())
