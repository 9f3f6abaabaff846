"""Bodies that are meant to hurt, at every door that takes JSON: refused as what they are, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import asyncpg
import httpx
import pytest

from services.contract.ids import new_event_id
from tests.stack.lockstep import Stack
from tests.stack.servers import Database
from tests.stack.waiting import until
from tests.system.channel_server.cell import Client
from tests.system.security.sides import Side, side, well_asked
from tests.system.security.slots import OPERATIONS_WITH_BODY, Operation, operations
from tests.system.security.visitors import welcomed
from tests.system.web_app.conftest import Web
from tests.system.web_app.people import Person, ok, sign_up

DEEP: Final = 60_000
"""Brackets: far more than any reader's stack, and less than 64 KiB."""

BODIES: Final[dict[str, bytes]] = {
    "nothing": b"",
    "only spaces": b"  \n ",
    "no JSON": b"{",
    "two values": b"{} {}",
    "a list": b"[]",
    "null": b"null",
    "a number": b"1",
    "a text": b'"x"',
    "deep lists": b"[" * DEEP,
    "deep lists, closed": b"[" * (DEEP // 2) + b"]" * (DEEP // 2),
    "deep objects": b'{"a":' * (DEEP // 5),
    "a huge integer": b'{"a":' + b"9" * 50_000 + b"}",
    "a huge exponent": b'{"a":1e999999999}',
    "not a number": b'{"a":NaN}',
    "infinite": b'{"a":-Infinity}',
    "not UTF-8": b'{"a":"\xff\xfe"}',
    "surrogates in UTF-8": b'{"a":"\xed\xa0\x80"}',
    "a lone surrogate": b'{"a":"\\ud800"}',
    "a key that is a lone surrogate": b'{"\\udfff":1}',
    "a key with NUL": b'{"\\u0000":1}',
    "NUL between": b'{\x00"a":1}',
    "a byte order mark": b'\xef\xbb\xbf{"a":1}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "many keys": b"{" + b",".join(b'"k%d":1' % i for i in range(5_000)) + b"}",
    "keys that collide": b"{" + b",".join(b'"__class__":1' for _ in range(3_000)) + b"}",
    "names of Python's": b'{"__class__":{"__init__":{}},"__proto__":{},"constructor":{}}',
}

VALUES: Final[dict[str, str]] = {
    "NUL": '"a\\u0000b"',
    "NUL in a long text": '"0123456789\\u0000"',
    "a lone high surrogate": '"a\\ud83d"',
    "a lone surrogate in a long text": '"0123456789012345678901234567890123456789\\udbff"',
    "a lone low surrogate": '"\\ude00a"',
    "a huge integer": "9" * 4_000,
    "beyond 64 bits": "-170141183460469231731687303715884105729",
    "a huge exponent": "1e400",
    "not a number": "NaN",
    "nested": '{"a":[{"a":[]}]}',
    "very long": json.dumps("x" * 200_000),
    "a million combining marks": json.dumps("a" + "\u0301" * 60_000, ensure_ascii=False),
    "null": "null",
    "true": "true",
    "an empty list": "[]",
}


async def ask(
    web: Web,
    mine: Side,
    operation: Operation,
    content: bytes | Mapping[str, str],
    kind: str = "application/json",
    encoding: str = "utf-8",
) -> httpx.Response:
    """With real ids, so that nothing but the body can be in the way: `content`, or a good one but for these fields,
    whose values are JSON."""
    path, query, body = await well_asked(mine, operation)
    if not isinstance(content, bytes):
        assert body is not None
        values = {name: json.dumps(value) for name, value in body.items()} | dict(content)
        text = ",".join(f'"{name}":{value}' for name, value in values.items())
        content = f"{{{text}}}".encode(encoding, "surrogatepass")
    headers = {"content-type": kind} | ({} if operation.public else mine.owner.headers)
    return await web.http.request(operation.method, path, params=query, content=content, headers=headers)


def refusal(answer: httpx.Response, said: object) -> None:
    assert 400 <= answer.status_code < 500, (said, answer.status_code, answer.text[:500])
    assert answer.headers["content-type"] == "application/problem+json", said
    assert len(answer.content) < 16_000, f"{said}: the answer repeats what was sent"


@pytest.fixture(scope="module")
async def mine(web: Web, web_database: Database) -> Side:
    sql = await web_database.connect()
    try:
        return await side(web, sql)
    finally:
        await sql.close()


@pytest.fixture(scope="module")
def person(mine: Side) -> Person:
    return mine.owner


@pytest.mark.parametrize("name", OPERATIONS_WITH_BODY)
async def test_no_body_is_a_defect(web: Web, mine: Side, name: str) -> None:
    operation = operations()[name]
    for what, content in BODIES.items():
        refusal(await ask(web, mine, operation, content), what)
    refusal(await ask(web, mine, operation, b"x" * (256 * 1024 + 1)), "too large")
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"):
        refusal(await ask(web, mine, operation, {}, encoding=encoding), encoding)
    for kind in (
        "text/plain",
        "application/xml",
        "multipart/form-data",
        "application/json; charset=utf-16",
        "\x01",
    ):
        refusal(await ask(web, mine, operation, b'{"a":1}', kind), kind)


@pytest.mark.parametrize("name", OPERATIONS_WITH_BODY)
async def test_no_value_is_a_defect(web: Web, sql: asyncpg.Connection, name: str) -> None:
    """Each field in turn, in a request that is otherwise good: it may be taken or refused, it may not break anything."""
    mine, operation = await side(web, sql), operations()[name]
    for field in operation.fields:
        for what, value in VALUES.items():
            answer = await ask(web, mine, operation, {field: value})
            assert answer.status_code < 500, (field, what, answer.text)
            assert "\x00" not in answer.text
            if answer.is_success:  # and may be in the way of the next
                mine = await side(web, sql)
    answer = await ask(web, mine, operation, {})
    assert answer.is_success, f"not good but for the values: {answer.text}"


async def test_a_key_that_is_given_twice_means_its_last_value_everywhere(web: Web, mine: Side) -> None:
    """One meaning, so that nothing is checked by the one and done by the other."""
    operation = operations()["create_channel"]
    answer = await ask(web, mine, operation, b'{"kind":"private","kind":"public","name":"a","name":"twice"}')
    made = ok(answer, 201)["channel"]
    assert (made["kind"], made["name"]) == ("public", "twice")
    answer = await ask(web, mine, operation, b'{"kind":"public","kind":"secret","name":"x"}')
    refusal(answer, "the last value is the one that is checked")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/channels?limit=" + "9" * 5_000, "/v1/channels?limit=1e3", "/v1/channels?limit=-1", "/v1/channels?limit=%00",
        "/v1/channels?cursor=%00", "/v1/channels?cursor=%ed%a0%80", "/v1/channels?cursor=%ff", "/v1/channels?cursor=" + "A" * 9_000,
        "/v1/channels?member=maybe", "/v1/channels/%00", "/v1/channels/%ed%a0%80", "/v1/channels/..%2f..%2fme",
        "/v1/channels/ch_" + "0" * 32 + "%0a", "/v1/channels/CH_" + "0" * 32, "/v1/channels/ch_" + "٠" * 32,
        "/v1/channels/ch_" + "0" * 32 + "/events?after=99999999999999999999", "/v1/channels/ch_" + "0" * 32 + "/events?at_least=-1",
        "/v1/channels/ch_" + "0" * 32 + "/events?after=1&after=2&before=3", "/v1/" + "x/" * 4_000,
    ],
)  # fmt: skip
async def test_no_address_is_a_defect(person: Person, path: str) -> None:
    refusal(await person.http.get(path, headers=person.headers), path)


