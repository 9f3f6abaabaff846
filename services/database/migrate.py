"""Brings the schema to a revision. Each run is one transaction under an advisory lock: wholly there or not at all.

Two at once are safe: the second waits for the first and then finds nothing left to do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from services.database import locks
from services.database.engine import create_engine
from services.runtime.settings import DatabaseSettings

SCRIPTS: Final = Path(__file__).parent / "migrations"

log = structlog.get_logger()


async def migrate(settings: DatabaseSettings, revision: str = "head") -> None:
    """Upgrade to `revision`. Does nothing when the schema is already there.

    Raises what `engine.is_unavailable` knows when the database cannot be reached.
    """
    await _run(settings, lambda config: command.upgrade(config, revision))


async def downgrade(settings: DatabaseSettings, revision: str) -> None:
    """Go back to `revision` (`base`: an empty schema). What the newer tables and columns held is lost."""
    await _run(settings, lambda config: command.downgrade(config, revision))


async def write_revision(settings: DatabaseSettings, message: str) -> None:
    """For developers: write a new file under `migrations/versions` from what `tables` has and the schema lacks."""
    await _run(settings, lambda config: _write(config, message))


async def current_revision(settings: DatabaseSettings) -> str | None:
    """The schema's revision; None for a database that was never migrated."""
    engine = create_engine(settings, "lockstep-migrate", statement_timeout_ms=None)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(_revision)
    finally:
        await engine.dispose()


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration for running inside this connection's transaction; `env.py` picks it up."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.attributes["connection"] = connection
    return config


async def _run(settings: DatabaseSettings, step: Callable[[Config], None]) -> None:
    def apply(connection: Connection) -> tuple[str | None, str | None]:
        before = _revision(connection)
        step(alembic_config(connection))
        return before, _revision(connection)

    engine = create_engine(settings, "lockstep-migrate", statement_timeout_ms=None)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": locks.MIGRATION})
            before, after = await connection.run_sync(apply)
    finally:
        await engine.dispose()
    log.info("schema migrated" if before != after else "schema is current", before=before, after=after)


def _write(config: Config, message: str) -> None:
    command.revision(config, message, autogenerate=True)


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
