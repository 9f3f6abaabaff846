"""Two ways to the database: a transaction, and single reads; and what its absence means for a request.

Nothing is connected before the first statement. Every way in turns "the database cannot do this now" into
`database_unavailable`, and quickly: a server that refuses is noticed at once; behind one that is silent the first
few wait for their deadline, and from then on nobody waits until a probe is answered.

Only the database can be silent. An event loop that did not turn (a starved machine, a pause of the whole process) has
not listened, and a pool whose connections are all busy has not asked: neither counts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, TypeAlias

import structlog
from sqlalchemy import Row, Select, event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.database.engine import create_engine, is_unavailable
from services.runtime.settings import DatabaseSettings
from web_app.problems import ApiError

AnyRow: TypeAlias = Row[*tuple[Any, ...]]
AnySelect: TypeAlias = Select[*tuple[Any, ...]]

DEADLINE_S: Final = 8.0
"""For one transaction, the wait for a connection and for locks included."""

PROBE_DEADLINE_S: Final = 3.0

SILENT_AFTER_PROBES: Final = 2
"""When so many probes in a row failed, nobody is made to wait."""

_TICK_S: Final = 0.25

_RETRYABLE_STATES: Final = ("40001", "40P01")
"""SQLSTATE: serialization failure, deadlock detected. Nothing was done; the same request may succeed."""

log = structlog.get_logger()


class Database:
    """`transaction`: all or nothing, committed at the end of the block. `reading`: each statement by itself."""

    def __init__(self, settings: DatabaseSettings, application: str, pool_size: int) -> None:
        """Raises SettingsError when the password's file cannot be read."""
        self.engine = create_engine(
            settings,
            application,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout_s=2.0,
            statement_timeout_ms=int(DEADLINE_S * 1000),
            pre_ping=False,
        )
        # A connection of its own: when all others are busy, that says nothing about the server.
        probing = create_engine(
            settings, f"{application} probe", pool_size=1, max_overflow=0, pool_timeout_s=2.0, pre_ping=False
        )
        for each in (self.engine, probing):
            _replace_dead_connections(each)
        # Reads in autocommit save the round trips of BEGIN and ROLLBACK; no read here needs a common snapshot.
        self._reading = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._probing = probing.execution_options(isolation_level="AUTOCOMMIT")
        self._unanswered = 0

    @property
    def silent(self) -> bool:
        """Whether the last probes failed, and nothing was answered since."""
        return self._unanswered >= SILENT_AFTER_PROBES

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Commits when the block ends, rolls back when it raises. Raises ApiError database_unavailable."""
        self._refuse_while_silent()
        with _unavailable_as_problem():
            async with patience(DEADLINE_S), self.engine.begin() as connection:
                yield connection
            self._unanswered = 0

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """For statements that only read. Raises ApiError database_unavailable."""
        self._refuse_while_silent()
        with _unavailable_as_problem():
            async with patience(DEADLINE_S), self._reading.connect() as connection:
                yield connection
            self._unanswered = 0

    async def probe(self) -> None:
        """Ask something trivial. Whoever has called this once goes on calling it every few seconds.

        Raises ApiError database_unavailable.
        """
        try:
            with _unavailable_as_problem():
                async with patience(PROBE_DEADLINE_S), self._probing.connect() as connection:
                    await connection.execute(text("select 1"))
        except ApiError:
            self._unanswered += 1
            raise
        self._unanswered = 0

    async def close(self) -> None:
        await self._probing.dispose()
        await self.engine.dispose()

    def _refuse_while_silent(self) -> None:
        if self.silent:
            raise ApiError(
                "database_unavailable", "The database has not answered for a while.", retry_after_ms=2000
            )


@contextlib.asynccontextmanager
async def patience(seconds: float) -> AsyncIterator[None]:
    """As asyncio.timeout, but only time in which this event loop turns counts: an answer that came while it stood still
    is an answer in time. Raises TimeoutError.
    """
    loop = asyncio.get_running_loop()
    left = seconds
    timer: asyncio.TimerHandle
    async with asyncio.timeout(None) as limit:

        def passed(step: float) -> None:
            nonlocal left, timer
            left -= step
            if left <= 0:
                limit.reschedule(loop.time())
            else:
                step = min(_TICK_S, left)
                timer = loop.call_later(step, passed, step)

        first = min(_TICK_S, left)
        timer = loop.call_later(first, passed, first)
        try:
            yield
        finally:
            timer.cancel()


def _replace_dead_connections(engine: AsyncEngine) -> None:
    """Have a connection that the server closed while it lay in the pool replaced when it is taken out.

    asyncpg knows of the closing as soon as the event loop does; a ping would be three round trips each time.
    """

    def refuse_closed(dbapi_connection: Any, record: object, proxy: object) -> None:
        if dbapi_connection.driver_connection.is_closed():
            raise DisconnectionError("closed while it lay in the pool")

    event.listen(engine.sync_engine, "checkout", refuse_closed)


@contextlib.contextmanager
def _unavailable_as_problem() -> Iterator[None]:
    # Endpoints do nothing within a block that could raise these errors, except ask the database.
    try:
        yield
    except (DBAPIError, OSError, PoolTimeout) as error:  # OSError: TimeoutError is one, too
        if not is_unavailable(error) and not _is_retryable(error):
            raise
        log.warning(
            "database unavailable", error=type(error).__name__, reason=str(error).partition("\n")[0][:200]
        )
        raise ApiError("database_unavailable", retry_after_ms=1000) from error


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _RETRYABLE_STATES
