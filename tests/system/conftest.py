"""Real servers for the system tests. What is shared by a session must not be broken by a test:

- `kafka`, `postgres`: shared; isolate yourself by topics and databases of your own, do not kill or freeze them
- `database`: a fresh, empty database in `postgres`
- `new_kafka`, `new_postgres`, `new_stack`: servers and whole stacks of your own, to break; gone after the test
- `stack`: one whole running Lockstep, shared; make workspaces of your own and leave its processes alone
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from deploy.local import ports, secrets
from tests.stack.lockstep import Stack, lockstep_stack
from tests.stack.proxy import Proxy, proxy
from tests.stack.servers import Database, Kafka, Postgres, kafka_broker, postgres_server

T = TypeVar("T")

# Tests run in several processes: each chooses its ports where no other one does.
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
ports.choose_between(20_000 + 1_500 * (_worker % 8), 20_000 + 1_500 * (_worker % 8 + 1))

Factory = Callable[..., Awaitable[T]]


@pytest.fixture(scope="session")
def session_folder() -> Iterator[Path]:
    """Where the session's servers keep their files; removed with them."""
    folder = Path(tempfile.mkdtemp(prefix="lockstep-tests-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def folder(session_folder: Path) -> Iterator[Path]:
    """A folder of the test's own, removed after it."""
    own = Path(tempfile.mkdtemp(prefix="test-", dir=session_folder))
    yield own
    shutil.rmtree(own, ignore_errors=True)


@pytest.fixture(scope="session")
def secrets_dir(session_folder: Path) -> Path:
    """`database_password` (of `postgres`), `service_token`, `signing_keys/key-1.pem`."""
    secrets.make(session_folder / "secrets")
    return session_folder / "secrets"


@pytest.fixture(scope="session")
async def kafka(session_folder: Path) -> AsyncIterator[Kafka]:
    async with kafka_broker(session_folder / "kafka") as broker:
        yield broker


@pytest.fixture(scope="session")
async def postgres(session_folder: Path, secrets_dir: Path) -> AsyncIterator[Postgres]:
    password = secrets.read(secrets_dir, "database_password")
    async with postgres_server(session_folder / "postgres", password) as server:
        yield server


@pytest.fixture
async def database(postgres: Postgres) -> AsyncIterator[Database]:
    fresh = await postgres.new_database()
    yield fresh
    await postgres.drop_database(fresh)


@pytest.fixture(scope="session")
async def stack(session_folder: Path) -> AsyncIterator[Stack]:
    async with lockstep_stack(session_folder / "stack") as running:
        yield running


@pytest.fixture
async def new_kafka(folder: Path) -> AsyncIterator[Factory[Kafka]]:
    """`await new_kafka(advertised=None, port=None)`: see tests.stack.servers.kafka_broker."""
    async with contextlib.AsyncExitStack() as owned:

        async def make(**options: Any) -> Kafka:
            place = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="kafka-", dir=folder))
            return await owned.enter_async_context(kafka_broker(place, **options))

        yield make


@pytest.fixture
async def new_postgres(folder: Path, secrets_dir: Path) -> AsyncIterator[Factory[Postgres]]:
    """`await new_postgres()`; its password is the one in `secrets_dir`."""
    password = secrets.read(secrets_dir, "database_password")
    async with contextlib.AsyncExitStack() as owned:

        async def make(**options: Any) -> Postgres:
            place = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="postgres-", dir=folder))
            return await owned.enter_async_context(postgres_server(place, password, **options))

        yield make


@pytest.fixture
async def new_stack(folder: Path) -> AsyncIterator[Factory[Stack]]:
    """`await new_stack(services=..., environment=...)`: see tests.stack.lockstep.lockstep_stack."""
    async with contextlib.AsyncExitStack() as owned:

        async def make(**options: Any) -> Stack:
            place = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="stack-", dir=folder))
            return await owned.enter_async_context(lockstep_stack(place, **options))

        yield make


@pytest.fixture
async def new_proxy() -> AsyncIterator[Factory[Proxy]]:
    """`await new_proxy("127.0.0.1", port)`: a TCP proxy with faults; closed after the test."""
    async with contextlib.AsyncExitStack() as owned:

        async def make(host: str, port: int, own_port: int = 0) -> Proxy:
            return await owned.enter_async_context(proxy(host, port, own_port))

        yield make
