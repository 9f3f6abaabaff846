"""The web app as a process: starting, stopping, refusing to start, its health, metrics and logs."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local import secrets
from deploy.local.ports import free_ports
from tests.stack.process import Process
from tests.stack.servers import Database
from tests.stack.waiting import until
from tests.system.web_app.conftest import WebProcess, addresses, environment_for
from tests.system.web_app.nodes import Node
from tests.system.web_app.people import PASSWORD, ok, refused, sign_up


@pytest.fixture
async def http(web_process: WebProcess) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=web_process.url, trust_env=False, timeout=60)


async def test_it_serves(http: httpx.AsyncClient) -> None:
    async with http:
        assert (await http.get("/health/live")).json() == {"status": "live"}
        assert (await http.get("/health/ready")).json() == {"status": "ready"}
        owner = await sign_up(http)
        channel = await owner.new_channel()
        ok(await owner.post(f"/v1/channels/{channel}/messages", {"text": "over real HTTP"}), 201)
        described = ok(await http.get("/v1/openapi.json"))
        assert "/v1/channels/{channel_id}/messages" in described["paths"]


async def test_a_body_that_is_too_large_is_refused_with_and_without_its_length_told(
    http: httpx.AsyncClient,
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(300):
            yield b" " * 1024

    async with http:
        headers = {"content-type": "application/json"}
        refused(await http.post("/v1/auth/login", content=b" " * 300_000, headers=headers), "too_large")
        refused(await http.post("/v1/auth/login", content=pieces(), headers=headers), "too_large")
        body = {"workspace_slug": "abc", "email": "a@example.com", "password": "x"}
        refused(await http.post("/v1/auth/login", json=body), "invalid_credentials")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000, b"1" * 5_000]
)
async def test_what_is_no_json_object_is_refused(http: httpx.AsyncClient, content: bytes) -> None:
    async with http:
        answer = await http.post(
            "/v1/auth/login", content=content, headers={"content-type": "application/json"}
        )
        refused(answer, "invalid_request")


async def test_addresses_and_methods_that_there_are_not(http: httpx.AsyncClient) -> None:
    async with http:
        refused(await http.get("/v1/nothing"), "not_found")
        refused(await http.get("/"), "not_found")
        answer = await http.put("/v1/channels")
        refused(answer, "method_not_allowed")
        assert answer.headers["allow"] == "GET, POST"


async def test_request_ids_come_back_and_are_logged_and_secrets_are_not(
    http: httpx.AsyncClient, web_process: WebProcess
) -> None:
    async with http:
        given = await http.get("/v1/me", headers={"x-request-id": "my-request-0001"})
        assert given.headers["x-request-id"] == "my-request-0001"
        assert refused(given, "unauthenticated")["request_id"] == "my-request-0001"
        made = await http.get("/v1/me", headers={"x-request-id": "no good\x7f"})
        assert len(made.headers["x-request-id"]) == 32
        owner = await sign_up(http)
        assert (await owner.post("/v1/auth/logout")).status_code == 204
        channel_path = "/v1/channels/{channel_id}"
        await owner.get(f"/v1/channels/ch_{'0' * 32}")

    def requests_logged() -> list[dict[str, Any]]:
        lines = web_process.process.log.read_text().splitlines()
        return [line for line in map(json.loads, filter(_is_whole, lines)) if line["event"] == "request"]

    # A request is logged once it has been answered.
    await until(lambda: requests_logged()[-1]["route"] == channel_path, what="the last request is logged")
    requests = requests_logged()
    [mine] = [line for line in requests if line["request_id"] == "my-request-0001"]
    assert (mine["route"], mine["method"], mine["status"], mine["code"]) == (
        "/v1/me",
        "GET",
        401,
        "unauthenticated",
    )
    assert mine["ms"] >= 0
    everything = web_process.process.log.read_text()
    for secret in (PASSWORD, owner.tokens["access_token"], owner.tokens["refresh_token"], owner.email):
        assert secret not in everything


def _is_whole(line: str) -> bool:
    return line.startswith("{") and line.endswith("}")


async def test_metrics(http: httpx.AsyncClient) -> None:
    async with http:
        await http.get("/v1/nothing/at/all")
        await http.request("BREW", "/v1/me")
        text = (await http.get("/metrics")).text
    assert 'lockstep_web_requests_total{code="not_found",method="GET",route="unmatched",status="404"}' in text
    assert 'method="other"' in text
    assert "BREW" not in text
    assert 'lockstep_web_request_seconds_bucket{le="0.005",method="GET",route="/health/ready"}' in text
    for line in text.splitlines():
        if line.startswith("# HELP lockstep_web_"):
            assert line.rstrip().endswith("."), line


async def test_answers_are_not_to_be_kept_or_sniffed(http: httpx.AsyncClient) -> None:
    async with http:
        answer = await http.get("/v1/me")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_it_stops_in_order(web_process: WebProcess) -> None:
    assert await web_process.process.stop() == 0
    await web_process.process.start(60)


def _process(folder: Path, environment: dict[str, str]) -> Process:
    return Process(
        "web_app", [sys.executable, "-m", "web_app"], folder / "refused.log", environment=environment
    )


async def test_it_says_what_it_lacks_and_exits_with_78(
    folder: Path, web_database: Database, secrets_dir: Path, shared_node: Node
) -> None:
    [port] = free_ports(1)
    whole = environment_for(web_database, secrets_dir, port, addresses(shared_node))
    bare = folder / "bare"
    secrets.make(bare)
    (bare / "signing_keys" / "key-1.pem").unlink()
    cases = [
        ({"LOCKSTEP_NODES": "[]"}, "LOCKSTEP_NODES: name at least one channel server"),
        ({"LOCKSTEP_SECRETS_DIR": str(bare)}, "`python -m web_app keys add` makes one"),
        ({"LOCKSTEP_WEB_LOGIN_LIMIT": "often"}, "LOCKSTEP_WEB_LOGIN_LIMIT"),
    ]
    processes = [(_process(folder, whole | changed), sentence) for changed, sentence in cases]
    for process, _ in processes:
        process.spawn()
    for process, sentence in processes:
        assert await process.wait() == 78
        assert sentence in process.tail(10_000)


async def test_a_port_in_use_ends_the_start(
    folder: Path, web_process: WebProcess, web_database: Database, secrets_dir: Path, shared_node: Node
) -> None:
    port = int(web_process.url.rpartition(":")[2])
    process = _process(folder, environment_for(web_database, secrets_dir, port, addresses(shared_node)))
    process.spawn()
    assert await process.wait() != 0
    assert "in use" in process.tail()


async def test_a_stop_lets_a_request_that_is_under_way_finish(
    web_process: WebProcess, shared_node: Node
) -> None:
    async with httpx.AsyncClient(base_url=web_process.url, trust_env=False, timeout=60) as http:
        owner = await sign_up(http)
        path = f"/v1/channels/{await owner.new_channel()}/messages"
        shared_node.release.clear()
        shared_node.silent = True
        asked = shared_node.asked
        try:
            posting = asyncio.create_task(owner.post(path, {"text": "x"}))
            await until(lambda: shared_node.asked > asked, what="the message is on its way")
            web_process.process.kill(signal.SIGTERM)
            await until(lambda: _refuses(web_process.url), what="nobody new is let in")
        finally:
            shared_node.silent = False
            shared_node.release.set()
        ok(await posting, 201)
    assert await web_process.process.wait() == 0
    await web_process.process.start(60)


async def _refuses(url: str) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            await http.get(f"{url}/health/live")
    except httpx.ConnectError:
        return True
    except httpx.TransportError:
        pass  # closed just as it came in: the next one tells
    return False
