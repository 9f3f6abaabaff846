"""Nodes that are killed, told to leave or cut off; clients that do not read; rings that are too small."""

from __future__ import annotations

import asyncio
import json
import signal
import time

from services.contract.ids import new_event_id
from tests.stack.servers import Kafka
from tests.stack.waiting import until
from tests.system.channel_server.cell import Cell, Client, dense, new_cell
from tests.system.conftest import Factory


async def test_a_ring_that_has_moved_on_gives_an_exact_gap(cell: Cell) -> None:
    (node,) = await cell.nodes("node-1", ring_bytes="4096")
    ann, bob = await cell.people(2)
    channel = await cell.channel(ann, bob)
    anns = await cell.connect(node, ann)
    for i in range(40):
        await anns.say(channel, f"{i}")
    bobs = await cell.connect(node, bob, {channel: 3})
    await bobs.shown(channel, 40)
    (gap,) = bobs.by_type("gap")
    assert gap["from"] == 4
    assert 4 <= gap["to"] < 40
    assert dense(bobs.seqs(channel), after=gap["to"])
    # Nothing of the channel at all is held any more: the gap goes up to the head.
    other = await cell.channel(ann)
    for i in range(40):
        await anns.say(other, f"{i}")
    again = await cell.connect(node, bob, {channel: 40 - 5})
    gap = await again.frame("gap")
    assert (gap["from"], gap["to"]) == (36, 40)


async def test_a_killed_node_is_back_in_seconds_with_its_numbers_and_its_ring(cell: Cell) -> None:
    (node,) = await cell.nodes("node-1")
    ann, bob = await cell.people(2)
    channel = await cell.channel(ann, bob)
    anns, bobs = await cell.connect(node, ann), await cell.connect(node, bob)
    await bobs.opened(channel)
    ids = [new_event_id() for _ in range(30)]
    acked = [await anns.say(channel, f"{i}", id) for i, id in enumerate(ids)]
    await bobs.shown(channel, 30)
    before = bobs.by_type("event")
    # A message under way: stored or not, its retry under the same id settles it.
    unanswered = await anns.post(channel, "under way")
    await node.process.crash()
    started = time.monotonic()
    await node.process.start()
    assert time.monotonic() - started < 30
    anns, bobs = await cell.connect(node, ann, {channel: 30}), await cell.connect(node, bob, {channel: 10})
    retried = await anns.say(channel, "under way", unanswered)
    assert retried["seq"] == 31
    await bobs.shown(channel, 31)
    assert dense(bobs.seqs(channel), after=10)
    assert bobs.by_type("event")[:20] == before[10:]
    again = await anns.say(channel, "29", ids[29])
    assert (again["seq"], again["at"], again["duplicate"]) == (30, acked[29]["at"], True)


async def test_a_node_that_leaves_sends_everybody_away_and_loses_nothing(cell: Cell) -> None:
    one, two = await cell.nodes("node-1", "node-2", drain_seconds="6")
    people = await cell.people(20)
    channel = await cell.channel(*people)
    clients = [await cell.connect(one, person) for person in people]
    watcher = await cell.connect(two, people[0])
    await watcher.opened(channel)
    sent: dict[str, Client] = {}
    for client in clients:
        for i in range(5):
            sent[await client.post(channel, f"{i}")] = client
    one.process.kill(signal.SIGTERM)
    assert {await client.end() for client in clients} == {4007}
    assert await one.process.wait() == 0
    for client in clients:
        (reconnect,) = client.by_type("reconnect")
        assert reconnect["nodes"] == [two.websocket]
        # What was sent before is answered before; when the log is slow, by a refusal that says so.
        answered = client.by_type("ack") + client.by_type("refused", code="slow_down")
        assert {frame["id"] for frame in answered} == {i for i, c in sent.items() if c is client}
    acked = {frame["id"]: frame["seq"] for client in clients for frame in client.by_type("ack")}
    await watcher.shown(channel, max(acked.values()))
    assert {event["id"] for event in watcher.by_type("event")} == set(acked)


