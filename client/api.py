"""One REST call, done well: tokens, typed replies, typed errors, and repeats only where a repeat is safe."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx
import msgspec

from client.backoff import delay_s
from client.errors import ApiError, LockstepError, NotLoggedIn, UnexpectedReply, Unreachable
from client.records import Page, TokenReply
from client.tokens import MemoryTokens, Tokens, TokenStore
from services.contract.codes import ERRORS

T = TypeVar("T")

PAGE: Final = 200
"""The most that one page of anything holds."""

_REFRESH_TIMEOUT_S: Final = 10.0
"""The server takes a refresh token once more only for a minute, so an answer must not be waited for too long."""

_EARLY_S: Final = 10.0  # an access token that ends so soon is refreshed before it is used
_LOGIN_AGAIN: Final = frozenset({"refresh_invalid", "refresh_reused"})


class _Problem(msgspec.Struct):
    code: str
    detail: str = ""
    retry_after_ms: int | None = None
    head: int | None = None
    now: int | None = None
    request_id: str | None = None


class Api:
    """Calls to one server as one person.

    tokens      where the login's tokens are; they are refreshed there when the access token has ended
    http        an httpx client to share; without one, the Api makes its own and closes it
    patience_s  how long a call that may be repeated is repeated, when the server cannot answer for now
    """

    def __init__(
        self,
        base_url: str,
        tokens: TokenStore | None = None,
        *,
        http: httpx.AsyncClient | None = None,
        patience_s: float = 10.0,
        rng: random.Random | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.tokens: TokenStore = tokens if tokens is not None else MemoryTokens()
        self._own_http = http is None
        # Loading the certificate store takes 20 ms and more; it is of no use to a plain address.
        self._http = http or httpx.AsyncClient(verify=not base_url.startswith("http://"), timeout=20.0)
        self._patience_s = patience_s
        self._rng = rng or random.Random()
        self._refreshing: asyncio.Task[Tokens] | None = None
        self._closing = False

    async def _pages(self, path: str, page: type[Page[T]], **params: str) -> AsyncIterator[T]:
        cursor: str | None = None
        while True:
            reply = await self.call("GET", path, page, params={**params, "limit": PAGE, "cursor": cursor})
            for item in reply.items:
                yield item
            cursor = reply.next_cursor
            if cursor is None:
                return

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close connections, after a refresh that is under way."""
        self._closing = True
        if self._refreshing is not None and not self._refreshing.done():
            await asyncio.wait({self._refreshing})
        if self._own_http:
            await self._http.aclose()

    async def call(
        self,
        method: str,
        path: str,
        reply: type[T],
        *,
        body: Mapping[str, object] | None = None,
        params: Mapping[str, object] | None = None,
        public: bool = False,
        repeatable: bool | None = None,
        key: str | None = None,
        patience_s: float | None = None,
    ) -> T:
        """Do one request and give its typed answer.

        public      needs no login
        repeatable  doing it twice does no harm: it is repeated also when its outcome is unknown. By default, GETs
                    and whatever has a `key`
        key         a UUIDv7 sent as Idempotency-Key, the same on every repeat

        Raises ApiError (NotLoggedIn for a missing or ended login), Unreachable, UnexpectedReply.
        """
        if repeatable is None:
            repeatable = method == "GET" or key is not None
        patience = self._patience_s if patience_s is None else patience_s
        deadline = time.monotonic() + patience
        attempt = 0
        while True:
            try:
                return await self._authorized(method, path, reply, body, params, public, key)
            except _Unsent as error:
                failure: ApiError | Unreachable = Unreachable(str(error))
            except Unreachable as error:
                if not repeatable:
                    raise
                failure = error
            except ApiError as error:
                if not error.retry:
                    raise
                failure = error
            dictated = failure.retry_after_ms if isinstance(failure, ApiError) else None
            pause = delay_s(attempt, self._rng, dictated_ms=dictated)
            if time.monotonic() + pause >= deadline:
                raise failure
            attempt += 1
            await asyncio.sleep(pause)

    async def _authorized(
        self,
        method: str,
        path: str,
        reply: type[T],
        body: Mapping[str, object] | None,
        params: Mapping[str, object] | None,
        public: bool,
        key: str | None,
    ) -> T:
        headers = {} if key is None else {"idempotency-key": key}
        if public:
            return await self._request(method, path, reply, body, params, headers)
        tokens = self.tokens.load()
        if tokens is None:
            raise not_logged_in()
        if tokens.expires_at - _EARLY_S < time.time():
            tokens = await self._refresh(tokens)
        headers["authorization"] = f"Bearer {tokens.access_token}"
        try:
            return await self._request(method, path, reply, body, params, headers)
        except ApiError as error:
            if error.code != "unauthenticated":
                raise
        tokens = await self._refresh(tokens)
        headers["authorization"] = f"Bearer {tokens.access_token}"
        try:
            return await self._request(method, path, reply, body, params, headers)
        except ApiError as error:
            if error.code == "unauthenticated":
                raise not_logged_in(error) from error
            raise

    async def _refresh(self, stale: Tokens) -> Tokens:
        """New tokens instead of `stale`: one refresh for all who ask meanwhile.

        It is a task of its own, because it must not be broken off: a refresh token is used up when the server has
        seen it, and if the answer were thrown away the login would be lost.
        """
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh_now(stale), name="refresh tokens")
            self._refreshing.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._refreshing)

    async def _refresh_now(self, stale: Tokens) -> Tokens:
        async with self.tokens.exclusive():
            current = self.tokens.load()
            if current is None:
                raise not_logged_in()
            if current.access_token != stale.access_token:
                return current  # another client of this store has refreshed meanwhile
            try:
                answer = await self._exchanged(current.refresh_token)
            except ApiError as error:
                if error.code not in _LOGIN_AGAIN and error.code != "unauthenticated":
                    raise
                newest = self.tokens.load()
                if newest is not None and newest.refresh_token != current.refresh_token:
                    return newest  # of somebody who shares the store, but not its lock
                raise not_logged_in(error) from error
            fresh = tokens_of(answer)
            self.tokens.save(fresh)
            return fresh

    async def _exchanged(self, refresh_token: str) -> TokenReply:
        """Trade the refresh token in, again if there is no answer: the server gives the same one twice for a while.

        At least once again when it may have arrived, however little patience there is, because if it did, it must
        not wait. Raises _Unsent when nobody answers: the call that this is for has not left yet.
        """
        deadline = time.monotonic() + self._patience_s
        attempt = 0
        while True:
            arrived = True
            try:
                return await self._request(
                    "POST",
                    "/v1/auth/refresh",
                    TokenReply,
                    {"refresh_token": refresh_token},
                    None,
                    {},
                    timeout_s=_REFRESH_TIMEOUT_S,
                )
            except _Unsent as error:
                failure: LockstepError = error
                arrived = False
            except Unreachable as error:
                failure = _Unsent(str(error))
            except UnexpectedReply as error:
                failure = error
            except ApiError as error:
                if not error.retry and error.status < 500:
                    raise
                failure = error
            dictated = failure.retry_after_ms if isinstance(failure, ApiError) else None
            pause = delay_s(attempt, self._rng, dictated_ms=dictated)
            late = time.monotonic() + pause >= deadline and not (arrived and attempt == 0)
            if late or self._closing:
                raise failure
            attempt += 1
            await asyncio.sleep(pause)

    async def _request(
        self,
        method: str,
        path: str,
        reply: type[T],
        body: Mapping[str, object] | None,
        params: Mapping[str, object] | None,
        headers: Mapping[str, str],
        *,
        timeout_s: float | None = None,
    ) -> T:
        content = None if body is None else msgspec.json.encode(body)
        sent_headers = dict(headers)
        if content is not None:
            sent_headers["content-type"] = "application/json"
        wanted: dict[str, Any] = {k: v for k, v in (params or {}).items() if v is not None}
        try:
            response = await self._http.request(
                method,
                self.base_url + path,
                content=content,
                params=wanted,
                headers=sent_headers,
                timeout=httpx.USE_CLIENT_DEFAULT if timeout_s is None else timeout_s,
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise _Unsent(f"Cannot reach {self.base_url}: {_reason(error)}.") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise UnexpectedReply(f"{self.base_url} is not an http:// or https:// address.") from error
        except httpx.TransportError as error:
            raise Unreachable(f"No answer from {self.base_url}: {_reason(error)}.") from error
        if response.is_success:
            return self._decoded(response, reply)
        raise _refusal(response, self.base_url)

    def _decoded(self, response: httpx.Response, reply: type[T]) -> T:
        if reply is type(None):
            return None
        try:
            return msgspec.json.decode(response.content, type=reply)
        except msgspec.DecodeError as error:
            raise UnexpectedReply(
                f"{self.base_url} answered {response.request.method} {response.request.url.path}"
                f" with something else than expected: {error}."
            ) from error


class _Unsent(Unreachable):
    """The request did not leave: repeating it is always safe."""


def tokens_of(reply: TokenReply) -> Tokens:
    return Tokens(
        access_token=reply.access_token,
        refresh_token=reply.refresh_token,
        expires_at=time.time() + reply.expires_in,
    )


def not_logged_in(error: ApiError | None = None) -> NotLoggedIn:
    code = error.code if error is not None else "unauthenticated"
    return NotLoggedIn(
        code, ERRORS["unauthenticated"].status, "You are not logged in, or the login has ended."
    )


def _reason(error: httpx.TransportError) -> str:
    return str(error).rstrip(".") or type(error).__name__


def _refusal(response: httpx.Response, base_url: str) -> ApiError | UnexpectedReply:
    try:
        problem = msgspec.json.decode(response.content, type=_Problem)
    except msgspec.DecodeError:
        if response.status_code in (502, 503, 504):  # a proxy's own words: the server behind it is away
            return ApiError(
                "unavailable", response.status_code, f"{base_url} answered {response.status_code}."
            )
        return UnexpectedReply(f"{base_url} answered {response.status_code} without saying why.")
    return ApiError(
        problem.code,
        response.status_code,
        problem.detail,
        retry_after_ms=problem.retry_after_ms,
        head=problem.head,
        now=problem.now,
        request_id=problem.request_id,
    )
