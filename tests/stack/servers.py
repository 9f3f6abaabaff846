"""A Kafka broker and a PostgreSQL server that belong to a test."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from deploy.local import toolchain
from deploy.local.archive import with_archive
from deploy.local.kafka import KafkaServer
from deploy.local.ports import free_ports
from deploy.local.postgres import PostgresServer
from deploy.local.toolchain import Toolchain
from deploy.settings import DATABASE_USER
from tests.stack.process import Process
from tests.stack.proxy import Proxy, proxy
from tests.stack.waiting import PATIENCE_S

_numbers = itertools.count(1)

_BRIEF = ("-XX:TieredStopAtLevel=1",)
"""For a broker that lives for a minute: Java's second compiler takes more than it gives in so short a time, nearly half of all
that a broker costs."""


def broker_tools() -> Toolchain:
    """Java and Kafka, fetched if need be; the same ones that `make up` uses."""
    return with_archive(toolchain.prepare())


@dataclass(frozen=True, slots=True)
class Kafka:
    """`bootstrap` is what clients are told; `process` can be killed, frozen, restarted (same port, same data)."""

    bootstrap: str
    process: Process


@contextlib.asynccontextmanager
async def kafka_broker(
    folder: Path, advertised: int | None = None, port: int | None = None, *, lasting: bool = False
) -> AsyncIterator[Kafka]:
    """A broker of its own, ready; killed at the end. `advertised`: the port of a proxy in front of it. `lasting`: it is for
    longer than a test, or is measured, and Java does for it all that it can."""
    chain = await asyncio.to_thread(broker_tools)
    client_port, controller_port = (port or free_ports(1)[0]), free_ports(1)[0]
    folder.mkdir(parents=True, exist_ok=True)
    inner_port = None if advertised is None else free_ports(1)[0]
    server = KafkaServer(
        chain,
        folder,
        client_port,
        controller_port,
        advertised,
        inner_port,
        jvm=() if lasting else _BRIEF,
    )
    await asyncio.to_thread(server.prepare)
    process = Process("kafka", server.command(), folder / "kafka.log", ready=server.ready)
    try:
        await process.start(120.0)
        yield Kafka(server.bootstrap, process)
    finally:
        await process.destroy()


@dataclass(frozen=True, slots=True)
class Cluster:
    """Brokers by id (1, 2, 3), each with a copy of every topic; `proxies` stand between them and their clients.

    `inner`: bootstrap servers for those who are to reach all of them past the proxies.
    """

    brokers: Mapping[int, Kafka]
    proxies: Mapping[int, Proxy]
    inner: str

    @property
    def kafka(self) -> Kafka:
        """The whole cluster for those who only want to connect; `process` is that of broker 1."""
        bootstrap = ",".join(broker.bootstrap for broker in self.brokers.values())
        return Kafka(bootstrap, self.brokers[1].process)


@contextlib.asynccontextmanager
async def kafka_cluster(
    folder: Path, *, proxied: bool = False, lasting: bool = False
) -> AsyncIterator[Cluster]:
    """Three brokers, ready; killed at the end. Topics need LOCKSTEP_REPLICATION=3.

    `proxied`: clients reach each of them through a proxy; brokers talk to each other past it. `lasting`: as `kafka_broker`.
    """
    chain = await asyncio.to_thread(broker_tools)
    ids = (1, 2, 3)
    voters = dict(zip(ids, free_ports(len(ids)), strict=True))
    brokers: dict[int, Kafka] = {}
    proxies: dict[int, Proxy] = {}
    inners: list[str] = []
    async with contextlib.AsyncExitStack() as owned:
        for id in ids:
            own = folder / f"broker-{id}"
            own.mkdir(parents=True, exist_ok=True)
            port, inner = free_ports(2)
            inners.append(f"127.0.0.1:{inner if proxied else port}")
            if proxied:
                proxies[id] = await owned.enter_async_context(proxy("127.0.0.1", port))
            server = KafkaServer(
                chain,
                own,
                port,
                voters[id],
                advertised=proxies[id].port if proxied else None,
                inner_port=inner,
                node_id=id,
                voters=voters,
                jvm=() if lasting else _BRIEF,
            )
            await asyncio.to_thread(server.prepare)
            process = Process(f"kafka-{id}", server.command(), own / "kafka.log", ready=server.ready)
            owned.push_async_callback(process.destroy)
            brokers[id] = Kafka(server.bootstrap, process)
            process.spawn()
        await asyncio.gather(*(broker.process.wait_ready(120.0) for broker in brokers.values()))
        yield Cluster(brokers, proxies, ",".join(inners))


@dataclass(frozen=True, slots=True)
class Database:
    """One database of a server: the parts of its address, and connections to it."""

    host: str
    port: int
    name: str
    user: str
    password: str

    @property
    def dsn(self) -> str:
        """postgresql://user:password@host:port/name"""
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{self.name}"

    async def connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(self.dsn, timeout=PATIENCE_S)


@dataclass(frozen=True, slots=True)
class Postgres:
    """`process` can be stopped, killed, frozen, restarted (same port, same data)."""

    server: PostgresServer
    process: Process

    async def new_database(self, name: str | None = None) -> Database:
        """An empty database of its own."""
        chosen = name or f"test_{next(_numbers)}"
        await self.server.create_database(chosen)
        return Database("127.0.0.1", self.server.port, chosen, DATABASE_USER, self.server.password)

    async def drop_database(self, database: Database) -> None:
        connection = await self.server.connect()
        try:
            await connection.execute(f'DROP DATABASE IF EXISTS "{database.name}" WITH (FORCE)')
        finally:
            await connection.close()


@contextlib.asynccontextmanager
async def postgres_server(folder: Path, password: str, port: int | None = None) -> AsyncIterator[Postgres]:
    """A server of its own, ready; killed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    server = PostgresServer(folder / "data", port or free_ports(1)[0], password)
    await asyncio.to_thread(server.prepare)
    process = Process(
        "postgres", server.command(), folder / "postgres.log", ready=server.ready, stop_signal=signal.SIGINT
    )
    try:
        await process.start()
        yield Postgres(server, process)
    finally:
        await process.destroy()
