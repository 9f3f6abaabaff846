"""`python -m services.checkpointer` as the process it is, on a broker with an epoch of short windows."""

from __future__ import annotations

import itertools
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from deploy.local.ports import free_ports
from services.bootstrap.records import record_generation
from services.contract.generation import Generation
from services.database.migrate import migrate
from services.eventlog.epoch import create_generation
from services.runtime.settings import DatabaseSettings
from tests.stack.process import Process
from tests.stack.servers import Database, Kafka
from tests.system.conftest import Factory

_numbers = itertools.count(1)

NewCheckpointer = Callable[..., Process]


class Ground(NamedTuple):
    """A broker and a database of the test's own that both know epoch 1."""

    kafka: Kafka
    database: Database
    generation: Generation


@pytest.fixture
async def ground(new_kafka: Factory[Kafka], database: Database, secrets_dir: Path) -> Ground:
    broker = await new_kafka()
    generation = await create_generation(
        broker.bootstrap,
        Generation(epoch=1, partitions=2, retry_ms=800, future_ms=500, checkpoint_lag_ms=600, created_ms=1),
    )
    await migrate(
        DatabaseSettings(
            secrets_dir=secrets_dir,
            database_host=database.host,
            database_port=database.port,
            database_name=database.name,
            database_user=database.user,
        )
    )
    connection = await database.connect()
    try:
        await record_generation(connection, generation)
    finally:
        await connection.close()
    return Ground(broker, database, generation)


@pytest.fixture
async def new_checkpointer(ground: Ground, folder: Path, secrets_dir: Path) -> AsyncIterator[NewCheckpointer]:
    """`new_checkpointer(**settings)`: not started; killed after the test."""
    made: list[Process] = []

    def make(**environment: str) -> Process:
        [port] = free_ports(1)
        process = Process(
            "checkpointer",
            [sys.executable, "-m", "services.checkpointer"],
            folder / f"checkpointer-{next(_numbers)}.log",
            environment={
                "LOCKSTEP_KAFKA": ground.kafka.bootstrap,
                "LOCKSTEP_DATABASE_HOST": ground.database.host,
                "LOCKSTEP_DATABASE_PORT": str(ground.database.port),
                "LOCKSTEP_DATABASE_NAME": ground.database.name,
                "LOCKSTEP_DATABASE_USER": ground.database.user,
                "LOCKSTEP_SECRETS_DIR": str(secrets_dir),
                "LOCKSTEP_ADMIN_PORT": str(port),
                "LOCKSTEP_CHECKPOINT_INTERVAL_S": "0.1",
                "LOCKSTEP_RETENTION_INTERVAL_S": "0.2",
                "LOCKSTEP_RETENTION_MIN_AGE_S": "0",
                **{f"LOCKSTEP_{name.upper()}": value for name, value in environment.items()},
            },
            ready=f"http://127.0.0.1:{port}/health/ready",
        )
        made.append(process)
        return process

    yield make
    for process in made:
        await process.destroy()
