"""People of a running stack on its WebSocket."""

from __future__ import annotations

import json
from typing import Any

from websockets.asyncio.client import connect

from services.contract.codes import CLOSES
from tests.stack.lockstep import Stack
from tests.system.channel_server.cell import Client
from tests.system.channel_server.cell import Person as Anybody
from tests.system.web_app.people import Person, ok


async def opened(fortress: Stack, **options: Any) -> Client:
    """A WebSocket on which nothing has been said."""
    socket = await connect(
        fortress.websocket_url(), proxy=None, compression=None, open_timeout=60, max_size=None, **options
    )
    return Client(socket, Anybody())


async def welcomed(fortress: Stack, person: Person, **fields: Any) -> Client:
    """Connected with a realtime token of this person's, `fields` on top of the frame."""
    return await welcomed_with(fortress, ok(await person.post("/v1/realtime"))["token"], **fields)


async def welcomed_with(fortress: Stack, token: str, **fields: Any) -> Client:
    """Connected with this token; anew as long as the node has not heard of the person."""
    while True:
        client = await opened(fortress)
        await client.socket.send(json.dumps({"type": "connect", "token": token, **fields}))
        if await client.is_welcome():
            return client
        assert client.closed == CLOSES["not_ready"].code, client.frames
