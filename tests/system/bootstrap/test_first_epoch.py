"""`python -m services.bootstrap` on real servers: once, twice, twice at once, and when something was lost."""

from __future__ import annotations

import asyncio

import msgspec
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from services.contract.generation import Generation
from services.eventlog.epoch import current_generation, generations
from services.eventlog.topics import admin_client
from tests.stack.servers import Database, Kafka, Postgres
from tests.stack.waiting import until
from tests.system.bootstrap.conftest import Bootstrap
from tests.system.conftest import Factory
from tests.system.eventlog.writing import channel_in, messages, write

FATAL = 70


async def known(database: Database) -> tuple[list[Generation], list[tuple[int, int, int]]]:
    connection = await database.connect()
    try:
        records = await connection.fetch("select record from generations order by epoch")
        rows = await connection.fetch(
            "select epoch, partition, next_offset from log_partitions order by 1, 2"
        )
    finally:
        await connection.close()
    return (
        [msgspec.json.decode(record["record"], type=Generation) for record in records],
        [tuple(row) for row in rows],
    )


async def topic_settings(kafka: str, topic: str) -> dict[str, str]:
    async with admin_client(kafka) as admin:
        [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    [(_, _, _, _, entries)] = answer.resources
    return {entry[0]: entry[1] for entry in entries}


async def gone(kafka: str, *topics: str) -> None:
    """Wait until the deletion of these has taken effect."""
    async with admin_client(kafka) as admin:

        async def deleted() -> bool:
            return not set(topics) & set(await admin.list_topics())

        await until(deleted, what=f"{topics} are gone")


async def test_epoch_1_is_made_once_however_often_and_by_however_many(
    new_kafka: Factory[Kafka], database: Database, bootstrap: Bootstrap
) -> None:
    broker = await new_kafka()
    facts = {"partitions": "3", "retry_ms": "2000", "future_ms": "1000", "checkpoint_lag_ms": "500"}
    at_once = await asyncio.gather(*(bootstrap(broker.bootstrap, database, **facts) for _ in range(3)))
    assert [code for code, _ in at_once] == [0, 0, 0], at_once
    generation = await current_generation(broker.bootstrap)
    assert (generation.epoch, generation.partitions) == (1, 3)
    assert (generation.retry_ms, generation.future_ms, generation.checkpoint_lag_ms) == (2000, 1000, 500)
    assert generation.created_ms > 0
    first = await known(database)
    assert first == ([generation], [(1, 0, 0), (1, 1, 0), (1, 2, 0)])
    # An epoch's facts are fixed when it is made.
    code, said = await bootstrap(broker.bootstrap, database, partitions="5")
    assert code == 0, said
    assert await known(database) == first
    assert await generations(broker.bootstrap) == {1: generation}

    events = await topic_settings(broker.bootstrap, "events.1")
    for name, value in {
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "cleanup.policy": "delete",
        "min.insync.replicas": "1",
        "unclean.leader.election.enable": "false",
    }.items():
        assert events[name] == value
    for topic in ("heads.1", "directory.1", "sessions.1", "generations"):
        assert (await topic_settings(broker.bootstrap, topic))["cleanup.policy"] == "compact"
    assert (await topic_settings(broker.bootstrap, "ephemeral.1"))["retention.ms"] == "300000"
    # An epoch that an earlier release made lacks the topics of the moment: they are made, and nothing else changes.
    async with admin_client(broker.bootstrap) as admin:
        await admin.delete_topics(["sessions.1", "ephemeral.1"])
    await gone(broker.bootstrap, "sessions.1", "ephemeral.1")
    code, said = await bootstrap(broker.bootstrap, database)
    assert code == 0, said
    async with admin_client(broker.bootstrap) as admin:
        assert {"sessions.1", "ephemeral.1"} <= set(await admin.list_topics())
    assert await known(database) == first


async def test_it_refuses_when_log_and_database_belong_to_different_histories(
    new_kafka: Factory[Kafka], postgres: Postgres, bootstrap: Bootstrap
) -> None:
    broker, other = await asyncio.gather(new_kafka(), new_kafka())
    ours, theirs, third = [await postgres.new_database() for _ in range(3)]
    assert (await bootstrap(broker.bootstrap, ours))[0] == 0
    # The log was lost, or it is another cluster.
    code, said = await bootstrap(other.bootstrap, ours)
    assert code == FATAL
    assert "the log knows no epoch" in said
    # Two installations mixed up.
    assert (await bootstrap(other.bootstrap, theirs))[0] == 0
    code, said = await bootstrap(other.bootstrap, ours)
    assert code == FATAL
    assert "another installation" in said
    # A crash between the two: nothing was written yet, so it is simply completed.
    code, said = await bootstrap(broker.bootstrap, third)
    assert code == 0, said
    # The database was lost.
    generation = await current_generation(broker.bootstrap)
    channel = channel_in(0, generation.partitions)
    await write(broker.bootstrap, generation, messages(1, [channel]))
    fourth = await postgres.new_database()
    code, said = await bootstrap(broker.bootstrap, fourth)
    assert code == FATAL
    assert "database knows no epoch" in said
    # A topic of the epoch is gone.
    async with admin_client(broker.bootstrap) as admin:
        await admin.delete_topics([generation.events_topic])
    await gone(broker.bootstrap, generation.events_topic)
    code, said = await bootstrap(broker.bootstrap, ours)
    assert code == FATAL
    assert generation.events_topic in said
    for database in (ours, theirs, third, fourth):
        await postgres.drop_database(database)


async def test_it_waits_for_the_servers_and_says_which_one_did_not_come(
    kafka: Kafka, database: Database, bootstrap: Bootstrap
) -> None:
    code, said = await bootstrap("127.0.0.1:9", database, bootstrap_wait_s="1")
    assert code == FATAL
    assert "no Kafka broker answers at 127.0.0.1:9" in said
    code, said = await bootstrap(kafka.bootstrap, database, bootstrap_wait_s="6", database_port="9")
    assert code == FATAL
    assert "PostgreSQL does not answer at 127.0.0.1:9" in said


async def test_settings_that_make_no_sense_are_named(
    kafka: Kafka, database: Database, bootstrap: Bootstrap
) -> None:
    code, said = await bootstrap(kafka.bootstrap, database, partitions="0", retry_ms="soon")
    assert code == 78
    assert "LOCKSTEP_PARTITIONS" in said
    assert "LOCKSTEP_RETRY_MS" in said
