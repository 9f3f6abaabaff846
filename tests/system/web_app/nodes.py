"""A channel server's internal API, as small as it can be: it numbers what it is handed, over real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.contract.codes import ERRORS
from services.contract.internal import (
    AppendReply,
    AppendRequest,
    ConnectionPage,
    NodeInfo,
    NodeList,
    Problem,
    UserPresence,
)
from services.runtime.admin import serving


@dataclass
class Log:
    """What several nodes share: the numbers that were given."""

    by_id: dict[tuple[str, str, str], int] = field(default_factory=dict)
    heads: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    bodies: list[tuple[AppendRequest, str | None]] = field(default_factory=list)

    def number(self, request: AppendRequest) -> tuple[int, bool]:
        key = (request.channel, request.sender, request.id)
        if key in self.by_id:
            return self.by_id[key], True
        self.heads[request.channel] += 1
        self.by_id[key] = self.heads[request.channel]
        return self.by_id[key], False


@dataclass
class Node:
    """`refuse_with`: a problem to answer with. `lose_answers`: number the message, then fail. `silent`: answer only
    when released. `answer_with`: these bytes and status 200.
    """

    log: Log
    service_token: str
    url: str = ""
    refuse_with: Problem | None = None
    lose_answers: bool = False
    silent: bool = False
    answer_with: bytes | None = None
    asked: int = 0
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def append(self, request: Request) -> Response:
        self.asked += 1
        if request.headers.get("authorization") != f"Bearer {self.service_token}":
            return self._problem(problem("unauthenticated"))
        wanted = msgspec.json.decode(await request.body(), type=AppendRequest)
        if self.silent:
            await self.release.wait()
        if self.refuse_with is not None:
            return self._problem(self.refuse_with)
        if self.answer_with is not None:
            return Response(self.answer_with, 200)
        seq, duplicate = self.log.number(wanted)
        self.log.bodies.append((wanted, request.headers.get("x-request-id")))
        if self.lose_answers:
            raise ConnectionAbortedError("the answer is lost")
        reply = AppendReply(
            epoch=1, channel=wanted.channel, id=wanted.id, seq=seq, at=1_767_605_400_000, duplicate=duplicate
        )
        return Response(msgspec.json.encode(reply), 201, media_type="application/json")

    async def presence(self, request: Request) -> Response:
        """Nobody is connected here."""
        if request.method == "POST":
            return Response(status_code=202)
        user = request.query_params["user"]
        return self._json(UserPresence(user=user, state="offline", away=False, sessions=()))

    async def nodes(self, request: Request) -> Response:
        return self._json(NodeList(items=(NodeInfo(name="node-1", heard_seconds=0.1, people=0),)))

    async def connections(self, request: Request) -> Response:
        return self._json(ConnectionPage(items=(), total=0, next_cursor=None))

    @staticmethod
    def _json(content: object) -> Response:
        return Response(msgspec.json.encode(content), 200, media_type="application/json")

    @staticmethod
    def _problem(content: Problem) -> Response:
        return Response(msgspec.json.encode(content), content.status, media_type="application/problem+json")


def problem(code: str, **more: int) -> Problem:
    error = ERRORS[code]
    return Problem(
        type="about:blank", title=error.meaning, status=error.status, code=code, detail=f"told {code}", **more
    )


@contextlib.asynccontextmanager
async def node(log: Log, service_token: str) -> AsyncIterator[Node]:
    """A node on a port of its own."""
    made = Node(log, service_token)

    app = Starlette(
        routes=[
            Route("/internal/v1/events", made.append, methods=["POST"]),
            Route("/internal/v1/presence", made.presence, methods=["GET", "POST"]),
            Route("/internal/v1/nodes", made.nodes),
            Route("/internal/v1/connections", made.connections),
        ]
    )
    async with serving(app, "127.0.0.1", 0) as port:
        made.url = f"http://127.0.0.1:{port}"
        yield made
        made.release.set()
