"""Promise: who has said that they are away is away in the next epoch too, if the old log still says so."""

from __future__ import annotations

from aiokafka import AIOKafkaProducer

from services.bootstrap.away import carry_over_away
from services.contract.generation import Generation
from services.contract.ids import new_entity_id
from services.contract.presence import Away, NodeBeat, UserSessions, away_key, encode, node_key, sessions_key
from services.eventlog.committed import read_committed
from tests.stack.servers import Kafka
from tests.system.eventlog.conftest import delete_topics, make_topics


async def keys_and_values(kafka: Kafka, generation: Generation) -> dict[str, bytes | None]:
    return {
        record.key.decode(): record.value
        async for records in read_committed(kafka.bootstrap, generation.sessions_topic, 1)
        for record in records
    }


async def test_what_people_have_said_goes_on_and_what_is_of_the_moment_does_not(kafka: Kafka) -> None:
    old, new = await make_topics(kafka.bootstrap), await make_topics(kafka.bootstrap)
    anna, omar, zoe = (new_entity_id("usr") for _ in range(3))
    away = encode(Away(since=5))
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all") as producer:
        for key, value in (
            (away_key(anna), away),
            (away_key(omar), away),
            (node_key("a"), encode(NodeBeat(name="a", at=1))),
            (sessions_key(zoe, "a"), encode(UserSessions(sessions=[]))),
            (away_key(omar), None),
        ):
            await producer.send_and_wait(old.sessions_topic, value, key.encode(), partition=0)
    for _ in range(2):  # an operator's command that is run again
        assert await carry_over_away(kafka.bootstrap, old, new) == 1
        assert await keys_and_values(kafka, new) == {away_key(anna): away}
    await delete_topics(kafka.bootstrap, old)
    assert await carry_over_away(kafka.bootstrap, old, new) == 0, "nothing to be read any more"
    await delete_topics(kafka.bootstrap, new)
