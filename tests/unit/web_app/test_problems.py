"""Problems and what surrounds every request, without a database: an application of three routes."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from services.contract.codes import ERRORS
from web_app import problems
from web_app.fields import Body, Email, Name, OpaqueToken
from web_app.observation import MAX_BODY_BYTES, Observation
from web_app.problems import ApiError


class Sent(Body):
    name: Name | None = None
    email: Email | None = None
    secret: OpaqueToken | None = None


def application() -> FastAPI:
    router = APIRouter()

    @router.post("/things")
    async def take(sent: Sent) -> dict[str, Any]:
        return {"name": sent.name, "email": sent.email}

    @router.get("/defect")
    async def defect() -> None:
        raise RuntimeError("a secret of ours")

    @router.get("/refused/{code}")
    async def refused(code: str, retry_after_ms: int | None = None) -> None:
        raise ApiError(code, retry_after_ms=retry_after_ms)

    app = FastAPI()
    app.include_router(router)
    problems.install(app, [route for route in router.routes if isinstance(route, APIRoute)])
    app.add_middleware(Observation)
    return app


@pytest.fixture
async def http() -> httpx.AsyncClient:
    transport = httpx.ASGITransport(application(), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


@pytest.mark.parametrize("code", sorted(ERRORS))
async def test_every_code_has_its_status_and_says_what_to_do(http: httpx.AsyncClient, code: str) -> None:
    answer = await http.get(f"/refused/{code}")
    problem = answer.json()
    assert answer.status_code == problem["status"] == ERRORS[code].status
    assert answer.headers["content-type"] == "application/problem+json"
    assert (problem["code"], problem["type"]) == (code, f"urn:lockstep:error:{code}")
    assert problem["next"] == ERRORS[code].next
    assert problem["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(("ms", "seconds"), [(1, "1"), (1000, "1"), (1001, "2"), (60_000, "60")])
async def test_retry_after_is_in_whole_seconds_and_never_too_early(
    http: httpx.AsyncClient, ms: int, seconds: str
) -> None:
    answer = await http.get("/refused/slow_down", params={"retry_after_ms": ms})
    assert answer.headers["retry-after"] == seconds
    assert answer.json()["retry_after_ms"] == ms


async def test_a_defect_tells_nothing_but_its_request_id(http: httpx.AsyncClient) -> None:
    answer = await http.get("/defect")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "secret" not in answer.text


async def test_faults_name_the_field_and_not_the_value(http: httpx.AsyncClient) -> None:
    answer = await http.post("/things", json={"secret": "short-secret", "name": "", "extra": "short-secret"})
    problem = answer.json()
    assert {fault["field"] for fault in problem["errors"]} == {"body.secret", "body.name", "body.extra"}
    assert "short-secret" not in answer.text


@pytest.mark.parametrize(
    "raw", ['"\\u0000"', '"\\ud800"', '"a\\nb"', '"a\\u2028b"', '" "', '"' + "x" * 81 + '"', "1", '["x"]']
)
async def test_names_that_are_none(http: httpx.AsyncClient, raw: str) -> None:
    headers = {"content-type": "application/json"}
    answer = await http.post("/things", content=f'{{"name": {raw}}}', headers=headers)
    assert answer.json()["code"] == "invalid_request", raw


async def test_names_are_trimmed_and_may_be_of_any_script(http: httpx.AsyncClient) -> None:
    answer = await http.post("/things", json={"name": " 日本 🎉 علي "})
    assert answer.json()["name"] == "日本 🎉 علي"


@pytest.mark.parametrize("email", ["ada@acme.test", "Ada.L@EXAMPLE.com", "ü@exämple.com"])
async def test_addresses_also_of_try_outs(http: httpx.AsyncClient, email: str) -> None:
    answer = await http.post("/things", json={"email": email})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "email", ["ada", "ada@", "@acme.test", "a b@acme.test", "a@b@c.test", "a\u0000@b.test", "x" * 255]
)
async def test_addresses_that_are_none(http: httpx.AsyncClient, email: str) -> None:
    answer = await http.post("/things", json={"email": email})
    assert answer.json()["code"] == "invalid_request"


async def test_the_largest_body_passes_and_one_byte_more_does_not(http: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json"}
    body = json.dumps({"name": "x"})
    padded = body + " " * (MAX_BODY_BYTES - len(body))
    assert (await http.post("/things", content=padded, headers=headers)).status_code == 200
    assert (await http.post("/things", content=padded + " ", headers=headers)).json()["code"] == "too_large"


async def test_a_body_of_another_kind_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.post("/things", content='{"name":"x"}', headers={"content-type": "text/plain"})
    assert answer.json()["code"] == "invalid_request"


@pytest.mark.parametrize(
    ("sent", "kept"), [("abcdef-0123", True), ("short", False), ("x" * 65, False), ("with space here", False)]
)
async def test_request_ids_of_clients_are_kept_when_they_are_harmless(
    http: httpx.AsyncClient, sent: str, kept: bool
) -> None:
    answer = await http.post("/things", json={}, headers={"x-request-id": sent})
    assert (answer.headers["x-request-id"] == sent) == kept


async def test_methods_of_an_address_are_named(http: httpx.AsyncClient) -> None:
    answer = await http.get("/things")
    assert answer.json()["code"] == "method_not_allowed"
    assert answer.headers["allow"] == "POST"
