"""A bare picows listener: `python -m benchmarks.floors.websocket [PUBLIC_KEY_FILE]`. Prints {"port": N}; ends with its input.

With a key it checks the realtime token of the first message and answers with as many bytes as that asks for (`answer`):
the least that letting somebody in can be.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from benchmarks.core.agent import obey
from channel_server.websocket.listener import READ_BUFFER
from services.contract.tokens import verify_token

KEY_ID = "k1"


class _First(msgspec.Struct):
    token: str
    answer: int = 200


_decode = msgspec.json.Decoder(_First).decode


class Bare(WSListener):
    """Does nothing with what it gets."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None: ...


class Checking(WSListener):
    def __init__(self, keys: dict[str, Ed25519PublicKey]) -> None:
        self._keys = keys

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.TEXT:
            first = _decode(frame.get_payload_as_memoryview())
            verify_token(first.token, "realtime", self._keys, now=time.time())
            transport.send(WSMsgType.TEXT, b"x" * first.answer)


async def _main(key: str) -> None:
    def listener(_: WSUpgradeRequest) -> WSListener:
        return Checking(keys) if keys else Bare()

    keys: dict[str, Ed25519PublicKey] = {}
    if key:
        loaded = load_pem_public_key(Path(key).read_bytes())
        assert isinstance(loaded, Ed25519PublicKey)
        keys[KEY_ID] = loaded
    server = await ws_create_server(listener, "127.0.0.1", 0, backlog=4096, read_buffer_init_size=READ_BUFFER)

    async def nothing() -> dict[str, Any]:
        return {}

    await obey({"nothing": nothing}, hello={"port": server.sockets[0].getsockname()[1]})


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(_main(sys.argv[1] if len(sys.argv) > 1 else ""))
