"""A whole Lockstep of a test's own: broker, database, bootstrap and every process, on free ports."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy.local import secrets
from deploy.local.ports import free_ports
from deploy.local.toolchain import CLONE
from deploy.settings import BOOTSTRAP, KAFKA, LISTENERS, POSTGRES, SERVICES, Service, Site, local_site
from services.eventlog.epoch import current_generation
from services.eventlog.probe import Probe
from tests.stack.process import NotRunning, Process, gather_stopped
from tests.stack.rawlog import positions
from tests.stack.servers import Database, Kafka, Postgres, kafka_broker, postgres_server
from tests.stack.waiting import until

# Many people sign up in a test, from one address; hashing their passwords at full cost would be most of its time.
CHEAP = {
    "LOCKSTEP_WEB_PASSWORD_TIME_COST": "1",
    "LOCKSTEP_WEB_PASSWORD_MEMORY_KIB": "64",
    "LOCKSTEP_WEB_PASSWORD_PARALLELISM": "1",
    "LOCKSTEP_WEB_ADDRESS_LIMIT": "100000/minute",
    "LOCKSTEP_WEB_INVITE_LIMIT": "100000/minute",
    "LOCKSTEP_WEB_CREATE_LIMIT": "100000/minute",
    # History is asked for what must come, and the machine may be busy; clients wait for an answer for 20 s.
    "LOCKSTEP_WEB_AT_LEAST_S": "15",
}


@dataclass
class Stack:
    """`processes` by name: web_app, node-1, node-2, persister, relay, checkpointer; also `kafka` and `postgres`.

    `web_port`: where clients are told to find web_app, when that is not its own port (a proxy's).
    """

    folder: Path
    site: Site
    kafka: Kafka
    postgres: Postgres
    database: Database
    secrets_dir: Path
    extra: Mapping[str, str] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    web_port: int | None = None

    @property
    def web_url(self) -> str:
        """http://127.0.0.1:PORT of web_app."""
        return f"http://127.0.0.1:{self.web_port or self._port('web_app', 0)}"

    def websocket_url(self, node: str = "node-1") -> str:
        return f"ws://127.0.0.1:{self._port(node, 0)}/v1/websocket"

    def internal_url(self, node: str = "node-1") -> str:
        return f"http://127.0.0.1:{self._port(node, 1)}"

    def health_url(self, name: str) -> str:
        """Where `name` serves /health/ready and /metrics (base URL)."""
        service = next(service for service in SERVICES if service.name == name)
        return f"http://127.0.0.1:{self.site.ports[service.health.setting]}"

    @property
    def service_token(self) -> str:
        return secrets.read(self.secrets_dir, "service_token")

    def _port(self, name: str, listener: int) -> int:
        service = next(service for service in SERVICES if service.name == name)
        return self.site.ports[service.listeners[listener].setting]

    def process(self, service: Service, environment: Mapping[str, str] | None = None) -> Process:
        """One process of the product as this stack runs it, not started; `environment` on top (tests' settings)."""
        return Process(
            service.name,
            [sys.executable, "-m", service.module],
            self.folder / f"{service.name}.log",
            environment={**self.site.environment(service), **CHEAP, **self.extra, **(environment or {})},
            ready=f"http://127.0.0.1:{self.site.ports[service.health.setting]}/health/ready",
            cwd=CLONE,
        )

    async def bootstrap(self) -> None:
        """Migrations, topics, the first epoch. Raises NotRunning with the end of its log when it fails."""
        once = Process(
            "bootstrap",
            [sys.executable, "-m", BOOTSTRAP],
            self.folder / "bootstrap.log",
            environment={**self.site.common(), **self.extra},
            cwd=CLONE,
        )
        once.spawn()
        try:
            status = await once.wait(120.0)
        finally:
            await once.destroy()
        if status != 0:
            raise NotRunning(f"bootstrap ended with {status}:\n{once.tail()}")

    async def told(self) -> None:
        """Wait until all that was decided by REST so far is published and stored (relay and persister run), so that
        none of it comes between what happens from here on."""
        connection = await self.database.connect()
        try:

            async def nothing_waits() -> bool:
                return not await connection.fetchval("select exists (select from outbox)")

            await until(nothing_waits, what="the outbox is empty")
        finally:
            await connection.close()

    async def stored(self) -> None:
        """Wait until history has all that the log holds now (the persister runs)."""
        generation = await current_generation(self.kafka.bootstrap)
        async with Probe(self.kafka.bootstrap, generation.events_topic) as probe:
            ends = await probe.ends(range(generation.partitions))
        connection = await self.database.connect()
        try:

            async def caught_up() -> bool:
                at = await positions(connection, generation.epoch)
                return all(at[partition] >= end for partition, end in ends.items())

            await until(caught_up, what="history has all of the log")
        finally:
            await connection.close()

    async def start(self, *names: str, timeout: float = 120.0) -> None:
        """Start these services (all that do not run, unless named) at once and wait until they are ready."""
        chosen = [self.processes[name] for name in names] or [
            process for process in self.processes.values() if not process.running
        ]
        for process in chosen:
            process.spawn()
        await asyncio.gather(*(process.wait_ready(timeout) for process in chosen))


@contextlib.asynccontextmanager
async def lockstep_stack(
    folder: Path,
    *,
    kafka: Kafka | None = None,
    postgres: Postgres | None = None,
    services: tuple[str, ...] | None = None,
    environment: Mapping[str, str] | None = None,
    kafka_address: str | None = None,
    prepare: Callable[[Stack], Awaitable[None]] | None = None,
) -> AsyncIterator[Stack]:
    """A running stack; everything it started is killed at the end.

    `kafka`, `postgres`: servers to use instead of own ones. A broker knows one current epoch, so one that is given
    must be fresh. `services`: the names of those to start (default: all). `environment`: on top of every process's.
    `kafka_address`: what the processes are told instead of the broker's own address (a proxy's). `prepare` is called
    before the services start, and may change their processes' environment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    secrets_dir = folder / "secrets"
    secrets.make(secrets_dir)
    password = secrets.read(secrets_dir, "database_password")
    async with contextlib.AsyncExitStack() as owned:
        if kafka is None:
            kafka = await owned.enter_async_context(kafka_broker(folder / "kafka"))
        if postgres is None:
            postgres = await owned.enter_async_context(postgres_server(folder / "postgres", password))
        else:
            (secrets_dir / "database_password").write_text(postgres.server.password, "utf-8")
        database = await postgres.new_database()
        stack = Stack(
            folder,
            _site(kafka_address or kafka.bootstrap, postgres, database, secrets_dir),
            kafka,
            postgres,
            database,
            secrets_dir,
            environment or {},
        )
        stack.processes = {service.name: stack.process(service) for service in SERVICES}
        owned.push_async_callback(_end, stack)
        await stack.bootstrap()
        if prepare is not None:
            await prepare(stack)
        await stack.start(*(services if services is not None else tuple(stack.processes)))
        yield stack


async def _end(stack: Stack) -> None:
    await gather_stopped(list(stack.processes.values()))


def _site(kafka: str, postgres: Postgres, database: Database, secrets_dir: Path) -> Site:
    """`kafka`: one address or several, separated by commas."""
    numbers = free_ports(len(LISTENERS))
    ports = {listener.setting: number for listener, number in zip(LISTENERS, numbers, strict=True)}
    ports[KAFKA.setting] = int(kafka.rpartition(":")[2])
    ports[POSTGRES.setting] = postgres.server.port
    return replace(local_site(ports, str(secrets_dir), database.name), kafka=kafka)
