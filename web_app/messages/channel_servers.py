"""The channel servers, as the web app uses them: one message in, its number or a refusal out."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, TypeVar

import httpx
import msgspec
import structlog

from services.contract.codes import ERRORS
from services.contract.internal import AppendReply, AppendRequest, Problem
from services.runtime.settings import NodeAddress
from web_app import metrics
from web_app.problems import ApiError

PATH: Final = "/internal/v1/events"

CONNECT_TIMEOUT_S: Final = 0.5
ANSWER_TIMEOUT_S: Final = 6.0
"""A node waits up to five seconds for the log, and then says so."""
DEADLINE_S: Final = 10.0
"""For all nodes together."""
AVOID_S: Final = 2.0
"""How long a node that could not be reached is tried last."""

_PASSED_ON: Final = frozenset({
    "invalid_request", "too_large", "archived",
    "expired", "future", "id_reused", "number_unknown", "slow_down", "not_yet", "log_unavailable",
})  # fmt: skip
"""Codes that mean the sender's message. Any other (draining, a wrong service token ...) is about the node."""

Reply = TypeVar("Reply")

log = structlog.get_logger()


class ChannelServers:
    """`append` may be repeated with the same id, by anybody, at any node: the log numbers it once."""

    def __init__(self, nodes: Sequence[NodeAddress], service_token: str) -> None:
        self._nodes = tuple(nodes)
        self._avoid_until = dict.fromkeys((node.name for node in nodes), 0.0)
        self._turn = itertools.count()
        self._http = httpx.AsyncClient(
            headers={"authorization": f"Bearer {service_token}", "content-type": "application/json"},
            timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, pool=1.0),
            limits=httpx.Limits(max_connections=200, max_keepalive_connections=50),
            trust_env=False,
        )

    async def __aenter__(self) -> ChannelServers:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    def websockets(self) -> list[str]:
        """The clients' addresses, beginning with another one each time, so that clients spread."""
        start = next(self._turn)
        return [self._nodes[(start + i) % len(self._nodes)].websocket for i in range(len(self._nodes))]

    async def append(self, request: AppendRequest, request_id: str | None = None) -> AppendReply:
        """The message's number. Raises ApiError with the node's code, or no_channel_server when none answered.

        The outcome of no_channel_server is not known: a node may have appended before it went silent.
        """
        started = time.perf_counter()
        try:
            reply = await self._append(request, request_id)
        except ApiError as error:
            metrics.APPENDS.labels(error.code).inc()
            raise
        else:
            metrics.APPENDS.labels("duplicate" if reply.duplicate else "ok").inc()
            return reply
        finally:
            metrics.APPEND_SECONDS.observe(time.perf_counter() - started)

    async def _append(self, request: AppendRequest, request_id: str | None) -> AppendReply:
        content = msgspec.json.encode(request)
        headers = {"x-request-id": request_id} if request_id else None
        try:
            async with asyncio.timeout(DEADLINE_S):
                for node in self._in_order():
                    answer = await self._ask(node, content, headers)
                    if answer is not None:
                        return answer
        except TimeoutError:
            log.warning("no channel server in time", nodes=len(self._nodes))
        raise ApiError("no_channel_server", retry_after_ms=1000)

    async def ask(
        self,
        method: str,
        path: str,
        reply: type[Reply],
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        node: str | None = None,
    ) -> Reply:
        """Ask any node, or the one of this name. The question must do no harm when it is asked twice.

        Raises ApiError not_found for a name that no node has, invalid_request, no_channel_server.
        """
        chosen = [each for each in self._in_order() if node is None or each.name == node]
        if not chosen:
            raise ApiError("not_found", f"There is no channel server called {node!r}.")
        try:
            async with asyncio.timeout(DEADLINE_S):
                for each in chosen:
                    url = str(each.internal).rstrip("/") + path
                    try:
                        response = await self._http.request(method, url, params=params, content=content)
                    except httpx.TransportError as error:
                        self._failed(each, type(error).__name__)
                        continue
                    if response.status_code == 400:
                        raise ApiError("invalid_request")
                    if response.is_success:
                        return msgspec.json.decode(response.content or b"null", type=reply)
                    self._failed(each, f"status {response.status_code}")
        except (TimeoutError, msgspec.DecodeError) as error:
            log.warning("no answer from a channel server", path=path, error=repr(error))
        raise ApiError("no_channel_server", retry_after_ms=1000)

    def _in_order(self) -> list[NodeAddress]:
        """Each begins with another node; those that were silent a moment ago come last."""
        start = next(self._turn)
        now = time.monotonic()
        turned = [self._nodes[(start + i) % len(self._nodes)] for i in range(len(self._nodes))]
        return sorted(turned, key=lambda node: self._avoid_until[node.name] > now)

    async def _ask(
        self, node: NodeAddress, content: bytes, headers: dict[str, str] | None
    ) -> AppendReply | None:
        """None when this node gave no answer that could be passed on. Raises ApiError with one that can."""
        url = str(node.internal).rstrip("/") + PATH
        try:
            response = await self._http.post(url, content=content, headers=headers)
        except httpx.TransportError as error:
            self._failed(node, type(error).__name__)
            return None
        if response.status_code in (200, 201):
            try:
                return msgspec.json.decode(response.content, type=AppendReply)
            except msgspec.DecodeError:
                self._failed(node, "an answer that is none")
                return None
        try:
            problem = msgspec.json.decode(response.content, type=Problem)
        except msgspec.DecodeError:
            self._failed(node, f"status {response.status_code} without a problem")
            return None
        if problem.code not in _PASSED_ON or problem.code not in ERRORS:
            self._failed(node, problem.code)
            return None
        raise ApiError(
            problem.code,
            problem.detail,
            retry_after_ms=problem.retry_after_ms,
            head=problem.head,
            now=problem.now,
        )

    def _failed(self, node: NodeAddress, reason: str) -> None:
        log.warning("channel server gave no answer", node=node.name, reason=reason)
        metrics.APPEND_ATTEMPTS_FAILED.labels(node.name).inc()
        self._avoid_until[node.name] = time.monotonic() + AVOID_S
