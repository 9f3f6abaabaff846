"""REST calls: refresh once for everybody, repeat only what is safe, errors with their codes."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest

from client.api import Api
from client.cli.profile import Profile, Saved
from client.errors import ApiError, NotLoggedIn, UnexpectedReply, Unreachable
from client.records import User, Workspace
from client.rest import RestClient
from client.tokens import MemoryTokens, Tokens
from services.contract.ids import is_event_id
from tests.stack.waiting import until

Handler = Callable[[httpx.Request], httpx.Response]


class Answer(msgspec.Struct):
    ok: bool


def tokens(access: str = "access-1", *, seconds: float = 900.0) -> MemoryTokens:
    return MemoryTokens(
        Tokens(access_token=access, refresh_token="refresh-1", expires_at=time.time() + seconds)
    )


def api(handler: Handler, store: MemoryTokens | None = None, *, patience_s: float = 2.0) -> Api:
    http = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    return Api("http://test", store or tokens(), http=http, patience_s=patience_s, rng=random.Random(1))


def problem(code: str, status: int, **more: object) -> httpx.Response:
    return httpx.Response(
        status, json={"type": "urn", "title": "t", "status": status, "code": code, "detail": "d", **more}
    )


def fresh_tokens(n: int) -> httpx.Response:
    return httpx.Response(
        200,
        json={
            "access_token": f"access-{n}",
            "refresh_token": f"refresh-{n}",
            "expires_in": 900,
            "session_id": "s",
        },
    )


class Script:
    """Answers in turn; the last one for ever. Keeps the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


OK = httpx.Response(200, json={"ok": True, "of_a_newer_server": 1})


async def test_the_access_token_goes_along_and_fields_of_newer_servers_are_ignored() -> None:
    script = Script(OK)
    assert await api(script).call("GET", "/x", Answer) == Answer(True)
    assert script.requests[0].headers["authorization"] == "Bearer access-1"


async def test_twenty_calls_with_an_ended_token_refresh_once() -> None:
    refreshes = 0

    async def handle(request: httpx.Request) -> httpx.Response:
        nonlocal refreshes
        if request.url.path == "/v1/auth/refresh":
            refreshes += 1
            await asyncio.sleep(0.01)
            return fresh_tokens(2)
        if request.headers["authorization"] == "Bearer access-2":
            return OK
        return problem("unauthenticated", 401)

    http = httpx.AsyncClient(transport=httpx.MockTransport(handle))
    store = tokens()
    caller = Api("http://test", store, http=http)
    assert await asyncio.gather(*(caller.call("GET", "/x", Answer) for _ in range(20))) == [Answer(True)] * 20
    assert refreshes == 1
    kept = store.load()
    assert kept is not None
    assert kept.refresh_token == "refresh-2"


async def test_a_refresh_is_not_broken_off_with_the_call_that_began_it() -> None:
    begun = asyncio.Event()
    answer = asyncio.Event()

    async def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/auth/refresh":
            begun.set()
            await answer.wait()
            return fresh_tokens(2)
        return problem("unauthenticated", 401)

    store = tokens()
    caller = Api("http://test", store, http=httpx.AsyncClient(transport=httpx.MockTransport(handle)))
    calling = asyncio.create_task(caller.call("GET", "/x", Answer))
    await begun.wait()
    calling.cancel()
    closing = asyncio.create_task(caller.aclose())
    answer.set()
    await closing
    kept = store.load()
    assert kept is not None
    assert kept.refresh_token == "refresh-2"


async def test_a_token_about_to_end_is_refreshed_before_it_is_used() -> None:
    script = Script(fresh_tokens(2), OK)
    await api(script, tokens(seconds=3)).call("GET", "/x", Answer)
    assert [request.url.path for request in script.requests] == ["/v1/auth/refresh", "/x"]


@pytest.mark.parametrize("code", ["refresh_invalid", "refresh_reused"])
async def test_a_login_that_has_ended_says_so(code: str) -> None:
    script = Script(problem("unauthenticated", 401), problem(code, 401))
    with pytest.raises(NotLoggedIn) as caught:
        await api(script).call("GET", "/x", Answer)
    assert caught.value.code == code


async def test_nobody_logged_in_asks_nobody() -> None:
    script = Script(OK)
    with pytest.raises(NotLoggedIn):
        await api(script, MemoryTokens()).call("GET", "/x", Answer)
    assert script.requests == []


