"""A Lockstep for the promises to be tried on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.stack.lockstep import Stack, lockstep_stack


@pytest.fixture(scope="package")
async def own_stack(session_folder: Path) -> AsyncIterator[Stack]:
    """Its checkpointer follows one second behind, so that each start of a node finds another checkpoint."""
    environment = {"LOCKSTEP_CHECKPOINT_LAG_MS": "1000"}
    async with lockstep_stack(session_folder / "promises", environment=environment) as running:
        yield running


@pytest.fixture
async def breakable(own_stack: Stack) -> AsyncIterator[Stack]:
    """`own_stack`, whose processes a test may stop and kill; what it leaves dead is started again after it."""
    yield own_stack
    if not own_stack.postgres.process.running:
        await own_stack.postgres.process.start()
    await own_stack.start()
