from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.database.engine import create_engine
from services.database.migrate import migrate
from services.runtime.settings import DatabaseSettings
from tests.stack.servers import Database


@pytest.fixture
def settings(database: Database, secrets_dir: Path) -> DatabaseSettings:
    """Of an empty database of the test's own."""
    return DatabaseSettings(
        secrets_dir=secrets_dir,
        database_host=database.host,
        database_port=database.port,
        database_name=database.name,
        database_user=database.user,
    )


@pytest.fixture
async def engine(settings: DatabaseSettings) -> AsyncIterator[AsyncEngine]:
    """On the current schema."""
    await migrate(settings)
    made = create_engine(settings, "test")
    yield made
    await made.dispose()
