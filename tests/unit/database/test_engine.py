"""Which errors mean that the database is away, and which that the work is wrong."""

from __future__ import annotations

import subprocess
import sys

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from services.database import connection
from services.database.engine import is_unavailable


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError("nobody listens"),
        TimeoutError(),
        PoolTimeout("no free connection"),
        asyncpg.CannotConnectNowError("starting up"),
        asyncpg.AdminShutdownError("terminating connection"),
        asyncpg.CrashShutdownError("terminating connection"),
        asyncpg.TooManyConnectionsError("too many clients"),
        asyncpg.ConnectionDoesNotExistError("closed in the middle"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress"),
        asyncpg.QueryCanceledError("statement timeout"),
        asyncpg.LockNotAvailableError("lock timeout"),
        asyncpg.ReadOnlySQLTransactionError("a standby"),
        asyncpg.DiskFullError("no space"),
        DBAPIError("select 1", None, asyncpg.AdminShutdownError("bye")),
        DBAPIError("select 1", None, Exception("gone"), connection_invalidated=True),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_database_is_away(error: Exception) -> None:
    assert is_unavailable(error)
    assert connection.is_unavailable(error) or isinstance(error, SQLAlchemyError)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        asyncpg.UniqueViolationError("duplicate key"),
        asyncpg.UndefinedTableError("no such table"),
        asyncpg.InvalidPasswordError("wrong password"),
        asyncpg.DataError("invalid input"),
        IntegrityError("insert", None, asyncpg.UniqueViolationError("duplicate key")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_work_is_wrong(error: Exception) -> None:
    assert not is_unavailable(error)
    assert not connection.is_unavailable(error)


def test_a_cause_is_looked_at() -> None:
    wrapper = RuntimeError("request failed")
    wrapper.__cause__ = ConnectionResetError("by peer")
    assert is_unavailable(wrapper)
    assert connection.is_unavailable(wrapper)


@pytest.mark.parametrize("process", ["persister", "checkpointer"])
def test_who_needs_a_bare_connection_alone_does_not_load_sqlalchemy(process: str) -> None:
    loaded = f"import sys, services.{process}.__main__; print([m for m in sys.modules if 'sqlalchemy' in m])"
    said = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
