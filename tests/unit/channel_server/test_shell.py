"""The parts of the shell that need no world: cutting batches, the metrics, an event's one spelling."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from channel_server.internal import InternalApi, normal
from channel_server.loops import BATCH_BYTES, bounded
from channel_server.main import REPLAYED_OBJECTS, _collecting_rarely, _what_was_lost
from channel_server.metrics import NodeCollector
from services.contract.envelope import digest_of
from services.contract.events import MessagePosted, encode_event
from services.contract.internal import AppendRequest
from services.contract.notices import ReadMoved, encode_notice, notices_channel
from services.eventlog.errors import LogRewritten
from services.eventlog.records import LogRecord
from services.runtime.process import Fatal
from tests.stack.waiting import until
from tests.unit.channel_server.fakes import channel_id, user_id
from tests.unit.channel_server.world import WORKSPACE, World


@given(st.dictionaries(st.integers(0, 3), st.lists(st.sampled_from([0, 100, 100_000, 300_000]), max_size=30)))
def test_batches_are_bounded_and_keep_each_partitions_order(sizes: dict[int, list[int]]) -> None:
    fetched = {
        partition: [
            LogRecord(partition, offset, 0, None, b"x" * size, 0) for offset, size in enumerate(in_partition)
        ]
        for partition, in_partition in sizes.items()
    }
    seen: dict[int, list[LogRecord]] = {partition: [] for partition in fetched}
    for batch in bounded(fetched):
        records = [record for _, part in batch for record in part]
        assert records
        assert sum(len(record.value or b"") for record in records[:-1]) < BATCH_BYTES
        for partition, part in batch:
            seen[partition] += part
    assert seen == fetched


def api_of(world: World) -> httpx.AsyncClient:
    """To the internal API of the world's node."""
    api = InternalApi("token", lambda: None)
    api.node = world.node
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(api.app()),
        base_url="http://node",
        headers={"authorization": "Bearer token"},
    )


def message(world: World, id: str = "") -> bytes:
    wanted = AppendRequest(
        channel=channel_id(1),
        sender=user_id(1),
        id=id or world.id(),
        event=msgspec.Raw(encode_event(MessagePosted(text="x"))),
    )
    return msgspec.json.encode(wanted)


def counted(world: World, name: str) -> dict[str, float]:
    """The samples of a metric of the node that are not 0, by their one label."""
    registry = CollectorRegistry()
    registry.register(NodeCollector(world.node))
    return {
        next(iter(sample.labels.values())): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == f"lockstep_node_{name}_total" and sample.value
    }


async def test_a_notice_of_a_workspace_that_is_news_is_to_be_sent_again_and_nothing_stands_in_the_log() -> (
    None
):
    """Read markers of a workspace come straight from the web app, perhaps before the relay has told of it."""
    world = World()
    wanted = AppendRequest(
        channel=notices_channel(WORKSPACE),
        sender=user_id(1),
        id=world.id(),
        event=msgspec.Raw(
            encode_notice(ReadMoved(channel=channel_id(1), seq=1, head=1, user_ids=[user_id(1)]))
        ),
    )
    async with api_of(world) as http:
        answer = await http.post("/internal/v1/events", content=msgspec.json.encode(wanted))
    assert (answer.status_code, answer.json()["code"]) == (503, "not_yet")
    assert answer.headers["retry-after"] == "1"
    assert world.log.appended == []
    assert counted(world, "refused_sends") == {"not_yet": 1}


def late(world: World) -> None:
    world.clock.now += world.node.state.limits.late + 0.1


def draining(world: World) -> None:
    world.node.state.draining = True


def full(world: World) -> None:
    world.log.full = True


@pytest.mark.parametrize(
    ("trouble", "code", "limits"),
    [
        (late, "draining", {"log_late": 1}),
        (draining, "draining", {}),
        (full, "slow_down", {"log_full": 1}),
    ],
)
async def test_a_post_by_rest_that_is_refused_is_counted(
    trouble: Callable[[World], None], code: str, limits: dict[str, float]
) -> None:
    world = World()
    trouble(world)
    async with api_of(world) as http:
        answer = await http.post("/internal/v1/events", content=message(world))
    assert answer.json()["code"] == code
    assert world.log.appended == []
    assert counted(world, "refused_sends") == {code: 1}
    assert counted(world, "slow_downs") == limits


async def test_a_post_by_rest_that_the_log_judges_is_counted_too() -> None:
    world = World()
    id = world.id()
    world.append(channel_id(1), user_id(1), MessagePosted(text="another text"), id)
    async with api_of(world) as http:
        posting = asyncio.create_task(http.post("/internal/v1/events", content=message(world, id)))
        await until(lambda: world.log.appended, every=0.001)
        world.tail()
        assert (await posting).json()["code"] == "id_reused"
    assert counted(world, "refused_sends") == {"id_reused": 1}


def test_every_metric_has_a_sentence_and_counts() -> None:
    world = World()
    ann, room = user_id(1), channel_id(1)
    world.user(ann)
    world.member(room, ann)
    client = world.connected(ann)
    client.sends(room)
    world.clock.now += 0.03
    world.tail()
    registry = CollectorRegistry()
    registry.register(NodeCollector(world.node))
    text = generate_latest(registry).decode()
    for line in (
        "lockstep_node_deliveries_total 1.0",
        "lockstep_node_sessions 1.0",
        'lockstep_node_verdicts_total{kind="numbered"} 1.0',
        'lockstep_node_verdict_seconds_bucket{le="0.02"} 0.0',
        'lockstep_node_verdict_seconds_bucket{le="0.05"} 1.0',
        'lockstep_node_verdict_seconds_bucket{le="+Inf"} 1.0',
        "lockstep_node_verdict_seconds_count 1.0",
    ):
        assert line in text.splitlines()
    helps = [line for line in text.splitlines() if line.startswith("# HELP")]
    assert all(line.endswith(".") for line in helps), "a sentence each"


def test_an_event_has_one_spelling_whatever_way_it_came() -> None:
    one = normal(b'{"text": "a\\u00e9", "type":"message.posted"}')
    other = normal('{"type":"message.posted","text":"aé"}'.encode())
    assert one == other
    assert one is not None
    assert digest_of(one) == digest_of(other)
    assert normal(b'{"type":"kind.to.come", "x":1}') == b'{"type":"kind.to.come", "x":1}'
    for broken in (b'{"type":"message.posted"}', b'{"type":"message.posted","text":""}', b"[]", b"{}", b"1"):
        assert normal(broken) is None


@pytest.mark.parametrize("found_by_a_look", [True, False])
async def test_a_rewritten_log_is_what_ended_a_node_even_if_another_reader_was_quicker(
    found_by_a_look: bool,
) -> None:
    rewritten = LogRewritten("its end is gone", "events.1", 3, 9, None)
    quicker = LogRewritten("its end is gone", "directory.1", 0, 9, None)

    async def look() -> None:
        if found_by_a_look:
            raise rewritten

    replay: Any = SimpleNamespace(tail=SimpleNamespace(topic="events.1", look=look))
    group = ExceptionGroup("", [Fatal("x"), quicker])
    assert await _what_was_lost(group, replay) is (rewritten if found_by_a_look else quicker)
    group = ExceptionGroup("", [quicker, rewritten])
    assert await _what_was_lost(group, replay) is rewritten


def test_the_collector_rests_while_a_node_replays_and_not_longer() -> None:
    usual = gc.get_threshold()
    with _collecting_rarely():
        assert gc.get_threshold() == (REPLAYED_OBJECTS, *usual[1:])
    assert gc.get_threshold() == usual
