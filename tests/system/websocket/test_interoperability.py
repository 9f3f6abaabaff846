"""An independent implementation, the `websockets` library, as the client."""

from __future__ import annotations

import asyncio
import random

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from tests.system.websocket.serving import EchoProcess, Recorder, echo_process, ended, running

LARGE = 4 * 1024 * 1024


def url(port: int) -> str:
    return f"ws://127.0.0.1:{port}/"


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_messages_come_back_as_they_were(echo: EchoProcess, compression: str | None) -> None:
    """With its default offer of permessage-deflate, which is declined, and without."""
    source = random.Random(20)
    async with connect(url(echo.port), compression=compression, open_timeout=60) as client:
        for _ in range(200):
            message: str | bytes = source.randbytes(source.randrange(2000))
            if source.random() < 0.5:
                message = "".join(chr(source.choice([65, 0xE9, 0x4E2D, 0x1F600])) for _ in range(300))
            await client.send(message)
            assert await client.recv() == message


async def test_large_messages_whole_and_in_fragments() -> None:
    with echo_process("--max-message", str(LARGE)) as echo:
        async with connect(url(echo.port), max_size=None, compression=None, open_timeout=60) as client:
            data = random.Random(21).randbytes(LARGE)
            await client.send(data)
            assert await client.recv() == data
            await client.send(data[at : at + 50_000] for at in range(0, LARGE, 50_000))
            assert await client.recv() == data
            text = "grüße 😀 " * (LARGE // 16)
            await client.send(text[at : at + 1000] for at in range(0, len(text), 1000))
            assert await client.recv() == text


async def test_it_hears_why_a_message_was_too_large(echo: EchoProcess) -> None:
    # Not `async with`, and not megabytes (test_frames has them): the library aborts a transport that has just written the
    # rest of its buffer and closed itself, and asyncio of 3.11 does not forgive that.
    client = await connect(url(echo.port), compression=None, open_timeout=60)
    with pytest.raises(websockets.ConnectionClosedError) as closed:
        await send_and_receive(client, b"x" * 100_000)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009
    await client.wait_closed()


async def send_and_receive(client: ClientConnection, message: bytes) -> str | bytes:
    await client.send(message)
    return await client.recv()


async def test_pings_and_the_close_handshake(echo: EchoProcess) -> None:
    client = await connect(url(echo.port), open_timeout=60)
    await asyncio.wait_for(await client.ping(b"are you there"), 60)
    await client.close(3001, "enough")
    assert client.close_code == 3001
    assert client.protocol.close_rcvd is not None
    assert client.protocol.close_rcvd.code == 3001
    assert not client.protocol.close_rcvd_then_sent


async def test_a_close_from_the_server_is_a_clean_one() -> None:
    recorder = Recorder()
    recorder.on_message_do = lambda connection, message: connection.close(4003, "no connect in time")
    with running(recorder) as server:
        async with connect(url(server.port), open_timeout=60) as client:
            await client.send("x")
            with pytest.raises(websockets.ConnectionClosedError) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4003, "no connect in time")
        assert await asyncio.to_thread(ended, recorder) == (4003, "no connect in time")


async def test_many_clients_at_once(echo: EchoProcess) -> None:
    async def talk(number: int) -> None:
        async with connect(url(echo.port), compression=None, open_timeout=60) as client:
            for turn in range(20):
                await client.send(f"{number}/{turn}")
                assert await client.recv() == f"{number}/{turn}"

    async with asyncio.TaskGroup() as clients:
        for number in range(100):
            clients.create_task(talk(number))
