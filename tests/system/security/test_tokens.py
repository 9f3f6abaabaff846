"""Forged, foreign and ended tokens at every door: REST, the WebSocket, the internal API."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from starlette.routing import Route

from channel_server.internal import InternalApi
from services.contract.codes import CLOSES
from services.contract.directory import KeyRecord
from services.contract.ids import new_entity_id, new_event_id
from services.contract.tokens import Audience, Claims
from services.runtime.admin import admin_routes
from tests.stack.lockstep import Stack
from tests.stack.servers import Kafka
from tests.stack.waiting import until
from tests.system.channel_server.cell import Client, new_cell
from tests.system.security.visitors import opened, welcomed_with
from tests.system.web_app.conftest import Web
from tests.system.web_app.people import Person, join, ok, refused, sign_up
from tests.unit.security.forged import Real, forged, strangely_named


def signing_key(secrets_dir: Path) -> tuple[str, Ed25519PrivateKey]:
    [path] = (secrets_dir / "signing_keys").glob("*.pem")
    key = load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return path.stem, key


async def real(person: Person, secrets_dir: Path, audience: Audience) -> Real:
    workspace = ok(await person.get("/v1/me"))["workspace"]["id"]
    kid, key = signing_key(secrets_dir)
    now = int(time.time())
    return Real(key, kid, audience, Claims(person.id, workspace, person.session_id, now + 600), now)


@pytest.fixture(scope="module")
async def http(fortress: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=fortress.web_url, timeout=30, trust_env=False) as made:
        yield made


async def knock(fortress: Stack, token: str) -> Client:
    """Connect, say this token, and wait until there is an answer or an end."""
    client = await opened(fortress)
    await client.socket.send(json.dumps({"type": "connect", "token": token}))
    return client


async def verdict(fortress: Stack, token: str) -> str:
    """`welcome`, or the name of the close code."""
    client = await knock(fortress, token)
    try:
        if await client.is_welcome():
            return "welcome"
        return next(name for name, close in CLOSES.items() if close.code == client.closed)
    finally:
        await client.close()


# --- REST ---------------------------------------------------------------------------------------------------------


async def test_no_forged_token_opens_the_rest_api(web: Web, secrets_dir: Path) -> None:
    person = await sign_up(web.http)
    made = await real(person, secrets_dir, "access")
    person.tokens["access_token"] = made.signed()
    ok(await person.get("/v1/me"))
    for name, token in (forged(made) | strangely_named(made)).items():
        answer = await web.http.get("/v1/me", headers={"authorization": f"Bearer {token}"})
        assert refused(answer, "unauthenticated"), name
    named = {"access_token": made.signed(), "token": made.signed()}
    cookie = {"cookie": f"access_token={made.signed()}"}
    refused(await web.http.get("/v1/me", params=named, headers=cookie), "unauthenticated")
    refused(await web.http.request("GET", "/v1/me", json=named), "unauthenticated")


async def test_the_service_token_is_nobody(web: Web, secrets_dir: Path) -> None:
    token = (secrets_dir / "service_token").read_text().strip()
    refused(await web.http.get("/v1/me", headers={"authorization": f"Bearer {token}"}), "unauthenticated")


# --- WebSocket ----------------------------------------------------------------------------------------------------


async def test_no_forged_token_opens_a_websocket(fortress: Stack, http: httpx.AsyncClient) -> None:
    person = await sign_up(http)
    made = await real(person, fortress.secrets_dir, "realtime")
    await (await welcomed_with(fortress, made.signed())).close()
    tokens = forged(made)
    tokens |= {
        "an access token": person.tokens["access_token"],
        "a refresh token": person.tokens["refresh_token"],
        "the service token": fortress.service_token,
        "of another workspace": made.signed(ws=new_entity_id("ws")),
        "of a person without a workspace": made.signed(sub=7),
    }
    verdicts = await asyncio.gather(*(verdict(fortress, token) for token in tokens.values()))
    wrong = {name: said for name, said in zip(tokens, verdicts, strict=True) if said != "unauthenticated"}
    assert wrong == {}


async def test_an_unknown_key_is_waited_for_and_opens_nothing(
    fortress: Stack, http: httpx.AsyncClient
) -> None:
    made = await real(await sign_up(http), fortress.secrets_dir, "realtime")
    tokens = strangely_named(made)
    tokens["a person whom nobody knows"] = made.signed(sub=new_entity_id("usr"))
    verdicts = await asyncio.gather(*(verdict(fortress, token) for token in tokens.values()))
    assert set(verdicts) <= {"unauthenticated", "not_ready", "bad_frame", "connect_timeout"}, verdicts
    ready = await http.get(f"{fortress.internal_url()}/health/ready")
    assert ready.status_code == 200


async def test_a_session_that_has_ended_is_out_and_stays_out(
    fortress: Stack, http: httpx.AsyncClient
) -> None:
    """By its owner, by an administrator, and by a refresh token that two use."""
    owner = await sign_up(http)
    leaving, dismissed, robbed = [await join(owner) for _ in range(3)]
    clients = {}
    for person in (leaving, dismissed, robbed):
        token = ok(await person.post("/v1/realtime"))["token"]
        clients[person.id] = await welcomed_with(fortress, token), token
    assert (await leaving.post("/v1/auth/logout")).status_code == 204
    ok(await owner.post(f"/v1/users/{dismissed.id}/deactivate"))
    stolen = robbed.tokens["refresh_token"]
    mine = ok(await http.post("/v1/auth/refresh", json={"refresh_token": stolen}))
    ok(await http.post("/v1/auth/refresh", json={"refresh_token": mine["refresh_token"]}))
    refused(await http.post("/v1/auth/refresh", json={"refresh_token": stolen}), "refresh_reused")
    ended = [(leaving, "session_revoked"), (dismissed, "deactivated"), (robbed, "session_revoked")]
    for person, close in ended:
        client, token = clients[person.id]
        assert await client.end() == CLOSES[close].code
        assert await verdict(fortress, token) == "session_revoked"


async def test_the_tokens_of_a_retired_key_open_nothing(kafka: Kafka, folder: Path) -> None:
    async with new_cell(kafka.bootstrap, folder) as cell:
        [node] = await cell.nodes("node-1")
        [ann] = await cell.people(1)
        await cell.connect(node, ann)
        await cell.publish(KeyRecord(kid="k1", public_key="", active=False, version=cell.next_version()))

        async def refused_at_last() -> bool:
            client = await cell.open(node, ann)
            await client.socket.send(json.dumps({"type": "connect", "token": cell.token(ann)}))
            await client.is_welcome()
            return client.closed == CLOSES["unauthenticated"].code

        await until(refused_at_last)


# --- the internal API ---------------------------------------------------------------------------------------------


def internal_routes() -> list[tuple[str, str]]:
    """(method, path) of everything there that is not health or metrics."""
    ready = lambda: None  # noqa: E731
    watched = {route.path for route in admin_routes(ready)}
    found = []
    for route in InternalApi("x", ready).app().routes:
        assert isinstance(route, Route), "a kind of route that this test does not know"
        if route.path not in watched:
            found += [(method, route.path) for method in sorted(route.methods or ())]
    return found


async def test_the_internal_api_takes_the_service_token_and_nothing_else(
    fortress: Stack, http: httpx.AsyncClient
) -> None:
    person = await sign_up(http)
    realtime = ok(await person.post("/v1/realtime"))["token"]
    token = fortress.service_token
    wrong = [
        None, "", "Bearer", token, f"Basic {token}", f"bearer {token}", f"Bearer  {token}", f"Bearer {token}x",
        f"Bearer {token[:-1]}", f"Bearer {token.swapcase()}", f"Bearer {person.tokens['access_token']}",
        f"Bearer {realtime}", "Bearer é", f"Bearer {'x' * 10_000}",
    ]  # fmt: skip
    body = {
        "channel": new_entity_id("ch"),
        "sender": person.id,
        "id": new_event_id(),
        "event": {"type": "message.posted", "text": "not mine"},
    }
    routes = internal_routes()
    assert ("POST", "/internal/v1/events") in routes
    async with httpx.AsyncClient(base_url=fortress.internal_url(), timeout=30, trust_env=False) as internal:
        for method, path in routes:
            content = json.dumps(body) if method == "POST" else None
            for header in wrong:
                headers = [] if header is None else [(b"authorization", header.encode())]
                answer = await internal.request(method, path, content=content, headers=headers)
                assert answer.status_code == 401, (method, path, header)
            asked = f"{path}?token={token}&authorization=Bearer%20{token}"
            answer = await internal.request(
                method, asked, content=content, headers={"x-service-token": token}
            )
            assert answer.status_code == 401, (method, path)
            good = await internal.request(
                method, path, content=content, headers={"authorization": f"Bearer {token}"}
            )
            # Past the door: what is lacking in the question is said to who may ask.
            assert good.status_code in (200, 201, 422), (method, path, good.text)
