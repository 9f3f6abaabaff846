"""History: pages by seq, as stored and as it is now, and waiting for what has just been acknowledged."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import Any

import asyncpg
import pytest

from tests.system.web_app.people import Person, join, ok, refused
from tests.system.web_app.records import set_head, store_event, store_messages


@pytest.fixture
async def channel(owner: Person) -> str:
    return await owner.new_channel("private")


def seqs(page: dict[str, Any]) -> list[int]:
    return [each["seq"] for each in page["events" if "events" in page else "messages"]]


async def test_pages_are_what_a_slice_of_the_whole_would_be(
    owner: Person, channel: str, sql: asyncpg.Connection
) -> None:
    await store_messages(sql, channel, owner.id, 30)
    whole = list(range(1, 31))
    chance = random.Random(7)
    for view in ("events", "messages"):
        for _ in range(60):
            direction = chance.choice(["after", "before", "around", None])
            at, limit = chance.randrange(0, 36), chance.randrange(1, 13)
            asked = {direction: at} if direction else {}
            page = ok(await owner.get(f"/v1/channels/{channel}/{view}", limit=limit, **asked))
            expected = _slice(whole, direction, at, limit)
            label = (view, direction, at, limit)
            assert seqs(page) == expected, label
            assert page["head"] == 30
            assert page["epoch"] == 1
            if expected:
                assert page["has_more_before"] == (expected[0] > 1), label
                assert page["has_more_after"] == (expected[-1] < 30), label


def _slice(whole: list[int], direction: str | None, at: int, limit: int) -> list[int]:
    if direction == "after":
        return [seq for seq in whole if seq > at][:limit]
    if direction == "before":
        return [seq for seq in whole if seq < at][-limit:]
    if direction == "around":
        return [seq for seq in whole if seq < at][-(limit // 2) :][: limit // 2] + [
            seq for seq in whole if seq >= at
        ][: limit - limit // 2]
    return whole[-limit:]


async def test_an_empty_page_says_where_there_is_more(
    owner: Person, channel: str, sql: asyncpg.Connection
) -> None:
    path = f"/v1/channels/{channel}/events"
    empty = ok(await owner.get(path))
    assert (empty["head"], empty["events"]) == (0, [])
    assert (empty["has_more_before"], empty["has_more_after"]) == (False, False)
    await store_messages(sql, channel, owner.id, 3)
    behind = ok(await owner.get(path, after=3))
    assert (seqs(behind), behind["has_more_before"], behind["has_more_after"]) == ([], True, False)
    before = ok(await owner.get(path, before=1))
    assert (seqs(before), before["has_more_before"], before["has_more_after"]) == ([], False, True)


async def test_walking_in_both_directions_meets_everything_once(
    owner: Person, channel: str, sql: asyncpg.Connection
) -> None:
    await store_messages(sql, channel, owner.id, 23)
    up: list[int] = []
    more = True
    while more:
        page = ok(await owner.get(f"/v1/channels/{channel}/events", after=up[-1] if up else 0, limit=5))
        up += seqs(page)
        more = page["has_more_after"]
    down: list[int] = []
    more = True
    while more:
        page = ok(
            await owner.get(f"/v1/channels/{channel}/events", before=down[0] if down else None, limit=5)
        )
        down = seqs(page) + down
        more = page["has_more_before"]
    assert up == down == list(range(1, 24))


async def test_messages_are_without_what_is_no_message(
    owner: Person, channel: str, sql: asyncpg.Connection
) -> None:
    await store_messages(sql, channel, owner.id, 2, first=1)
    await store_event(sql, channel, owner.id, 3, b'{"type":"channel.topic_set","topic":"Tea"}')
    await store_messages(sql, channel, owner.id, 2, first=4)
    page = ok(await owner.get(f"/v1/channels/{channel}/messages", limit=3))
    assert seqs(page) == [2, 4, 5]
    assert page["messages"][0]["text"] == "message 2"
    assert page["messages"][0].keys() == {"seq", "id", "sender", "at", "text"}
    assert (page["has_more_before"], page["has_more_after"]) == (True, False)


BODIES = [
    (
        b'{"type":"message.posted","text":"\xc3\xa9 \xf0\x9f\x8e\x89"}',
        {"type": "message.posted", "text": "é 🎉"},
    ),
    (b'{"type":"future.kind","n":[1,{"a":null}]}', {"type": "future.kind", "n": [1, {"a": None}]}),
    (None, {"type": "unreadable"}),
    (b"", {"type": "unreadable"}),
    (b"not json", {"type": "unreadable"}),
    (b'{"no":"type"}', {"type": "unreadable"}),
    (b'{"type":1}', {"type": "unreadable"}),
    (b'["type"]', {"type": "unreadable"}),
    (b'{"type":"x","t":"\xff"}', {"type": "unreadable"}),
    (b'{"type":"x"} trailing', {"type": "unreadable"}),
    (b'{"type":"x","a":}', {"type": "unreadable"}),
]


async def test_bodies_are_shown_as_every_reader_shows_them(
    owner: Person, channel: str, sql: asyncpg.Connection
) -> None:
    for seq, (body, _) in enumerate(BODIES, start=1):
        await store_event(sql, channel, owner.id, seq, body)
    await set_head(sql, channel, len(BODIES))
    answer = await owner.get(f"/v1/channels/{channel}/events", after=0)
    page = json.loads(answer.content)
    assert [each["event"] for each in page["events"]] == [shown for _, shown in BODIES]
    first = page["events"][0]
    assert (first["seq"], first["sender"], first["at"]) == (1, owner.id, 1001)


async def test_at_least_waits_for_the_persister_and_no_longer(
    owner: Person, channel: str, sql: asyncpg.Connection
) -> None:
    await store_messages(sql, channel, owner.id, 1)
    asking = asyncio.create_task(owner.get(f"/v1/channels/{channel}/events", after=1, at_least=2))
    done, _ = await asyncio.wait([asking], timeout=0.3)
    assert not done
    await store_messages(sql, channel, owner.id, 1, first=2)
    stored = time.monotonic()
    assert seqs(ok(await asking)) == [2]
    assert time.monotonic() - stored < 4, "not only when the time is up"
    assert seqs(ok(await owner.get(f"/v1/channels/{channel}/events", at_least=2))) == [1, 2]


async def test_at_least_gives_up_after_five_seconds(owner: Person, channel: str) -> None:
    started = time.monotonic()
    problem = refused(await owner.get(f"/v1/channels/{channel}/events", at_least=1), "not_yet")
    assert 4 < time.monotonic() - started < 20
    assert problem["retry_after_ms"] > 0


async def test_who_is_removed_while_waiting_is_told_nothing(
    owner: Person, channel: str, sql: asyncpg.Connection
) -> None:
    member = await join(owner)
    await owner.add(channel, member)
    asking = asyncio.create_task(member.get(f"/v1/channels/{channel}/events", at_least=1))
    done, _ = await asyncio.wait([asking], timeout=0.2)
    assert not done
    ok(await owner.ask("DELETE", f"/v1/channels/{channel}/members/{member.id}"))
    await store_messages(sql, channel, owner.id, 1)
    refused(await asking, "not_a_member")


@pytest.mark.parametrize(
    "asked",
    [
        {"after": 1, "before": 2},
        {"after": -1},
        {"after": 2**53},
        {"limit": 0},
        {"limit": 201},
        {"around": "x"},
        {"page": 1},
    ],
)
async def test_history_parameters_are_checked(owner: Person, channel: str, asked: dict[str, Any]) -> None:
    refused(await owner.get(f"/v1/channels/{channel}/events", **asked), "invalid_request")


async def test_the_greatest_seqs_are_no_trouble(owner: Person, channel: str) -> None:
    for direction in ("after", "before", "around"):
        assert seqs(ok(await owner.get(f"/v1/channels/{channel}/events", **{direction: 2**53 - 1}))) == []