@pytest.mark.parametrize(
    "headers",
    [
        {"idempotency-key": "x" * 5_000}, {"idempotency-key": "\x00"}, {"idempotency-key": "' or 1=1"},
        {"idempotency-key": "00000000-0000-0000-0000-000000000000"},
    ],
)  # fmt: skip
async def test_no_idempotency_key_is_a_defect(web: Web, person: Person, headers: dict[str, str]) -> None:
    body = {"kind": "public", "name": new_event_id()}
    answer = await web.http.post("/v1/channels", json=body, headers=person.headers | headers)
    refusal(answer, headers)


async def test_a_request_id_cannot_forge_a_line_of_the_log_or_a_header(web: Web) -> None:
    for sent in (b"a\r\nset-cookie: x=1", b'"},{"x":"', b"\x1b[31m" + b"x" * 20, b"x" * 65, "é".encode()):
        answer = await web.http.get("/v1/me", headers=[(b"x-request-id", sent)])
        assert answer.headers["x-request-id"].encode() != sent
        assert "set-cookie" not in answer.headers


# --- WebSocket and the internal API --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def http(fortress: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=fortress.web_url, timeout=30, trust_env=False) as made:
        yield made


@pytest.fixture(scope="module")
async def talker(http: httpx.AsyncClient) -> Person:
    return await sign_up(http)


def frames(channel: str) -> dict[str, str]:
    """Messages that are no frames, and sends whose parts are meant to hurt, as text."""
    send = '{"type":"send","channel":"%s","id":"%s","text":%s}'
    made = {
        name: content.decode()
        for name, content in BODIES.items()
        if name not in ("not UTF-8", "surrogates in UTF-8", "UTF-16")
    }
    made |= {
        f"a send of {name}": send % (channel, new_event_id(), value)
        for name, value in VALUES.items()
        if len(value) < 60_000
    }
    made["a type of a number"] = '{"type":1}'
    made["a type of lists"] = '{"type":' + "[" * 1000 + "]" * 1000 + "}"
    made["a type that is a surrogate"] = '{"type":"\\ud800"}'
    made["a position that is huge"] = (
        '{"type":"connect","token":"x","resume":{"epoch":' + "9" * 400 + ',"channels":{}}}'
    )
    return made