async def test_refusals_are_not_repeated_and_keep_their_facts() -> None:
    script = Script(problem("expired", 409, head=9, now=5, request_id="r1"))
    with pytest.raises(ApiError) as caught:
        await api(script).call("GET", "/x", Answer)
    assert (caught.value.code, caught.value.head, caught.value.now, caught.value.request_id) == (
        "expired",
        9,
        5,
        "r1",
    )
    assert not caught.value.retry
    assert len(script.requests) == 1


async def test_what_passes_is_repeated_not_before_the_server_said() -> None:
    script = Script(problem("not_yet", 503, retry_after_ms=50), OK)
    begun = asyncio.get_running_loop().time()
    assert await api(script).call("POST", "/x", Answer)
    assert asyncio.get_running_loop().time() - begun >= 0.05


async def test_patience_ends() -> None:
    script = Script(problem("database_unavailable", 503))
    with pytest.raises(ApiError) as caught:
        await api(script, patience_s=0.2).call("GET", "/x", Answer)
    assert caught.value.retry


async def test_what_did_not_leave_is_repeated_even_if_twice_would_do_harm() -> None:
    script = Script(httpx.ConnectError("refused"), OK)
    assert await api(script).call("POST", "/x", Answer)


async def test_an_unknown_outcome_is_repeated_only_where_twice_does_no_harm() -> None:
    script = Script(httpx.ReadTimeout("silence"), OK)
    with pytest.raises(Unreachable):
        await api(script).call("POST", "/x", Answer)
    script = Script(httpx.ReadTimeout("silence"), OK)
    assert await api(script).call("POST", "/x", Answer, repeatable=True)
    script = Script(httpx.RemoteProtocolError("cut"), OK)
    assert await api(script).call("GET", "/x", Answer)


async def test_commands_carry_the_same_key_on_every_repeat() -> None:
    script = Script(
        httpx.ReadTimeout("silence"), httpx.Response(201, json={"channel": {"id": "c", "kind": "public"}})
    )
    http = httpx.AsyncClient(transport=httpx.MockTransport(script))
    await RestClient("http://test", tokens(), http=http).create_channel("general")
    keys = {request.headers["idempotency-key"] for request in script.requests}
    assert len(script.requests) == 2
    assert len(keys) == 1
    assert is_event_id(keys.pop())


async def test_a_message_keeps_its_id_on_every_repeat() -> None:
    posted = {"epoch": 1, "channel": "c", "id": "i", "seq": 1, "at": 2, "duplicate": False}
    script = Script(
        httpx.ReadTimeout("silence"), problem("no_channel_server", 503), httpx.Response(201, json=posted)
    )
    http = httpx.AsyncClient(transport=httpx.MockTransport(script))
    await RestClient("http://test", tokens(), http=http).post_message("c", "hello")
    assert len({request.content for request in script.requests}) == 1
    assert len(script.requests) == 3


async def test_lists_are_read_page_by_page() -> None:
    def user(n: int) -> dict[str, object]:
        return {"id": f"usr_{n}", "name": str(n), "role": "member"}

    script = Script(
        httpx.Response(200, json={"items": [user(1)], "next_cursor": "more"}),
        httpx.Response(200, json={"items": [user(2)], "next_cursor": None}),
    )
    http = httpx.AsyncClient(transport=httpx.MockTransport(script))
    rest = RestClient("http://test", tokens(), http=http)
    assert [each.id async for each in rest.users()] == ["usr_1", "usr_2"]
    assert script.requests[1].url.params["cursor"] == "more"


async def test_what_does_not_speak_the_api_is_told_apart() -> None:
    with pytest.raises(UnexpectedReply):
        await api(Script(httpx.Response(200, text="<html>"))).call("GET", "/x", Answer)
    with pytest.raises(UnexpectedReply):
        await api(Script(httpx.Response(404, text="<html>"))).call("GET", "/x", Answer)
    with pytest.raises(ApiError) as caught:
        await api(Script(httpx.Response(502, text="<html>")), patience_s=0.0).call("GET", "/x", Answer)
    assert caught.value.retry
    with pytest.raises(UnexpectedReply):
        await Api("nonsense", tokens()).call("GET", "/x", Answer)


