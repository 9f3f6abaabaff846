"""A pooled SQLAlchemy engine, under the bounds of `connection`, and what an error means that SQLAlchemy has wrapped."""

from __future__ import annotations

import msgspec
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from services.database.connection import STATEMENT_TIMEOUT_MS, chain, connect_arguments, says_unavailable
from services.runtime.settings import DatabaseSettings


def create_engine(
    settings: DatabaseSettings,
    application: str,
    *,
    pool_size: int = 10,
    max_overflow: int = 10,
    pool_timeout_s: float = 5.0,
    statement_timeout_ms: int | None = STATEMENT_TIMEOUT_MS,
    pre_ping: bool = True,
) -> AsyncEngine:
    """An engine with a pool; nothing is connected yet. `application` is the name PostgreSQL shows for it.

    `statement_timeout_ms` None: statements and locks are waited for without a bound (migrations).
    `pre_ping` False: the caller has a cheaper way to tell dead connections than three round trips each time.
    Raises SettingsError when the password's file cannot be read.
    """
    return create_async_engine(
        URL.create(
            "postgresql+asyncpg",
            username=settings.database_user,
            password=settings.secret("database_password"),
            host=settings.database_host,
            port=settings.database_port,
            database=settings.database_name,
        ),
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=pool_timeout_s,
        pool_use_lifo=True,
        # A connection that died while it lay in the pool is replaced before it is handed out.
        pool_pre_ping=pre_ping,
        pool_recycle=1800,
        json_deserializer=msgspec.json.decode,
        connect_args=connect_arguments(application, statement_timeout_ms),
    )


def is_unavailable(error: BaseException) -> bool:
    """As `connection.is_unavailable`, also of what SQLAlchemy has wrapped; and when no connection of the pool is free."""
    return any(map(_says_unavailable, chain(error, _wrapped)))


def _wrapped(error: BaseException) -> BaseException | None:
    """SQLAlchemy's holds its driver adapter's, that one asyncpg's."""
    return error.orig if isinstance(error, DBAPIError) and error.orig else error.__cause__


def _says_unavailable(error: BaseException) -> bool:
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, (PoolTimeout, InterfaceError)) or says_unavailable(error)
