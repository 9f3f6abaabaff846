"""What a node must not go on after: a log that is not the same log, a record that it cannot number."""

from __future__ import annotations

import asyncio
import gc

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from channel_server.main import ChannelServer
from channel_server.settings import ChannelServerSettings
from services.contract.envelope import HEADER
from services.contract.events import MessagePosted
from services.eventlog.errors import Overtaken
from services.eventlog.records import LogRecord
from services.eventlog.replay import Replay
from tests.stack.waiting import until
from tests.system.channel_server.cell import Cell


async def test_a_wiped_log_resets_the_clients_and_stops_the_node(cell: Cell) -> None:
    (node,) = await cell.nodes("node-1")
    (ann,) = await cell.people(1)
    channel = await cell.channel(ann)
    anns = await cell.connect(node, ann)
    await anns.say(channel, "1")
    admin = AIOKafkaAdminClient(bootstrap_servers=cell.kafka)
    await admin.start()
    try:
        await admin.delete_topics([cell.generation.events_topic])
    finally:
        await admin.close()
    assert await anns.end(60) == 4010
    assert [frame["epoch"] for frame in anns.by_type("reset")] == [cell.generation.epoch]
    assert await node.process.wait() == 70
    assert "the log is lost" in node.process.tail()


async def test_a_record_of_a_newer_release_stops_the_node_before_it_counts_wrong(cell: Cell) -> None:
    (node,) = await cell.nodes("node-1")
    (ann,) = await cell.people(1)
    channel = await cell.channel(ann)
    anns = await cell.connect(node, ann)
    await anns.say(channel, "1")
    producer = AIOKafkaProducer(bootstrap_servers=cell.kafka)
    await producer.start()
    try:
        await producer.send_and_wait(
            cell.generation.events_topic,
            b"{}",
            key=channel.encode(),
            partition=cell.partition(channel),
            headers=[(HEADER, b"2 from the future")],
        )
    finally:
        await producer.stop()
    assert await node.process.wait() == 70
    assert "deploy the newer one" in node.process.tail()
    assert await anns.end() == 1001


async def test_a_log_whose_start_is_gone_is_refused_at_the_start(cell: Cell) -> None:
    (node,) = await cell.nodes("node-1")
    (ann,) = await cell.people(1)
    channel = await cell.channel(ann)
    anns = await cell.connect(node, ann)
    await asyncio.gather(*(anns.say(channel, f"{i}") for i in range(10)))
    await node.process.crash()
    admin = AIOKafkaAdminClient(bootstrap_servers=cell.kafka)
    await admin.start()
    try:
        partition = TopicPartition(cell.generation.events_topic, cell.partition(channel))
        await admin.delete_records({partition: RecordsToDelete(before_offset=5)})
    finally:
        await admin.close()
    node.process.spawn()
    assert await node.process.wait(60) == 70
    assert "the log begins at 5" in node.process.tail()


async def test_a_node_that_retention_overtakes_while_it_starts_begins_anew(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ann,) = await cell.people(1)
    channel = await cell.channel(ann)
    await cell.append(channel, ann, MessagePosted(text="1"))
    starts: list[Replay] = []
    batch = Replay.batch

    async def overtaken_at_first(replay: Replay, timeout_ms: int) -> dict[int, list[LogRecord]]:
        records = await batch(replay, timeout_ms)
        if replay not in starts:
            starts.append(replay)
        if len(starts) == 1 and records:
            raise Overtaken("deleted behind a newer checkpoint")
        return records

    monkeypatch.setattr(Replay, "batch", overtaken_at_first)
    settings = ChannelServerSettings(
        node_name="node-1",
        kafka=cell.kafka,
        secrets_dir=cell.secrets,
        websocket_port=0,
        internal_port=0,
        drain_seconds=1.0,
    )
    server, stop = ChannelServer(settings), asyncio.Event()
    serving = asyncio.create_task(server.serve(stop))
    try:
        await until(lambda: serving.done() or server.why_not_ready() is None)
        node = server._node
        assert node is not None
        # Nothing of the first fold is left.
        assert (len(starts), node.counts.events) == (2, 1)
        assert node.state.numbering.head(channel) == 1
    finally:
        stop.set()
        await serving
        gc.unfreeze()
