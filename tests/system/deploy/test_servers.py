"""The servers that the system tests stand on are real, survive being killed with their data, and can be troubled."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.stack.proxy import Proxy
from tests.stack.servers import Database, Kafka, Postgres
from tests.stack.waiting import PATIENCE_S
from tests.system.conftest import Factory


async def make_topic(bootstrap: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, 1)])
    finally:
        await admin.close()


async def read_all(bootstrap: str, topic: str) -> list[bytes | None]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        return [(await asyncio.wait_for(consumer.getone(), PATIENCE_S)).value for _ in range(end)]
    finally:
        await consumer.stop()


async def append(bootstrap: str, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def test_a_database_is_fresh_and_forgets_nothing_it_was_told(database: Database) -> None:
    connection = await database.connect()
    try:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
        assert await connection.fetchval("SHOW server_version_num") >= "180000"
    finally:
        await connection.close()


async def test_what_the_broker_acknowledged_survives_its_death(new_kafka: Factory[Kafka]) -> None:
    kafka = await new_kafka()
    await make_topic(kafka.bootstrap, "kept")
    await append(kafka.bootstrap, "kept", b"before")
    await kafka.process.crash()
    await kafka.process.start()
    await append(kafka.bootstrap, "kept", b"after")
    assert await read_all(kafka.bootstrap, "kept") == [b"before", b"after"]


async def test_a_mistyped_topic_is_an_error_and_not_a_new_topic(kafka: Kafka) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, request_timeout_ms=5_000)
    await producer.start()
    try:
        with pytest.raises(Exception, match=r"(?i)topic|partition|metadata"):
            await producer.send_and_wait("nobody-made-me", b"x")
    finally:
        await producer.stop()


async def test_what_postgres_committed_survives_its_death(new_postgres: Factory[Postgres]) -> None:
    postgres = await new_postgres()
    database = await postgres.new_database()
    connection = await database.connect()
    await connection.execute("CREATE TABLE kept (value int)")
    await connection.execute("INSERT INTO kept VALUES (7)")
    await postgres.process.crash()
    await postgres.process.start()
    connection = await database.connect()
    try:
        assert await connection.fetchval("SELECT value FROM kept") == 7
    finally:
        await connection.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1024):
        writer.write(data)
    writer.close()


async def test_a_proxy_stalls_delays_cuts_and_heals(new_proxy: Factory[Proxy]) -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = await new_proxy("127.0.0.1", server.sockets[0].getsockname()[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(b"one")
        assert await asyncio.wait_for(reader.readexactly(3), PATIENCE_S) == b"one"

        proxy.stall()
        writer.write(b"two")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(3), 0.3)
        proxy.resume()
        assert await asyncio.wait_for(reader.readexactly(3), PATIENCE_S) == b"two"

        proxy.delay = 0.2
        begun = time.monotonic()
        writer.write(b"three")
        assert await asyncio.wait_for(reader.readexactly(5), PATIENCE_S) == b"three"
        assert time.monotonic() - begun >= 0.4

        await proxy.cut()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await asyncio.wait_for(reader.readexactly(1), PATIENCE_S)
    finally:
        writer.close()
        server.close()
