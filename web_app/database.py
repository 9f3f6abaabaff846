"""Two ways to the database: a transaction, and single reads; and what its absence means for a request.

Nothing is connected before the first statement. Every way in turns "the database cannot do this now" into
`database_unavailable`, quickly: a connection is waited for two seconds.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeAlias

import structlog
from sqlalchemy import Row, Select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.database.engine import is_unavailable
from web_app.problems import ApiError

log = structlog.get_logger()

AnyRow: TypeAlias = Row[*tuple[Any, ...]]
AnySelect: TypeAlias = Select[*tuple[Any, ...]]

_RETRYABLE_STATES = ("40001", "40P01")
"""SQLSTATE: serialization failure, deadlock detected. Nothing was done; the same request may succeed."""


class Database:
    """`transaction`: all or nothing, committed at the end of the block. `reading`: each statement by itself."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        # Reads in autocommit save the round trips of BEGIN and ROLLBACK; no read here needs a common snapshot.
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Commits when the block ends, rolls back when it raises. Raises ApiError database_unavailable."""
        with _unavailable_as_problem():
            async with self.engine.begin() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """For statements that only read. Raises ApiError database_unavailable."""
        with _unavailable_as_problem():
            async with self._reading.connect() as connection:
                yield connection

    async def close(self) -> None:
        await self.engine.dispose()


@contextlib.contextmanager
def _unavailable_as_problem() -> Iterator[None]:
    # Endpoints do nothing within a block that could raise these errors, except ask the database.
    try:
        yield
    except (DBAPIError, OSError, TimeoutError) as error:
        if not is_unavailable(error) and not _is_retryable(error):
            raise
        log.warning(
            "database unavailable", error=type(error).__name__, reason=str(error).partition("\n")[0][:200]
        )
        raise ApiError("database_unavailable", retry_after_ms=1000) from error


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _RETRYABLE_STATES
