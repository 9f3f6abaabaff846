"""The brokers of a topic, when those that are known are gone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import BrokerMetadata

from deploy.local.ports import free_ports
from services.contract.generation import Generation
from services.eventlog import brokers as brokers_module
from services.eventlog.brokers import Brokers
from services.eventlog.connection import Connection
from services.eventlog.wire import Fetch, FetchAnswer
from tests.stack.proxy import Proxy
from tests.stack.servers import Kafka
from tests.stack.waiting import PATIENCE_S, until

FETCH = Fetch("no.such.topic", [(0, 0)], max_wait_ms=0, max_bytes=1, partition_bytes=1, committed_only=False)


async def test_a_broker_that_does_not_answer_at_first_is_tried_again(
    kafka: Kafka, generation: Generation
) -> None:
    came = asyncio.Event()

    async def turn_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        writer.close()

    door = await asyncio.start_server(turn_away, "127.0.0.1", 0)
    port = door.sockets[0].getsockname()[1]
    brokers = Brokers(f"127.0.0.1:{port}", generation.events_topic, request_timeout_ms=2_000)
    starting = asyncio.create_task(brokers.start())
    host, _, real = kafka.bootstrap.rpartition(":")
    proxy = Proxy(host, int(real))
    try:
        async with asyncio.timeout(PATIENCE_S):
            await came.wait()
            door.close()
            await door.wait_closed()
            await proxy.start(port)
            await starting
            assert await brokers.know_topic()
    finally:
        starting.cancel()
        await asyncio.wait([starting])
        await brokers.close()
        await proxy.close()


async def test_when_all_known_brokers_are_gone_the_given_addresses_are_asked_again(
    kafka: Kafka, generation: Generation
) -> None:
    brokers = Brokers(kafka.bootstrap, generation.events_topic, request_timeout_ms=2_000)
    await brokers.start()
    try:
        assert await brokers.know_topic()
        # As after an hour in which only one broker was alive when it was last asked, and now only the others are.
        metadata, client = brokers._metadata, brokers._client
        assert metadata is not None
        assert client is not None
        [dead] = free_ports(1)
        metadata.cluster._brokers = {1: BrokerMetadata(1, "127.0.0.1", dead, None)}
        for connection in [*metadata._conns.values(), *client._conns.values()]:
            connection.close()
        with pytest.raises(KafkaConnectionError, match=f"127.0.0.1:{dead}"):
            await brokers.exchange(1, FETCH, 2)
        await brokers.refresh()
        assert await brokers.know_topic()
        await until(lambda: brokers.leader(0) is not None, 20.0, what="the leader is known again")
        leader = brokers.leader(0)
        assert leader is not None
        assert isinstance(await brokers.exchange(leader, FETCH, 2), FetchAnswer)
    finally:
        await brokers.close()


async def test_who_asks_at_once_shares_a_connection_and_a_cut_one_is_made_anew(
    kafka: Kafka, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Connection] = []

    def counted(*arguments: Any, **options: Any) -> Connection:
        opened.append(Connection(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(brokers_module, "Connection", counted)
    topic = generation.events_topic
    brokers = Brokers(kafka.bootstrap, topic, request_timeout_ms=2_000)
    await brokers.start()
    try:
        leader = brokers.leader(0)
        assert leader is not None
        answers = await asyncio.gather(*(brokers.exchange(leader, FETCH, 2) for _ in range(10)))
        assert {type(answer) for answer in answers} == {FetchAnswer}
        assert len(opened) == 1

        def fetch(wait_ms: int) -> Fetch:
            return Fetch(
                topic, [(0, 0)], max_wait_ms=wait_ms, max_bytes=99, partition_bytes=99, committed_only=False
            )

        async def led() -> bool:
            answer: FetchAnswer = await brokers.exchange(leader, fetch(0), 2)
            return not answer.places[0].error

        await until(led, what="the broker knows that it leads")
        waiting = asyncio.create_task(brokers.exchange(leader, fetch(1_500), 2))
        await asyncio.sleep(0)  # asked
        brokers.cut(leader, 2)
        with pytest.raises(KafkaConnectionError, match="cut"):
            await waiting
        assert not brokers._connections
        await brokers.exchange(leader, FETCH, 2)
        assert len(opened) == 2
    finally:
        await brokers.close()
    assert not any(connection.is_open for connection in opened)
    assert not brokers._connections
