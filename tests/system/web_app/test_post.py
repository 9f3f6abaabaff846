"""Posting a message through channel servers: any of them, once, and nothing held open meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from deploy.local.ports import free_ports
from services.contract.codes import ERRORS
from services.contract.ids import is_event_id, new_event_id
from services.runtime.settings import NodeAddress
from tests.stack.waiting import until
from tests.system.web_app.conftest import NewWeb, Web, addresses
from tests.system.web_app.nodes import Log, Node, node, problem
from tests.system.web_app.people import Person, ok, refused, sign_up

NewNode = Callable[[], Awaitable[Node]]


@pytest.fixture
async def nodes_log() -> Log:
    return Log()


@pytest.fixture
async def new_node(nodes_log: Log, secrets_dir: Path) -> AsyncIterator[NewNode]:
    async with contextlib.AsyncExitStack() as owned:

        async def make() -> Node:
            token = (secrets_dir / "service_token").read_text().strip()
            return await owned.enter_async_context(node(nodes_log, token))

        yield make


async def test_the_number_comes_back(owner: Person, log: Log) -> None:
    channel = await owner.new_channel()
    answer = await owner.post(f"/v1/channels/{channel}/messages", {"text": "hällo 🎉"})
    posted = ok(answer, 201)
    assert is_event_id(posted["id"])
    assert posted == {
        "epoch": 1,
        "channel": channel,
        "id": posted["id"],
        "seq": 1,
        "at": 1_767_605_400_000,
        "duplicate": False,
    }
    request, request_id = log.bodies[-1]
    assert (request.channel, request.sender, request.id) == (channel, owner.id, posted["id"])
    assert msgspec.json.decode(request.event) == {"type": "message.posted", "text": "hällo 🎉"}
    assert request_id == answer.headers["x-request-id"]


async def test_the_key_and_the_id_are_the_same_thing(owner: Person) -> None:
    path = f"/v1/channels/{await owner.new_channel()}/messages"
    key = new_event_id()
    first = ok(await owner.post(path, {"text": "x"}, key=key), 201)
    assert (first["id"], first["duplicate"]) == (key, False)
    again = ok(await owner.post(path, {"text": "x", "client_msg_id": key}), 201)
    assert again == first | {"duplicate": True}
    both = ok(await owner.post(path, {"text": "x", "client_msg_id": key}, key=key), 201)
    assert both["seq"] == first["seq"]
    refused(
        await owner.post(path, {"text": "x", "client_msg_id": new_event_id()}, key=key), "invalid_request"
    )


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": ""},
        {"text": "x" * 12_001},
        {"text": "a\u0000b"},
        {"text": 1},
        {"text": "x", "client_msg_id": "1"},
        {"text": "x", "channel": "y"},
    ],
)
async def test_what_is_no_message_is_refused(owner: Person, body: dict[str, object]) -> None:
    channel = await owner.new_channel()
    refused(await owner.post(f"/v1/channels/{channel}/messages", body), "invalid_request")


async def test_the_longest_text_of_the_widest_characters_fits(owner: Person) -> None:
    path = f"/v1/channels/{await owner.new_channel()}/messages"
    ok(await owner.post(path, {"text": "🎉" * 12_000}), 201)


async def test_the_next_node_is_asked_when_one_is_away(new_web: NewWeb, new_node: NewNode) -> None:
    alive = await new_node()
    web = await new_web(nodes=(*addresses(alive), _nowhere()))
    path = await _channel(web)
    for expected in range(1, 7):
        assert ok(await path.person.post(path.messages, {"text": "x"}), 201)["seq"] == expected


async def test_with_no_node_it_is_unavailable_quickly_and_may_be_repeated(new_web: NewWeb) -> None:
    web = await new_web(nodes=(_nowhere(), _nowhere()))
    path = await _channel(web)
    started = time.monotonic()
    told = refused(await path.person.post(path.messages, {"text": "x"}), "no_channel_server")
    assert told["retry_after_ms"] > 0
    assert time.monotonic() - started < 10


async def test_an_answer_that_is_lost_does_not_double_the_message(
    new_web: NewWeb, new_node: NewNode, nodes_log: Log
) -> None:
    broken, alive = await new_node(), await new_node()
    broken.lose_answers = True
    web = await new_web(nodes=addresses(broken, alive))
    path = await _channel(web)
    for expected in range(1, 5):
        assert ok(await path.person.post(path.messages, {"text": "x"}), 201)["seq"] == expected
    assert broken.asked >= 1
    assert nodes_log.heads[path.channel] == 4


@pytest.mark.parametrize("code", ["draining", "unauthenticated", "internal"])
async def test_what_is_wrong_with_a_node_is_no_answer_to_the_sender(
    new_web: NewWeb, new_node: NewNode, code: str
) -> None:
    leaving, alive = await new_node(), await new_node()
    leaving.refuse_with = problem(code)
    web = await new_web(nodes=addresses(leaving, alive))
    path = await _channel(web)
    for _ in range(3):
        ok(await path.person.post(path.messages, {"text": "x"}), 201)
    alive.refuse_with = problem(code)
    refused(await path.person.post(path.messages, {"text": "x"}), "no_channel_server")


@pytest.mark.parametrize(
    "code", ["expired", "future", "id_reused", "number_unknown", "slow_down", "log_unavailable"]
)
async def test_what_a_node_says_of_the_message_is_passed_on(
    new_web: NewWeb, new_node: NewNode, code: str
) -> None:
    only = await new_node()
    only.refuse_with = problem(code, head=7, now=8, retry_after_ms=1500)
    web = await new_web(nodes=addresses(only))
    path = await _channel(web)
    answer = await path.person.post(path.messages, {"text": "x"})
    told = refused(answer, code)
    assert (told["head"], told["now"], told["retry_after_ms"]) == (7, 8, 1500)
    assert told["detail"] == f"told {code}"
    assert answer.headers["retry-after"] == "2"
    assert answer.status_code == ERRORS[code].status
    assert only.asked == 1


@pytest.mark.parametrize("content", [b"", b"{}", b"<html>", b'{"seq":"x"}'])
async def test_an_answer_that_is_none_is_no_answer(
    new_web: NewWeb, new_node: NewNode, content: bytes
) -> None:
    only = await new_node()
    only.answer_with = content
    web = await new_web(nodes=addresses(only))
    path = await _channel(web)
    refused(await path.person.post(path.messages, {"text": "x"}), "no_channel_server")


async def test_a_node_that_hangs_holds_no_connection_to_the_database(
    new_web: NewWeb, new_node: NewNode
) -> None:
    hanging = await new_node()
    hanging.silent = True
    web = await new_web(nodes=addresses(hanging), web_database_pool=1)
    path = await _channel(web)
    posting = [asyncio.create_task(path.person.post(path.messages, {"text": "x"})) for _ in range(5)]
    await until(lambda: hanging.asked == 5, what="five messages are on their way")
    ok(await path.person.get("/v1/me"))
    assert not any(task.done() for task in posting)
    hanging.release.set()
    assert sorted([ok(await task, 201)["seq"] for task in posting]) == [1, 2, 3, 4, 5]


class _Channel:
    def __init__(self, person: Person, channel: str) -> None:
        self.person = person
        self.channel = channel
        self.messages = f"/v1/channels/{channel}/messages"


async def _channel(web: Web) -> _Channel:
    person = await sign_up(web.http)
    return _Channel(person, await person.new_channel())


def _nowhere() -> NodeAddress:
    [port] = free_ports(1)
    return NodeAddress.model_validate(
        {"name": f"gone-{port}", "websocket": "ws://gone.test/", "internal": f"http://127.0.0.1:{port}"}
    )
