"""The tokens of a login, and where they are kept.

A refresh token is good for one use: using it twice ends the login. Whoever refreshes therefore holds the store's
lock and reads the store again under it, because another process may have refreshed meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """`expires_at`: when the access token ends, Unix seconds by this machine's clock."""

    access_token: str
    refresh_token: str
    expires_at: float


class TokenStore(Protocol):
    """Keeps one login's tokens."""

    def load(self) -> Tokens | None:
        """The newest tokens; None: not logged in."""

    def save(self, tokens: Tokens | None) -> None:
        """Replace them; None: log out."""

    def exclusive(self) -> AbstractAsyncContextManager[None]:
        """Held around a refresh, so that nobody else who uses this store refreshes at the same time."""


class MemoryTokens:
    """A `TokenStore` for one process."""

    def __init__(self, tokens: Tokens | None = None) -> None:
        self._tokens = tokens
        self._lock = asyncio.Lock()

    def load(self) -> Tokens | None:
        return self._tokens

    def save(self, tokens: Tokens | None) -> None:
        self._tokens = tokens

    @contextlib.asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        async with self._lock:
            yield
