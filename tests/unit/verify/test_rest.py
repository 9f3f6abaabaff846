"""Reading REST history: pages, waiting, and answers that are none."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from services.contract.ids import new_event_id
from verify.findings import CannotJudge
from verify.judge import Judge, StoredRow, Terms, Verdict
from verify.sources.rest import read_rest

CHANNEL, USER = "ch_" + "0" * 32, "usr_" + "1" * 32
BODY = {"type": "message.posted", "text": "x"}
IDS = [new_event_id() for _ in range(501)]
Handler = Callable[[httpx.Request], httpx.Response]


def history(count: int = 500) -> Handler:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer token"
        query = request.url.params
        if request.url.path == "/v1/me":
            return httpx.Response(200, json={"user": {"id": USER, "name": "Anna"}})
        if request.url.path == "/v1/channels":
            first = "cursor" not in query
            items = [{"id": CHANNEL if first else "ch_" + "9" * 32}]
            return httpx.Response(200, json={"items": items, "next_cursor": "more" if first else None})
        after, limit = int(query["after"]), int(query["limit"])
        seqs = range(after + 1, min(after + limit, count) + 1) if CHANNEL in request.url.path else range(0)
        events = [{"seq": n, "id": IDS[n], "sender": USER, "at": n, "event": BODY} for n in seqs]
        page = {"epoch": 1, "head": count, "events": events, "has_more_after": after + limit < count}
        return httpx.Response(200, json=page)

    return answer


async def read(handler: Handler, *, stored: int = 500, wait_s: float = 0.0) -> Verdict:
    judge = Judge(Terms())
    judge.database_begins(None)
    for seq in range(1, stored + 1):
        judge.stored(StoredRow(1, CHANNEL, seq, USER, IDS[seq], seq, json.dumps(BODY).encode()))
    async with httpx.AsyncClient(transport=httpx.MockTransport(handler), base_url="http://web") as http:
        await read_rest(judge, http, ["token"], wait_s=wait_s)
    return judge.verdict()


async def test_all_pages_are_read() -> None:
    verdict = await read(history())
    assert verdict.holds, verdict.findings.first
    assert verdict.figures.by_channel[0].history == 500


async def test_history_that_lacks_the_end_is_found() -> None:
    assert set((await read(history(499))).findings.counts) == {"not_in_history"}


async def test_history_that_is_late_is_waited_for() -> None:
    late = 3

    def handler(request: httpx.Request) -> httpx.Response:
        nonlocal late
        if "at_least" in request.url.params and late:
            late -= 1
            return httpx.Response(503, json={"code": "not_yet"})
        return history()(request)

    assert (await read(handler, wait_s=5.0)).holds


async def test_history_that_never_comes_is_read_as_it_is() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if "at_least" in request.url.params:
            return httpx.Response(503, json={"code": "not_yet"})
        return history(300)(request)

    assert set((await read(handler)).findings.counts) == {"not_in_history"}


async def test_a_server_that_promises_more_and_gives_nothing_ends() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        answer = history(0)(request)
        if request.url.path.endswith("/events"):
            return httpx.Response(200, json={**answer.json(), "has_more_after": True})
        return answer

    assert (await read(handler, stored=0)).figures.nothing


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(401, json={"code": "unauthenticated"}),
        httpx.Response(200, content=b"<html>"),
        httpx.Response(200, json={"id": USER}),
        httpx.Response(200, content=b'{"user":{"id":"\xff"}}'),
    ],
    ids=str,
)
async def test_an_answer_that_is_none_cannot_be_judged(answer: httpx.Response) -> None:
    with pytest.raises(CannotJudge, match="/v1/me"):
        await read(lambda request: answer)