async def test_no_message_of_a_websocket_is_more_than_a_bad_frame(fortress: Stack, talker: Person) -> None:
    """Each on a connection of its own that goes on, or is ended by a code that says why; the node goes on in any case."""
    channel = ok(await talker.get("/v1/channels"))["items"][0]["id"]
    watcher = await welcomed(fortress, talker)
    allowed = {"error", "refused", "pong"}

    async def one(name: str, message: str) -> tuple[str, object]:
        client = await welcomed(fortress, talker)
        before = len(client.frames)
        await client.socket.send(message)
        await client.socket.send('{"type":"ping"}')
        await _answered(client)
        said = {frame["type"] for frame in client.frames[before:]} - {"event"}
        wrong = said - allowed or ("nothing was answered" if said == {"pong"} else "")
        code = client.closed
        await client.close()
        return name, wrong or (code if code not in (None, 1000, 4004) else None)

    messages = frames(channel)
    outcomes: list[tuple[str, object]] = []
    for start in range(0, len(messages), 10):
        some = list(messages.items())[start : start + 10]
        outcomes += await asyncio.gather(*(one(name, message) for name, message in some))
    assert [each for each in outcomes if each[1]] == []
    said = await watcher.say(channel, "all is well")
    assert said["type"] == "ack"
    await watcher.shown(channel, said["seq"])
    await watcher.close()


async def _answered(client: Client) -> None:
    await until(lambda: client.closed is not None or client.by_type("pong"), every=0.01)


async def test_a_key_given_twice_is_judged_as_it_is_used(
    fortress: Stack, talker: Person, http: httpx.AsyncClient
) -> None:
    other = await sign_up(http)
    theirs, mine = await other.new_channel("private"), await talker.new_channel("private")
    client, watcher = await welcomed(fortress, talker), await welcomed(fortress, other)
    send = '"channel":"{}","id":"{}","text":"x","channel":"{}"'
    for first, last in ((mine, theirs), (theirs, mine)):
        id = new_event_id()
        answer = await client.ask('{"type":"send",' + send.format(first, id, last) + "}", id)
        assert (answer["type"], answer["channel"]) == ("ack" if last == mine else "refused", last)
    for first_type, last_type in (("send", "ping"), ("ping", "send")):
        before = len(client.frames)
        wrong = send.format(mine, new_event_id(), mine)
        await client.socket.send('{"type":"' + first_type + '",' + wrong + ',"type":"' + last_type + '"}')
        await client.socket.send('{"type":"ping"}')
        await client.frame("pong")
        codes = {each.get("code") for each in client.frames[before:] if each["type"] != "event"}
        assert codes <= {"bad_frame", "invalid_request", None}
        assert codes - {None}, client.frames[before:]
        client.frames[:] = [each for each in client.frames if each["type"] != "pong"]
    said = await watcher.say(theirs, "nobody but me")
    await watcher.shown(theirs, said["seq"])
    senders = {frame["sender"] for frame in watcher.by_type("event", channel=theirs)}
    assert senders <= {other.id}
    await client.close()
    await watcher.close()


@pytest.mark.parametrize("name", sorted(BODIES))
async def test_no_body_breaks_the_internal_api(fortress: Stack, name: str) -> None:
    headers = {"authorization": f"Bearer {fortress.service_token}"}
    async with httpx.AsyncClient(base_url=fortress.internal_url(), timeout=30, trust_env=False) as internal:
        answer = await internal.post("/internal/v1/events", content=BODIES[name], headers=headers)
        refusal(answer, name)


async def test_no_event_breaks_the_internal_api(fortress: Stack, talker: Person) -> None:
    """Also those that a compromised web app could hand in: whoever is shown them can read them."""
    channel = await talker.new_channel("private")
    client = await welcomed(fortress, talker)
    headers = {"authorization": f"Bearer {fortress.service_token}"}
    shown = 0
    values: dict[str, Any] = VALUES | {"deep": "[" * 5_000 + "]" * 5_000}
    async with httpx.AsyncClient(base_url=fortress.internal_url(), timeout=30, trust_env=False) as internal:
        for name, value in values.items():
            for event in (
                f'{{"type":"message.posted","text":{value}}}',
                f'{{"type":"of.another.release","x":{value}}}',
            ):
                body = f'{{"channel":"{channel}","sender":"{talker.id}","id":"{new_event_id()}","event":{event}}}'
                answer = await internal.post("/internal/v1/events", content=body.encode(), headers=headers)
                assert answer.status_code == 201 or 400 <= answer.status_code < 500, (name, answer.text)
                if answer.status_code == 201:
                    shown = answer.json()["seq"]
    await client.shown(channel, shown)
    await client.close()
    page = ok(await talker.get(f"/v1/channels/{channel}/events", at_least=shown, limit=200))
    assert page["events"][-1]["seq"] == shown
