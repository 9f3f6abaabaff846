"""Health and metrics over HTTP, the same for every process.

`/health/live`: the event loop turns. `/health/ready`: this process can do its own work now; it asks the process
and nobody else, so that one broken neighbour does not take everybody out of rotation. `/metrics`: Prometheus.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final, cast

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.runtime.beat import until_beat
from services.runtime.news import News
from services.runtime.prompt import REQUEST_SECONDS, PromptProtocol

_DATE: Final = 0
"""The tick at which uvicorn renews the time in its answers; every one of ours."""

Readiness = Callable[[], str | None]
"""Gives None when ready, else one sentence why not. Must not block."""


def admin_routes(ready: Readiness) -> list[Route]:
    async def live(request: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def readiness(request: Request) -> Response:
        reason = ready()
        if reason is None:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready", "reason": reason}, status_code=503)

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return [
        Route("/health/live", live),
        Route("/health/ready", readiness),
        Route("/metrics", metrics),
    ]


class _Server(uvicorn.Server):
    """Leaves signals to the process it lives in, and its sleep: uvicorn looks ten times a second whether it should end."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ended = News()

    def end(self) -> None:
        self.should_exit = True
        self._ended.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        while not await self.on_tick(_DATE):
            await self._ended.wait(until_beat(1.0, time.monotonic()))


@contextlib.asynccontextmanager
async def serving(
    app: Starlette, host: str, port: int, *, request_seconds: float = REQUEST_SECONDS
) -> AsyncIterator[int]:
    """Serve an ASGI app in the running loop; gives the port. Raises OSError when the address is taken.

    A request that is not here whole within `request_seconds` is answered 408 and its connection closed.
    """
    protocol = functools.partial(PromptProtocol, request_seconds=request_seconds)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=cast("type[asyncio.Protocol]", protocol),
        ws="none",
        log_config=None,
        access_log=False,
        lifespan="on",
    )
    server = _Server(config)
    sock = _bind(host, port)
    task = asyncio.create_task(server.serve(sockets=[sock]), name=f"http {host}:{port}")
    try:
        while not server.started:
            if task.done():
                task.result()
                raise RuntimeError(f"the HTTP server on {host}:{port} ended while starting")
            await asyncio.sleep(0.005)
        yield int(sock.getsockname()[1])
    finally:
        server.end()
        await asyncio.wait([task], timeout=5)
        task.cancel()
        sock.close()


def _bind(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


@contextlib.asynccontextmanager
async def serving_admin(ready: Readiness, host: str, port: int) -> AsyncIterator[int]:
    """Serve only health and metrics: what a worker without an API of its own needs."""
    async with serving(Starlette(routes=admin_routes(ready)), host, port) as bound:
        yield bound
