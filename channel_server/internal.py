"""The internal API: appending for web_app, a look at the connections; health and metrics on the same listener."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import get_args

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from channel_server.connections import MAX_CURSOR, MAX_PAGE, STATES, page_of
from channel_server.core.node import Node
from channel_server.core.sends import Accepted, Answer, LogFailed, Refusal
from services.contract.codes import ERRORS
from services.contract.events import (
    Event,
    MessageRedacted,
    UnknownEvent,
    encode_event,
    read_event,
    shown_body,
)
from services.contract.internal import (
    AppendReply,
    AppendRequest,
    NodeInfo,
    NodeList,
    Problem,
    SessionInfo,
    SetPresence,
    UserPresence,
)
from services.contract.notices import NOTICE_KINDS, addressed, decode_notice, encode_notice
from services.runtime.admin import Readiness, admin_routes

MAX_BODY = 256 * 1024

ANSWER_SECONDS = 5.0
"""How long a request waits for the number; less than its caller does."""

log = structlog.get_logger()

_decoder = msgspec.json.Decoder(AppendRequest)
_presence_decoder = msgspec.json.Decoder(SetPresence)
_KNOWN = frozenset(str(kind.__struct_config__.tag) for kind in get_args(Event))


class _Answered:
    """`core.sends.Waiter` for one request."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def answered(self, channel: str, id: str, answer: Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)