async def test_a_client_that_does_not_read_costs_a_constant_and_misses_nothing(cell: Cell) -> None:
    (node,) = await cell.nodes("node-1", connection_rate="2000", user_rate="2000", behind_seconds="300")
    ann, bob, carol = await cell.people(3)
    channel = await cell.channel(ann, bob, carol)
    anns, carols = await cell.connect(node, ann), await cell.connect(node, carol)
    # No more than a few messages fit between the socket and this client.
    bobs = await cell.connect(node, bob, max_queue=2, write_limit=1024)
    await bobs.opened(channel)
    await carols.opened(channel)
    bobs.stop_reading()
    text = "x" * 4000
    latest = 0.0
    for start in range(0, 1000, 100):
        answers = await asyncio.gather(*(anns.say(channel, text) for _ in range(100)))
        asked = time.monotonic()
        await carols.shown(channel, start + 100)
        latest = max(latest, time.monotonic() - asked)
        assert all(answer["type"] == "ack" for answer in answers)
    page = (await node.get("/internal/v1/connections")).json()
    described = {item["user"]: item for item in page["items"]}
    assert page["items"][0]["user"] == bob.id, "the worst off comes first"
    assert described[bob.id]["state"] == "behind"
    assert described[bob.id]["oldest_unsent_seconds"] > 0
    assert described[bob.id]["lag"][0]["channel"] == channel
    assert described[bob.id]["kernel_bytes"] < 512 * 1024
    assert described[bob.id]["buffered_bytes"] < 512 * 1024
    assert described[bob.id]["lagging_events"] > 500
    assert described[carol.id]["state"] == "live"
    assert described[carol.id]["remote"].startswith("127.0.0.1:")
    bobs.start_reading()
    await bobs.shown(channel, 1000)
    assert dense(bobs.seqs(channel))
    assert not bobs.by_type("gap")


async def test_a_client_that_never_reads_is_sent_away_and_may_come_back(cell: Cell) -> None:
    (node,) = await cell.nodes(
        "node-1", connection_rate="2000", user_rate="2000", behind_seconds="4", ring_bytes="100000"
    )
    ann, bob = await cell.people(2)
    channel = await cell.channel(ann, bob)
    anns = await cell.connect(node, ann)
    bobs = await cell.connect(node, bob, max_queue=2)
    await bobs.opened(channel)
    bobs.stop_reading()
    for _ in range(5):
        await asyncio.gather(*(anns.say(channel, "x" * 8000) for _ in range(100)))

    async def gone() -> bool:
        return len((await node.get("/internal/v1/connections")).json()["items"]) == 1

    await until(gone)
    metrics = (await node.get("/metrics")).text
    assert 'lockstep_node_ended_connections_total{close="too_slow"} 1.0' in metrics
    last = max(bobs.seqs(channel), default=0)
    again = await cell.connect(node, bob, {channel: last})
    await again.shown(channel, 500)
    (gap,) = again.by_type("gap")
    assert gap["from"] == last + 1
    assert dense(again.seqs(channel), after=gap["to"])


async def test_a_broker_that_stops_for_a_while_is_no_storm(new_kafka: Factory[Kafka], folder: object) -> None:
    kafka = await new_kafka()
    async with new_cell(kafka.bootstrap, kafka.process.log.parent / "cell-files") as cell:
        (node,) = await cell.nodes("node-1")
        ann, bob = await cell.people(2)
        channel = await cell.channel(ann, bob)
        anns, bobs = await cell.connect(node, ann), await cell.connect(node, bob)
        await bobs.opened(channel)
        await anns.say(channel, "before")
        kafka.process.freeze()

        async def ready() -> int:
            return (await node.get("/health/ready")).status_code

        async def late() -> bool:
            return "the events tail" in (await node.get("/health/ready")).json().get("reason", "")

        await until(late)
        refused = await anns.say(channel, "now", patient=False)
        assert (refused["code"], refused["retry_after_ms"]) == ("slow_down", 1000)
        started = time.monotonic()
        while time.monotonic() - started < 5:
            assert anns.closed is None
            assert bobs.closed is None
            await asyncio.sleep(0.5)
        kafka.process.thaw()

        async def again() -> bool:
            return await ready() == 200

        await until(again)
        assert (await anns.say(channel, "after"))["seq"] == 2
        await bobs.shown(channel, 2)
        assert (anns.closed, bobs.closed) == (None, None)


