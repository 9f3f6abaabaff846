"""Who sends slowly on purpose holds a connection for a bounded time, and hinders nobody (the WebSocket's own bounds:
tests/system/websocket/test_resources.py)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.runtime.admin import serving
from services.runtime.prompt import REQUEST_SECONDS

SECONDS = 1.2

HEAD = b"POST /echo HTTP/1.1\r\nHost: x\r\n"

Slow = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async def echo(request: Request) -> Response:
        return Response(await request.body())

    async def thoughtful(request: Request) -> Response:
        await asyncio.sleep(2 * SECONDS)
        return Response(b"done")

    routes = [Route("/echo", echo, methods=["POST"]), Route("/thoughtful", thoughtful)]
    async with serving(Starlette(routes=routes), "127.0.0.1", 0, request_seconds=SECONDS) as bound:
        yield bound


@contextlib.asynccontextmanager
async def talking(port: int) -> AsyncIterator[Slow]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def drip(to: Slow, first: bytes, drop: bytes) -> bytes:
    """Send `first` and then a drop again and again; gives what came back when the server had closed."""
    reader, writer = to
    writer.write(first)
    answer = asyncio.create_task(reader.read())
    async with asyncio.timeout(60):
        while not answer.done():
            with contextlib.suppress(ConnectionError):
                writer.write(drop)
                await writer.drain()
            await asyncio.wait([answer], timeout=SECONDS / 6)
    with contextlib.suppress(ConnectionError):
        return answer.result()
    return b""


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        pytest.param(b"", b"", id="nothing at all"),
        pytest.param(b"P", b"", id="a letter"),
        pytest.param(HEAD, b"x: y\r\n", id="headers without end"),
        pytest.param(HEAD + b"Content-Length: 100000\r\n\r\n", b"x", id="a body of known length"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", id="a body in chunks"),
    ],
)
async def test_a_request_that_never_comes_to_its_end_is_ended(port: int, first: bytes, drop: bytes) -> None:
    async with talking(port) as connection:
        answer = await drip(connection, first, drop)
    assert answer.startswith(b"HTTP/1.1 408 ") or not answer


async def test_a_further_request_of_a_connection_has_the_same_bound(port: int) -> None:
    async with talking(port) as connection:
        reader, writer = connection
        writer.write(HEAD + b"Content-Length: 2\r\n\r\nhi")
        assert b"200 OK" in await reader.readuntil(b"hi")
        answer = await drip(connection, HEAD, b"x: y\r\n")
    assert b"200" not in answer


async def test_a_slow_answer_and_a_pause_between_requests_are_nobodys_fault(port: int) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as http:
        assert (await http.get("/thoughtful")).text == "done"
        assert (await http.post("/echo", content=b"again")).text == "again"
        await asyncio.sleep(2 * SECONDS)  # what must not be ended in this time is the connection
        assert (await http.post("/echo", content=b"and again")).text == "and again"


async def test_many_slow_ones_hinder_nobody(port: int) -> None:
    async with contextlib.AsyncExitStack() as owned:
        for _ in range(200):
            reader, writer = await owned.enter_async_context(talking(port))
            writer.write(HEAD + b"Content-Length: 100000\r\n\r\n")
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60
        ) as http:
            started = time.monotonic()
            assert (await http.post("/echo", content=b"through")).text == "through"
            assert time.monotonic() - started < 20
        async with asyncio.timeout(60):
            assert b"200" not in await reader.read()


def test_the_bound_of_the_product_is_one_that_people_on_bad_lines_can_meet() -> None:
    """256 KiB, the largest body, at 100 kbit/s."""
    assert 256 * 1024 * 8 / 100_000 < 1.1 * REQUEST_SECONDS < 60