class InternalApi:
    """Serves a node once there is one; until then only health and metrics."""

    def __init__(self, service_token: str, ready: Readiness) -> None:
        self.node: Node | None = None
        self._expected = f"Bearer {service_token}".encode()
        self._ready = ready

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/internal/v1/events", self._guarded(self._append), methods=["POST"]),
                Route("/internal/v1/connections", self._guarded(self._connections), methods=["GET"]),
                Route("/internal/v1/presence", self._guarded(self._presence), methods=["GET"]),
                Route("/internal/v1/presence", self._guarded(self._set_presence), methods=["POST"]),
                Route("/internal/v1/nodes", self._guarded(self._nodes), methods=["GET"]),
                *admin_routes(self._ready),
            ],
            exception_handlers={HTTPException: _http_problem},
        )

    def _guarded(
        self, endpoint: Callable[[Request, Node], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            given = request.headers.get("authorization", "").encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(given, self._expected):
                return problem("unauthenticated", "this API takes the service token")
            if self.node is None:
                return problem("draining", "this node is starting")
            return await endpoint(request, self.node)

        return guarded

    async def _append(self, request: Request, node: Node) -> Response:
        body = await _read(request)
        if body is None:
            return problem("too_large", f"at most {MAX_BODY} bytes")
        try:
            wanted = _decoder.decode(body)
        except (msgspec.DecodeError, UnicodeError) as error:
            return problem("invalid_request", str(error))
        except RecursionError:
            return problem("invalid_request", "nested too deep")
        is_notice = wanted.channel in node.state.directory.stream_names
        if not is_notice and shown_body(bytes(wanted.event))[0] in NOTICE_KINDS:
            # Of a workspace so new that nobody of it has arrived here.
            late = Refusal("not_yet", "the workspace has not arrived here yet", retry_after_ms=500)
            return _refused(node, late)
        value = (normal_notice if is_notice else normal)(bytes(wanted.event))
        if value is None:
            return problem("invalid_request", "`event` breaks the shape of its type")
        waiter = _Answered()
        answer: Answer | None = node.post(wanted.channel, wanted.sender, wanted.id, value, waiter)
        if answer is None:
            try:
                answer = await asyncio.wait_for(waiter.answer, ANSWER_SECONDS)
            except TimeoutError:
                answer = LogFailed()
        if isinstance(answer, Accepted):
            reply = AppendReply(
                epoch=node.state.epoch,
                channel=wanted.channel,
                id=wanted.id,
                seq=answer.seq,
                at=answer.at,
                duplicate=answer.duplicate,
            )
            return _json(reply, HTTPStatus.CREATED)
        if isinstance(answer, LogFailed):
            answer = Refusal(
                "log_unavailable",
                "the log's answer is not known; retry under the same id",
                retry_after_ms=1000,
            )
        return _refused(node, answer)

    async def _connections(self, request: Request, node: Node) -> Response:
        """A page of the open connections, the worst off first."""
        asked = request.query_params
        state = asked.get("state")
        try:
            limit, cursor = int(asked.get("limit", "100")), int(asked.get("cursor", "0"))
        except ValueError:
            return problem("invalid_request", "`limit` and `cursor` are numbers")
        if not (1 <= limit <= MAX_PAGE and 0 <= cursor <= MAX_CURSOR):
            return problem("invalid_request", f"`limit` is 1 to {MAX_PAGE}, `cursor` at most {MAX_CURSOR}")
        if state is not None and state not in STATES:
            return problem("invalid_request", f"`state` is one of {', '.join(STATES)}")
        page = await page_of(
            node,
            limit=limit,
            cursor=cursor,
            state=state,
            user=asked.get("user"),
            workspace=asked.get("workspace"),
        )
        return _json(page)

    async def _presence(self, request: Request, node: Node) -> Response:
        """What the registry knows of one person."""
        user = request.query_params.get("user", "")
        registry = node.state.company.presence.registry
        sessions = tuple(
            SessionInfo(
                session=where.session.session,
                node=where.node,
                device=where.session.device,
                address=where.session.address,
                since=where.session.since,
                active=where.session.active,
            )
            for where in registry.whereabouts(user)
        )
        return _json(
            UserPresence(
                user=user, state=registry.state(user), away=registry.is_away(user), sessions=sessions
            )
        )

    async def _set_presence(self, request: Request, node: Node) -> Response:
        """A person says whether they are away."""
        body = await _read(request)
        try:
            wanted = _presence_decoder.decode(body or b"")
        except (msgspec.DecodeError, UnicodeError) as error:
            return problem("invalid_request", str(error))
        node.state.company.presence.set_away(wanted.user, wanted.away, node.state.clock.wall_ms())
        return Response(status_code=HTTPStatus.ACCEPTED)

    async def _nodes(self, request: Request, node: Node) -> Response:
        """The living nodes."""
        known = node.state.company.presence.registry.nodes(node.state.clock.monotonic())
        items = tuple(
            NodeInfo(name=name, heard_seconds=round(heard, 1), people=people) for name, heard, people in known
        )
        return _json(NodeList(items=items))


def normal(event: bytes) -> bytes | None:
    """The one spelling of an event of a known kind, so that a retry by another way has the same digest.

    A kind that this release does not know passes as it is; None: not an event, or not of its type's shape.
    """
    read = read_event(event)
    if isinstance(read, MessageRedacted):
        return None
    if not isinstance(read, UnknownEvent):
        return encode_event(read)
    kind = shown_body(event)[0]
    return None if kind == "unreadable" or kind in _KNOWN else event


def normal_notice(notice: bytes) -> bytes | None:
    """The same for what goes into a stream of notices; None also for what addresses nobody."""
    if addressed(notice) is None:
        return None
    try:
        return encode_notice(decode_notice(notice))
    except msgspec.DecodeError:
        return None if shown_body(notice)[0] in NOTICE_KINDS else notice


async def _read(request: Request) -> bytes | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            return None
    return bytes(body)


def _refused(node: Node, refusal: Refusal) -> Response:
    node.state.count_refusal(refusal)
    return problem(refusal.code, refusal.message, refusal)


def problem(code: str, detail: str, refusal: Refusal | None = None) -> Response:
    """A problem detail (RFC 9457) with one of `contract.codes.ERRORS`."""
    error = ERRORS[code]
    status = HTTPStatus(error.status)
    content = Problem(
        type="about:blank",
        title=status.phrase,
        status=error.status,
        code=code,
        detail=detail,
        head=refusal.head if refusal else None,
        now=refusal.now if refusal else None,
        retry_after_ms=refusal.retry_after_ms if refusal else None,
    )
    response = _json(content, status, "application/problem+json")
    if content.retry_after_ms is not None:
        response.headers["Retry-After"] = str(-(-content.retry_after_ms // 1000))
    return response


def _json(
    content: object, status: HTTPStatus = HTTPStatus.OK, media_type: str = "application/json"
) -> Response:
    return Response(msgspec.json.encode(content), status, media_type=media_type)


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = "method_not_allowed" if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else "not_found"
    return problem(code, str(error.detail))
