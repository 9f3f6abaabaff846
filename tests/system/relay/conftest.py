from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from services.contract.generation import Generation
from services.eventlog.epoch import current_generation
from tests.stack.lockstep import Stack, lockstep_stack


@pytest.fixture(scope="package")
async def relay_stack(session_folder: Path) -> AsyncIterator[Stack]:
    """Broker, database, persister and relay; shared by these tests, each of which leaves both running."""
    folder = Path(tempfile.mkdtemp(prefix="relay-", dir=session_folder))
    async with lockstep_stack(folder, services=("persister", "relay")) as stack:
        yield stack


@pytest.fixture(scope="package")
async def generation(relay_stack: Stack) -> Generation:
    return await current_generation(relay_stack.kafka.bootstrap)


@pytest.fixture
async def sql(relay_stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    connection = await relay_stack.database.connect()
    yield connection
    await connection.close()