def refreshing(
    *answers: httpx.Response | Exception,
) -> tuple[Callable[[httpx.Request], httpx.Response], list[str]]:
    """A web app that takes access-2 alone and answers refreshes in turn; and the refresh tokens that it was given."""
    script = Script(*answers)
    given: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/auth/refresh":
            given.append(msgspec.json.decode(request.content)["refresh_token"])
            return script(request)
        return (
            OK if request.headers["authorization"] == "Bearer access-2" else problem("unauthenticated", 401)
        )

    return handle, given


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ReadTimeout("silence"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("cut"),
        httpx.ConnectError("refused"),
        problem("database_unavailable", 503),
        problem("internal", 500),
        httpx.Response(500, text="<html>"),
        httpx.Response(502, text="<html>"),
    ],
    ids=lambda trouble: str(getattr(trouble, "status_code", type(trouble).__name__)),
)
async def test_a_refresh_without_an_answer_is_repeated_with_the_same_token(
    trouble: httpx.Response | Exception,
) -> None:
    handle, given = refreshing(trouble, trouble, fresh_tokens(2))
    store = tokens()
    assert await api(handle, store).call("POST", "/x", Answer) == Answer(True)
    assert given == ["refresh-1"] * 3
    kept = store.load()
    assert kept is not None
    assert kept.refresh_token == "refresh-2"


async def test_a_refresh_that_may_have_arrived_is_repeated_even_without_patience() -> None:
    handle, given = refreshing(httpx.ReadTimeout("silence"), fresh_tokens(2))
    assert await api(handle, patience_s=0).call("GET", "/x", Answer) == Answer(True)
    assert given == ["refresh-1"] * 2


async def test_a_refresh_that_nobody_answers_does_not_log_out() -> None:
    handle, given = refreshing(*[httpx.ReadTimeout("silence")] * 2, fresh_tokens(2))
    store = tokens()
    caller = api(handle, store, patience_s=0)
    with pytest.raises(Unreachable):
        await caller.call("GET", "/x", Answer)
    assert await caller.call("GET", "/x", Answer) == Answer(True)
    assert given == ["refresh-1"] * 3


async def test_a_refusal_of_the_refresh_is_not_repeated() -> None:
    handle, given = refreshing(problem("refresh_invalid", 401))
    with pytest.raises(NotLoggedIn):
        await api(handle).call("GET", "/x", Answer)
    assert given == ["refresh-1"]


async def test_tokens_that_another_one_has_saved_meanwhile_are_used_when_the_refresh_comes_too_late() -> None:
    """Of a store whose lock the other one does not hold."""
    store = tokens()
    given: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/auth/refresh":
            given.append(msgspec.json.decode(request.content)["refresh_token"])
            newer = Tokens(access_token="access-2", refresh_token="refresh-2", expires_at=time.time() + 900)
            store.save(newer)
            return problem("refresh_reused", 401)
        return (
            OK if request.headers["authorization"] == "Bearer access-2" else problem("unauthenticated", 401)
        )

    assert await api(handle, store).call("GET", "/x", Answer) == Answer(True)
    assert given == ["refresh-1"]
    kept = store.load()
    assert kept is not None


async def test_closing_does_not_wait_for_a_web_app_that_is_away() -> None:
    handle, given = refreshing(problem("database_unavailable", 503))
    caller = api(handle, patience_s=60)
    calling = asyncio.create_task(caller.call("GET", "/x", Answer))
    await until(lambda: given)
    async with asyncio.timeout(60):
        await caller.aclose()
    calling.cancel()


async def test_two_commands_that_share_a_profile_refresh_once(tmp_path: Path) -> None:
    """Each as in a process of its own: another store object, another lock file handle. Rotation is strict here."""
    user = User(id="usr", name="Ada", email="", role="member")
    workspace = Workspace(id="ws", slug="acme", name="Acme")
    first = tokens().load()
    assert first is not None
    Profile("default", tmp_path).log_in(
        Saved(url="http://test", tokens=first, user=user, workspace=workspace)
    )
    good = {"refresh": "refresh-1", "access": ""}

    async def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/auth/refresh":
            given = msgspec.json.decode(request.content)["refresh_token"]
            if given != good["refresh"]:
                return problem("refresh_reused", 401)
            good.update(refresh="refresh-2", access="access-2")
            await asyncio.sleep(0.2)
            return fresh_tokens(2)
        if request.headers["authorization"] == f"Bearer {good['access']}":
            return OK
        return problem("unauthenticated", 401)

    http = httpx.AsyncClient(transport=httpx.MockTransport(handle))
    callers = [Api("http://test", Profile("default", tmp_path), http=http) for _ in range(4)]
    assert (
        await asyncio.gather(*(caller.call("GET", "/x", Answer) for caller in callers)) == [Answer(True)] * 4
    )
