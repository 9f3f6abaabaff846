"""Whatever the REST API offers, the client library has a method for; and none that the API does not have."""

from __future__ import annotations

import inspect
import random
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import httpx

from client.errors import ApiError
from client.rest import RestClient
from client.tokens import MemoryTokens, Tokens
from web_app.main import build_api

PATHS: Final[Mapping[str, Mapping[str, Any]]] = build_api().openapi()["paths"]
ROUTES: Final = [
    (method.upper(), path, re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)))
    for path, item in PATHS.items()
    for method in item
    if method in ("get", "post", "put", "patch", "delete")
]
NOT_OF_THE_API: Final = {"aclose", "call"}
BY_ITSELF: Final = {("POST", "/v1/auth/refresh")}
"""Called when an access token has run out, whatever the method."""


def methods() -> Iterator[tuple[str, Any]]:
    for name, member in inspect.getmembers(RestClient):
        asynchronous = inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)
        if asynchronous and not name.startswith("_") and name not in NOT_OF_THE_API:
            yield name, member


def something(kind: Any) -> Any:
    """A value of an annotated type; of a union, of its first member."""
    origin = typing.get_origin(kind)
    if origin is not None and type(None) in typing.get_args(kind):
        kind = typing.get_args(kind)[0]
        origin = typing.get_origin(kind)
    if origin in (Sequence, list, tuple):
        return [something(typing.get_args(kind)[0])]
    if origin in (Mapping, dict):
        return {something(typing.get_args(kind)[0]): something(typing.get_args(kind)[1])}
    if origin is typing.Literal:
        return typing.get_args(kind)[0]
    return kind("7") if kind in (str, int, float) else kind()


async def asked_by(method: Any, *, everything: bool) -> list[tuple[str, str]]:
    """The requests (method, path) of a call with made-up arguments, those that may be left out too if `everything`; each is
    answered 404."""
    asked: list[tuple[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path))
        body = {"type": "urn", "title": "t", "status": 404, "code": "not_found", "detail": "d"}
        return httpx.Response(404, json=body)

    tokens = MemoryTokens(Tokens(access_token="a", refresh_token="r", expires_at=2**40))
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    rest = RestClient("http://test", tokens, http=http, rng=random.Random(1))
    kinds = typing.get_type_hints(method)
    arguments = {
        name: something(kinds[name])
        for name, parameter in inspect.signature(method).parameters.items()
        if name != "self" and (everything or parameter.default is inspect.Parameter.empty)
    }
    try:
        begun = method(rest, **arguments)
        if inspect.isasyncgen(begun):
            await anext(begun)
        else:
            await begun
    except ApiError:
        pass
    return asked


async def test_every_endpoint_has_a_method_and_every_method_an_endpoint() -> None:
    reached: set[tuple[str, str]] = set()
    for name, method in methods():
        asked = await asked_by(method, everything=False) + await asked_by(method, everything=True)
        assert asked, f"{name} asked nothing"
        for verb, path in asked:
            found = [(v, p) for v, p, pattern in ROUTES if v == verb and pattern.fullmatch(path)]
            assert found, f"{name} asks {verb} {path}, which there is not"
            # A fixed path goes before one with a name in it, as the router has it.
            reached.add(min(found, key=lambda route: route[1].count("{")))
    assert {(verb, path) for verb, path, _ in ROUTES} - reached == BY_ITSELF
