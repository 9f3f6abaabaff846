from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer

from services.contract.generation import Generation
from services.eventlog.epoch import current_generation
from tests.stack.lockstep import Stack, lockstep_stack


@pytest.fixture(scope="package")
async def log_stack(session_folder: Path) -> AsyncIterator[Stack]:
    """Broker, database, first epoch and a persister; shared by these tests, each of which leaves the persister running."""
    folder = Path(tempfile.mkdtemp(prefix="persister-", dir=session_folder))
    async with lockstep_stack(folder, services=("persister",)) as stack:
        yield stack


@pytest.fixture(scope="package")
async def generation(log_stack: Stack) -> Generation:
    return await current_generation(log_stack.kafka.bootstrap)


@pytest.fixture
async def producer(log_stack: Stack) -> AsyncIterator[AIOKafkaProducer]:
    made = AIOKafkaProducer(bootstrap_servers=log_stack.kafka.bootstrap, acks="all", enable_idempotence=True)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def sql(log_stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    connection = await log_stack.database.connect()
    yield connection
    await connection.close()