async def test_the_internal_api_appends_and_answers_with_the_number(cell: Cell) -> None:
    (node,) = await cell.nodes("node-1")
    ann, bob = await cell.people(2)
    channel = await cell.channel(ann, bob)
    bobs = await cell.connect(node, bob)
    await bobs.opened(channel)
    id = new_event_id()
    body = {"channel": channel, "sender": ann.id, "id": id, "event": {"type": "message.posted", "text": "hi"}}
    reply = await node.post(body)
    assert reply.status_code == 201
    assert reply.json() == {
        "epoch": cell.generation.epoch,
        "channel": channel,
        "id": id,
        "seq": 1,
        "at": reply.json()["at"],
        "duplicate": False,
    }
    assert (await node.post(body)).json() == {**reply.json(), "duplicate": True}
    await bobs.shown(channel, 1)
    assert bobs.by_type("event")[0]["at"] == reply.json()["at"]
    # The same message over the WebSocket is the same message.
    anns = await cell.connect(node, ann)
    assert (await anns.say(channel, "hi", id))["seq"] == 1
    other = {**body, "event": {"type": "message.posted", "text": "no"}}
    refused = await node.post(other)
    assert (refused.status_code, refused.json()["code"]) == (409, "id_reused")
    assert refused.headers["content-type"] == "application/problem+json"
    unknown_kind = {**body, "id": new_event_id(), "event": {"type": "from.the.future", "x": [1]}}
    assert (await node.post(unknown_kind)).json()["seq"] == 2
    await bobs.shown(channel, 2)
    assert bobs.by_type("event")[1]["event"] == {"type": "from.the.future", "x": [1]}

    assert (await node.post(body, token="wrong")).status_code == 401
    assert (await node.get("/internal/v1/connections", token="wrong")).status_code == 401
    for broken in (
        {**body, "channel": "x"},
        {**body, "event": {"type": "message.posted"}},
        {**body, "event": {}},
        {"event": 1},
    ):
        assert (await node.post(broken)).json()["code"] == "invalid_request"
    too_large = {**body, "event": {"type": "x", "text": "x" * 300_000}}
    assert (await node.post(too_large)).json()["code"] == "too_large"
    assert (await node.get("/internal/v1/nothing")).json()["code"] == "not_found"
    expired = await node.post({**body, "id": new_event_id(1_000_000_000_000)})
    assert (expired.status_code, expired.json()["code"], expired.json()["head"]) == (409, "expired", 2)


async def test_connections_are_listed_in_pages(cell: Cell) -> None:
    (node,) = await cell.nodes("node-1")
    people = await cell.people(5)
    for person in people:
        await cell.connect(node, person)
    silent = await cell.open(node, people[0])
    assert silent.closed is None
    seen = []
    cursor: str | None = "0"
    pages = 0
    while cursor is not None:
        page = (await node.get(f"/internal/v1/connections?limit=2&cursor={cursor}")).json()
        seen += page["items"]
        cursor = page["next_cursor"]
        pages += 1
    assert pages == 3
    assert [item["user"] for item in seen] == [person.id for person in people] + [""]
    assert seen[-1]["state"] == "connecting"


async def test_a_settings_error_is_one_sentence(cell: Cell) -> None:
    (node,) = cell.new_nodes("node-1", heartbeat_seconds="soon")
    node.process.spawn()
    assert await node.process.wait(60) == 78
    assert "LOCKSTEP_HEARTBEAT_SECONDS" in node.process.tail()


async def test_a_node_without_a_log_waits_for_it_and_can_be_stopped(cell: Cell) -> None:
    (node,) = cell.new_nodes("node-1", kafka="127.0.0.1:1")
    node.process.spawn()

    async def live() -> bool:
        return (await node.get("/health/live")).status_code == 200

    await until(lambda: "internal API" in node.process.tail())
    assert await live()
    assert (await node.get("/health/ready")).status_code == 503
    assert await node.process.stop() == 0


async def test_frames_that_are_none_are_answered_and_counted(cell: Cell) -> None:
    (node,) = await cell.nodes("node-1")
    (ann,) = await cell.people(1)
    anns = await cell.connect(node, ann)
    for _ in range(11):
        await anns.socket.send("no JSON")
    assert await anns.end() == 4004
    assert len(anns.by_type("error", code="bad_frame")) == 11
    silent = await cell.open(node, ann)
    await silent.socket.send(json.dumps({"type": "connect", "token": cell.token(ann, lifetime=-60)}))
    assert await silent.end() == 4000
