"""REST history: each channel from its first event to its head, once for every access token that may read it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

import httpx
import msgspec

from verify.findings import CannotJudge
from verify.judge import HistoryEvent, Judge

_PAGE = 200
_RETRY_S = 0.3


class _Event(msgspec.Struct):
    seq: int
    id: str
    sender: str
    at: int
    event: msgspec.Raw


class _Answer(msgspec.Struct):
    epoch: int
    head: int
    events: list[_Event]
    has_more_after: bool


class _Named(msgspec.Struct):
    id: str


class _Me(msgspec.Struct):
    user: _Named


class _Channels(msgspec.Struct):
    items: list[_Named]
    next_cursor: str | None


T = TypeVar("T")


def _read(path: str, response: httpx.Response, kind: type[T]) -> T:
    if response.status_code != 200:
        raise CannotJudge(f"GET {path} answered {response.status_code}: {response.text[:200]}")
    try:
        return msgspec.json.decode(response.content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CannotJudge(f"GET {path} answered what it should not: {error}") from error


async def read_rest(judge: Judge, http: httpx.AsyncClient, tokens: list[str], *, wait_s: float) -> None:
    """Read as each token's person; `http` has web_app's base URL. Raises CannotJudge.

    Waits up to `wait_s` a request for what others vouched for; after that it takes what is there.
    """
    wanted = judge.channels()
    for token in tokens:
        reader = _Reader(http, token, wait_s)
        user = await reader.user()
        async for channel in reader.channels():
            if wanted is None or channel in wanted:
                await _read_channel(judge, reader, user, channel)


async def _read_channel(judge: Judge, reader: _Reader, user: str, channel: str) -> None:
    required = judge.required(channel)
    source = judge.history_begins(f"REST history as {user}", channel, from_start=True)
    after, more = 0, True
    while more:
        answer = await reader.events(channel, after, required)
        for event in answer.events:
            found = HistoryEvent(
                answer.epoch, channel, event.seq, event.sender, event.id, event.at, bytes(event.event)
            )
            judge.history(source, found, event.seq)
        last = answer.events[-1].seq if answer.events else after
        more = answer.has_more_after and last > after
        after = last


class _Reader:
    """One person's requests."""

    def __init__(self, http: httpx.AsyncClient, token: str, wait_s: float) -> None:
        self._http = http
        self._headers = {"authorization": f"Bearer {token}"}
        self._wait_s = wait_s

    async def user(self) -> str:
        return (await self._get("/v1/me", _Me)).user.id

    async def channels(self) -> AsyncIterator[str]:
        cursor: str | None = None
        while True:
            page = await self._get("/v1/channels", _Channels, member="true", limit=100, cursor=cursor)
            for item in page.items:
                yield item.id
            cursor = page.next_cursor
            if cursor is None:
                return

    async def _get(self, path: str, kind: type[T], **query: str | int | None) -> T:
        return _read(path, await self._request(path, query), kind)

    async def events(self, channel: str, after: int, at_least: int) -> _Answer:
        """A page. `at_least` is given up, and the page read as it is, when it does not come in time."""
        path = f"/v1/channels/{channel}/events"
        query: dict[str, str | int | None] = {"after": after, "limit": _PAGE, "at_least": at_least or None}
        response = await self._request(path, query)
        if response.status_code == 503 and at_least:
            response = await self._request(path, {"after": after, "limit": _PAGE})
        return _read(path, response, _Answer)

    async def _request(self, path: str, query: dict[str, str | int | None]) -> httpx.Response:
        """Retries 429 and 503 until the wait is over."""
        given = {name: value for name, value in query.items() if value is not None}
        deadline = asyncio.get_running_loop().time() + self._wait_s
        while True:
            try:
                response = await self._http.get(path, params=given, headers=self._headers)
            except httpx.HTTPError as error:
                raise CannotJudge(f"GET {path}: {error or type(error).__name__}") from error
            if response.status_code not in (429, 503) or asyncio.get_running_loop().time() > deadline:
                return response
            await asyncio.sleep(_RETRY_S)
