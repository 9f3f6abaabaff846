"""The brokers of a topic, when those that are known are gone."""

from __future__ import annotations

from aiokafka.structs import BrokerMetadata

from deploy.local.ports import free_ports
from services.contract.generation import Generation
from services.eventlog.brokers import Brokers
from tests.stack.servers import Kafka
from tests.stack.waiting import until


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
        await brokers.refresh()
        assert await brokers.know_topic()
        await until(lambda: brokers.leader(0) is not None, 20.0, what="the leader is known again")
    finally:
        await brokers.close()
