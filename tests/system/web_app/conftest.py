from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from deploy.local.ports import free_ports
from services.contract.generation import Generation
from services.database.migrate import migrate
from services.runtime.settings import NodeAddress
from tests.stack.process import Process
from tests.stack.servers import Database, Postgres
from tests.system.web_app.nodes import Log, Node, node
from tests.system.web_app.people import Person, sign_up
from web_app.main import create_app
from web_app.parts import Parts
from web_app.settings import WebSettings

# What a password costs and how often one may try is not what most tests are about.
CHEAP: dict[str, Any] = {
    "web_password_time_cost": 1,
    "web_password_memory_kib": 64,
    "web_password_parallelism": 1,
    "web_login_limit": "100000/second",
    "web_address_limit": "100000/second",
    "web_invite_limit": "100000/second",
    "web_create_limit": "100000/second",
    "web_change_limit": "100000/second",
    "web_message_limit": "100000/second",
    "web_marker_limit": "100000/second",
}


@dataclass
class Web:
    """A running web app in this process, and a client of it."""

    app: FastAPI
    http: httpx.AsyncClient

    @property
    def parts(self) -> Parts:
        parts = self.app.state.parts
        assert isinstance(parts, Parts)
        return parts


@dataclass
class WebProcess:
    process: Process
    url: str


NewWeb = Callable[..., Awaitable[Web]]


def settings_for(database: Database, secrets_dir: Path, **more: Any) -> WebSettings:
    return WebSettings(
        database_host=database.host,
        database_port=database.port,
        database_name=database.name,
        database_user=database.user,
        secrets_dir=secrets_dir,
        **(CHEAP | more),
    )


async def prepare(database: Database, secrets_dir: Path) -> None:
    """The schema, and the first epoch's record."""
    await migrate(settings_for(database, secrets_dir))
    connection = await database.connect()
    try:
        await connection.execute(
            "insert into generations (epoch, record) values (1, $1)",
            Generation(epoch=1).events_topic.encode(),
        )
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def running(settings: WebSettings) -> AsyncIterator[Web]:
    app = create_app(settings)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://web") as http,
    ):
        yield Web(app, http)


@pytest.fixture(scope="session")
async def web_database(postgres: Postgres, secrets_dir: Path) -> AsyncIterator[Database]:
    """Shared by the tests of this folder; every test makes workspaces of its own."""
    database = await postgres.new_database()
    await prepare(database, secrets_dir)
    yield database
    await postgres.drop_database(database)


@pytest.fixture(scope="session")
async def log() -> Log:
    return Log()


@pytest.fixture(scope="session")
async def shared_node(log: Log, secrets_dir: Path) -> AsyncIterator[Node]:
    async with node(log, (secrets_dir / "service_token").read_text().strip()) as made:
        yield made


@pytest.fixture(scope="session")
async def web(web_database: Database, secrets_dir: Path, shared_node: Node) -> AsyncIterator[Web]:
    async with running(settings_for(web_database, secrets_dir, nodes=addresses(shared_node))) as made:
        yield made


@pytest.fixture
async def new_web(web_database: Database, secrets_dir: Path) -> AsyncIterator[NewWeb]:
    """`await new_web(database=..., secrets_dir=..., **settings)`: a web app of the test's own."""
    async with contextlib.AsyncExitStack() as owned:

        async def make(database: Database = web_database, secrets: Path = secrets_dir, **more: Any) -> Web:
            return await owned.enter_async_context(running(settings_for(database, secrets, **more)))

        yield make


@pytest.fixture
async def sql(web_database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await web_database.connect()
    yield connection
    await connection.close()


@pytest.fixture
async def owner(web: Web) -> Person:
    return await sign_up(web.http)


def addresses(*nodes: Node) -> tuple[NodeAddress, ...]:
    return tuple(
        NodeAddress.model_validate(
            {"name": f"node-{i}", "websocket": f"ws://node-{i}.test/v1/websocket", "internal": each.url}
        )
        for i, each in enumerate(nodes, start=1)
    )


@pytest.fixture(scope="session")
async def web_process(
    session_folder: Path, web_database: Database, secrets_dir: Path, shared_node: Node
) -> AsyncIterator[WebProcess]:
    """`python -m web_app` on a port of its own; restart it, do not leave it stopped."""
    [port] = free_ports(1)
    process = Process(
        "web_app",
        [sys.executable, "-m", "web_app"],
        session_folder / "web_app.log",
        environment=environment_for(web_database, secrets_dir, port, addresses(shared_node)),
        ready=f"http://127.0.0.1:{port}/health/ready",
    )
    try:
        await process.start(60)
        yield WebProcess(process, f"http://127.0.0.1:{port}")
    finally:
        await process.destroy()


def environment_for(
    database: Database, secrets_dir: Path, port: int, nodes: tuple[NodeAddress, ...]
) -> dict[str, str]:
    listed = [
        {"name": each.name, "websocket": each.websocket, "internal": str(each.internal)} for each in nodes
    ]
    return {
        "LOCKSTEP_DATABASE_HOST": database.host,
        "LOCKSTEP_DATABASE_PORT": str(database.port),
        "LOCKSTEP_DATABASE_NAME": database.name,
        "LOCKSTEP_DATABASE_USER": database.user,
        "LOCKSTEP_SECRETS_DIR": str(secrets_dir),
        "LOCKSTEP_NODES": json.dumps(listed),
        "LOCKSTEP_WEB_PORT": str(port),
        # Nobody persists here: to wait for long is of no use.
        "LOCKSTEP_WEB_AT_LEAST_S": "0.2",
        **{f"LOCKSTEP_{name.upper()}": str(value) for name, value in CHEAP.items()},
    }
