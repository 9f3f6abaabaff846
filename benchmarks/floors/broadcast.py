"""Rivals: broadcasters as their frameworks' documentation shows them. In memory, nothing stored, numbered or replayed.

`python -m benchmarks.floors.broadcast fastapi|websockets` prints {"port": N}; ends with its input. A client's first
message names its room; every later one is sent to everybody in the room.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict

import uvicorn
import uvloop
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

WELCOME = "welcome"


class ConnectionManager:
    """https://fastapi.tiangolo.com/advanced/websockets/#handling-disconnections-and-multiple-clients, with rooms."""

    def __init__(self) -> None:
        self.active_connections: defaultdict[str, list[WebSocket]] = defaultdict(list)

    def disconnect(self, websocket: WebSocket, room: str) -> None:
        self.active_connections[room].remove(websocket)

    async def broadcast(self, message: str, room: str) -> None:
        for connection in self.active_connections[room]:
            await connection.send_text(message)


def fastapi_app() -> FastAPI:
    app = FastAPI()
    manager = ConnectionManager()

    @app.websocket("/ws")
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        room = await websocket.receive_text()
        manager.active_connections[room].append(websocket)
        await websocket.send_text(WELCOME)
        try:
            while True:
                await manager.broadcast(await websocket.receive_text(), room)
        except WebSocketDisconnect:
            manager.disconnect(websocket, room)

    return app


async def run_fastapi() -> None:
    config = uvicorn.Config(
        fastapi_app(), host="127.0.0.1", port=0, ws_per_message_deflate=False, log_config=None, backlog=4096
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.01)
    if serving.done():
        serving.result()
    await until_told(server.servers[0].sockets[0].getsockname()[1])
    server.should_exit = server.force_exit = True
    await serving


async def run_websockets() -> None:
    """https://websockets.readthedocs.io/en/stable/topics/broadcast.html, with rooms."""
    rooms: defaultdict[str, set[ServerConnection]] = defaultdict(set)

    async def handler(connection: ServerConnection) -> None:
        room = str(await connection.recv())
        rooms[room].add(connection)
        await connection.send(WELCOME)
        try:
            async for message in connection:
                broadcast(rooms[room], message)
        except ConnectionClosed:
            pass
        finally:
            rooms[room].discard(connection)

    async with serve(handler, "127.0.0.1", 0, compression=None, backlog=4096) as server:
        await until_told(next(iter(server.sockets)).getsockname()[1])


async def until_told(port: int) -> None:
    print(json.dumps({"port": port}), flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run({"fastapi": run_fastapi, "websockets": run_websockets}[sys.argv[1]]())
