"""A web app in this process for what REST alone decides, and one whole stack, attacked and logging everything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.stack.lockstep import Stack, lockstep_stack
from tests.system.web_app.conftest import (
    log,
    new_web,
    shared_node,
    sql,
    web,
    web_database,
)

__all__ = ["log", "new_web", "shared_node", "sql", "web", "web_database"]

GOOD_ORIGIN = "https://Chat.Example"


@pytest.fixture(scope="session")
async def fortress(session_folder: Path) -> AsyncIterator[Stack]:
    """A stack that logs at `debug` and lets browsers in from one origin only. Shared: make workspaces of your own."""
    environment = {
        "LOCKSTEP_LOG_LEVEL": "debug",
        "LOCKSTEP_ALLOWED_ORIGINS": f'["{GOOD_ORIGIN}"]',
    }
    async with lockstep_stack(session_folder / "fortress", environment=environment) as running:
        yield running
