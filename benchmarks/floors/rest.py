"""A FastAPI app as its documentation shows one, with the product's token check: the floor of the REST API. An agent.

`python -m benchmarks.floors.rest` takes one JSON line: `key` (public PEM), `kid`, `dsn`, `internal` (a node's internal
API) and `service_token`; prints {"port": N}; ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import asyncpg
import httpx
import uvicorn
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from services.contract.ids import new_event_id
from services.contract.tokens import Claims, InvalidToken, verify_token

HISTORY = """
select seq, event_id::text, sender_id, at_ms, text, thread, also_to_channel, edits, edited_at_ms, deleted, pinned_by,
    pinned_at_ms, reactions, replies, last_reply, last_reply_at_ms, participants, mentions, mentions_channel
from messages where channel_id = $1 order by seq desc limit 50
"""

SYNC = """
select c.id, c.kind, c.name, c.topic, c.archived_at is not null as archived, coalesce(h.head, 0) as head,
    coalesce(r.seq, 0) as marker
from memberships m join channels c on c.id = m.channel_id
left join channel_heads h on h.channel_id = c.id
left join read_markers r on r.user_id = m.user_id and r.channel_id = m.channel_id
where m.user_id = $1 and m.member order by c.id
"""


class NewMessage(BaseModel):
    text: str


_bearer = HTTPBearer()


async def claims_of(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials, Depends(_bearer)]
) -> Claims:
    try:
        return verify_token(credentials.credentials, "access", request.app.state.keys, now=time.time())
    except InvalidToken as error:
        raise HTTPException(401, str(error)) from error


def app_of(given: dict[str, str]) -> FastAPI:
    key = load_pem_public_key(given["key"].encode())
    assert isinstance(key, Ed25519PublicKey)
    keys = {given["kid"]: key}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        headers = {"authorization": f"Bearer {given['service_token']}"}
        async with (
            httpx.AsyncClient(base_url=given["internal"], headers=headers, trust_env=False) as http,
            asyncpg.create_pool(given["dsn"], min_size=2, max_size=20) as pool,
        ):
            app.state.http, app.state.pool, app.state.keys = http, pool, keys
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/channels/{channel_id}/messages", status_code=201)
    async def post(
        channel_id: str, message: NewMessage, claims: Annotated[Claims, Depends(claims_of)]
    ) -> Any:
        event = {"type": "message.posted", "text": message.text}
        request = {"channel": channel_id, "sender": claims.user_id, "id": new_event_id(), "event": event}
        answer = await app.state.http.post("/internal/v1/events", json=request)
        return answer.json()

    @app.get("/v1/channels/{channel_id}/messages")
    async def history(channel_id: str, claims: Annotated[Claims, Depends(claims_of)]) -> Any:
        rows = await app.state.pool.fetch(HISTORY, channel_id)
        return {"channel": channel_id, "messages": [dict(row) for row in reversed(rows)]}

    @app.get("/v1/me/sync")
    async def sync(claims: Annotated[Claims, Depends(claims_of)]) -> Any:
        rows = await app.state.pool.fetch(SYNC, claims.user_id)
        return {"channels": [dict(row) for row in rows]}

    return app


async def _main() -> None:
    given = json.loads(await asyncio.to_thread(sys.stdin.readline))
    config = uvicorn.Config(
        app_of(given), host="127.0.0.1", port=0, http="h11", ws="none", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.01)
    if serving.done():
        serving.result()
    print(json.dumps({"port": server.servers[0].sockets[0].getsockname()[1]}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.should_exit = True
    await serving


if __name__ == "__main__":
    uvloop.run(_main())
