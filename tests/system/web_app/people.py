"""The web app as its users meet it: people with tokens, and what they can ask for."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import httpx

from services.contract.ids import new_event_id

PASSWORD = "correct horse battery"

_numbers = itertools.count(1)


def unique(stem: str) -> str:
    return f"{stem}-{next(_numbers)}"


@dataclass
class Person:
    """Somebody logged in; requests raise nothing, they give the response."""

    http: httpx.AsyncClient
    id: str
    email: str
    workspace_slug: str
    tokens: dict[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.tokens['access_token']}"}

    @property
    def session_id(self) -> str:
        return str(self.tokens["session_id"])

    async def ask(
        self, method: str, path: str, body: object = None, *, key: str | None = None, **params: object
    ) -> httpx.Response:
        headers = self.headers | ({"idempotency-key": key} if key else {})
        wanted: dict[str, Any] = {name: value for name, value in params.items() if value is not None}
        return await self.http.request(method, path, json=body, params=wanted, headers=headers)

    async def get(self, path: str, **params: Any) -> httpx.Response:
        return await self.ask("GET", path, **params)

    async def post(self, path: str, body: object = None, *, key: str | None = None) -> httpx.Response:
        return await self.ask("POST", path, body, key=key)

    async def new_channel(self, kind: str = "public", name: str | None = None) -> str:
        """The new channel's id."""
        made = ok(await self.post("/v1/channels", {"kind": kind, "name": name or unique("channel")}), 201)
        return str(made["channel"]["id"])

    async def add(self, channel_id: str, *people: Person) -> dict[str, Any]:
        return ok(
            await self.post(f"/v1/channels/{channel_id}/members", {"user_ids": [each.id for each in people]})
        )


async def sign_up(http: httpx.AsyncClient, slug: str | None = None) -> Person:
    """The owner of a new workspace."""
    slug = slug or unique("team")
    body = {
        "workspace_slug": slug,
        "workspace_name": "A Team",
        "name": "Olga Owner",
        "email": "olga@example.com",
        "password": PASSWORD,
    }
    return _person(http, ok(await http.post("/v1/workspaces", json=body), 201))


async def join(owner: Person, role: str = "member", name: str = "Mike Member") -> Person:
    """Somebody new in the owner's workspace, by invitation."""
    invited = ok(await owner.post("/v1/invites", {"email": f"{unique(role)}@example.com", "role": role}), 201)
    body = {"token": invited["token"], "name": name, "password": PASSWORD}
    return _person(owner.http, ok(await owner.http.post("/v1/invites/accept", json=body), 201))


async def log_in(person: Person, device: str = "") -> Person:
    """The same person, in another session."""
    body = {
        "workspace_slug": person.workspace_slug,
        "email": person.email,
        "password": PASSWORD,
        "device": device,
    }
    return _person(person.http, ok(await person.http.post("/v1/auth/login", json=body)))


def _person(http: httpx.AsyncClient, reply: dict[str, Any]) -> Person:
    return Person(
        http, reply["user"]["id"], reply["user"]["email"], reply["workspace"]["slug"], reply["tokens"]
    )


def ok(response: httpx.Response, status: int = 200) -> dict[str, Any]:
    """The answer's JSON, if it has this status."""
    assert response.status_code == status, (
        f"{response.request.method} {response.request.url}: {response.text}"
    )
    answer = response.json()
    assert isinstance(answer, dict)
    return answer


def refused(response: httpx.Response, code: str) -> dict[str, Any]:
    """The problem, if it has this code; and whether it is one as RFC 9457 has it."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem: dict[str, Any] = response.json()
    assert problem["code"] == code, f"{response.request.method} {response.request.url}: {response.text}"
    assert problem["status"] == response.status_code
    assert problem["type"] == f"urn:lockstep:error:{code}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == response.headers["x-request-id"]
    return problem


__all__ = ["PASSWORD", "Person", "join", "log_in", "new_event_id", "ok", "refused", "sign_up", "unique"]
