"""Bare asyncpg connections to PostgreSQL, and what an error means. What uses a pool and SQLAlchemy: `engine`.

Every wait has a bound: connecting, one statement (on the server, and a little later on the client, for a server
that no longer answers at all), a lock, and an open transaction that nobody continues.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from services.runtime.settings import DatabaseSettings

CONNECT_TIMEOUT_S: Final = 5.0
STATEMENT_TIMEOUT_MS: Final = 15_000
LOCK_TIMEOUT_MS: Final = 10_000
IDLE_IN_TRANSACTION_TIMEOUT_MS: Final = 10_000

_CLIENT_GRACE_S: Final = 5.0
"""How much longer than the server the client waits for a statement: then the server is not there any more."""

_GOODBYE_S: Final = 2.0

_END_SILENT: Final = """
    select pg_terminate_backend(pid) as ended
    from pg_stat_activity
    where application_name = $1 and datname = current_database() and pid <> pg_backend_pid()
        and state = 'active' and wait_event = 'ClientRead' and state_change < now() - $2 * interval '1 millisecond'
"""

_UNAVAILABLE_CLASSES: Final = ("08", "53", "57P")
"""SQLSTATE: connection exception; insufficient resources; shutting down, starting up, terminated."""

_UNAVAILABLE_STATES: Final = (
    "57014",  # query_canceled: the statement's time was up
    "55P03",  # lock_not_available: the lock's time was up
    "25006",  # read_only_sql_transaction: a standby answers, a failover is under way
)


@asynccontextmanager
async def connected(
    settings: DatabaseSettings, application: str, *, statement_timeout_ms: int | None = STATEMENT_TIMEOUT_MS
) -> AsyncIterator[asyncpg.Connection]:
    """One connection for the length of a block. At its end a server that does not answer is hung up on.

    Raises what `is_unavailable` knows when the database cannot be reached.
    """
    connection = await asyncpg.connect(
        user=settings.database_user,
        password=settings.secret("database_password"),
        host=settings.database_host,
        port=settings.database_port,
        database=settings.database_name,
        **connect_arguments(application, statement_timeout_ms),
    )
    try:
        yield connection
    finally:
        try:
            await connection.close(timeout=_GOODBYE_S)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()


def connect_arguments(application: str, statement_timeout_ms: int | None) -> dict[str, Any]:
    """asyncpg's arguments for the bounds above; `application` is the name that PostgreSQL shows for the connection."""
    bounded = statement_timeout_ms is not None
    return {
        "timeout": CONNECT_TIMEOUT_S,
        "command_timeout": statement_timeout_ms / 1000 + _CLIENT_GRACE_S if statement_timeout_ms else None,
        "server_settings": {
            "application_name": application,
            "timezone": "UTC",
            "jit": "off",  # it costs more than it saves for short statements
            "statement_timeout": str(statement_timeout_ms or 0),
            "lock_timeout": str(LOCK_TIMEOUT_MS if bounded else 0),
            "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS if bounded else 0),
        },
    }


def is_unavailable(error: BaseException) -> bool:
    """Whether this error says that the database cannot do the work now, rather than that the work is wrong.

    True for: not reachable, connection lost, starting, stopping, out of resources, too slow. The outcome of a commit that
    failed in this way is not known.
    """
    return any(map(says_unavailable, chain(error, lambda each: each.__cause__)))


def chain(
    error: BaseException | None, inner: Callable[[BaseException], BaseException | None]
) -> Iterator[BaseException]:
    """The error, and what lies `inner` to it, and so on; each once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = inner(error)


def says_unavailable(error: BaseException) -> bool:
    """The same of this error alone, whatever it wraps."""
    if isinstance(error, (OSError, TimeoutError, ssl.SSLError)):
        return True
    if isinstance(error, asyncpg.InternalClientError):
        # A connection whose end came while nobody waited for an answer: "cannot switch to state ...".
        return True
    if isinstance(error, asyncpg.InterfaceError):
        # asyncpg's word for a connection that is closed or being closed under us
        return not isinstance(error, (ValueError, TypeError))
    state = getattr(error, "sqlstate", None)
    return isinstance(state, str) and (state.startswith(_UNAVAILABLE_CLASSES) or state in _UNAVAILABLE_STATES)


async def end_silent(connection: asyncpg.Connection, application: str) -> int:
    """End the application's other sessions that have been in the middle of sending something for as long as an open
    transaction may be idle; gives how many.

    Somebody who stops while a COPY is under way keeps its locks for as long as the process is there: within COPY the
    server reads what the client sends, and neither statement_timeout nor idle_in_transaction_session_timeout ends that
    (PostgreSQL's ProcessClientReadInterrupt).
    """
    ended = await connection.fetch(_END_SILENT, application, IDLE_IN_TRANSACTION_TIMEOUT_MS)
    return sum(row["ended"] for row in ended)
