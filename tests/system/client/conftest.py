"""A Lockstep for the client's tests to break."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.stack.lockstep import Stack, lockstep_stack

RETRY_MS = 20_000


@pytest.fixture(scope="package")
async def own_stack(session_folder: Path) -> AsyncIterator[Stack]:
    """Its epoch has short windows and its nodes small rings, so that ids expire and gaps come within seconds."""
    environment = {
        "LOCKSTEP_RETRY_MS": str(RETRY_MS),
        "LOCKSTEP_FUTURE_MS": "3000",
        "LOCKSTEP_RING_BYTES": "2000000",
        "LOCKSTEP_CONNECTION_RATE": "5000",
        "LOCKSTEP_USER_RATE": "5000",
        "LOCKSTEP_HEARTBEAT_SECONDS": "4",
    }
    async with lockstep_stack(session_folder / "client", environment=environment) as running:
        yield running


@pytest.fixture
async def breakable(own_stack: Stack) -> AsyncIterator[Stack]:
    """`own_stack`, whose processes a test may kill; what it leaves dead is started again after it."""
    yield own_stack
    await own_stack.start()
