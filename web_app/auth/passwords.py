"""Passwords: Argon2id (RFC 9106) in a few threads of its own, so that the event loop goes on turning."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Final

import anyio
import anyio.to_thread
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from web_app import metrics
from web_app.problems import ApiError
from web_app.settings import WebSettings

_NOBODY: Final = "the password of nobody"


class Passwords:
    """`verify` costs the same against None as against a hash, so that time does not tell who exists."""

    def __init__(self, settings: WebSettings) -> None:
        self._hasher = PasswordHasher(
            time_cost=settings.web_password_time_cost,
            memory_cost=settings.web_password_memory_kib,
            parallelism=settings.web_password_parallelism,
        )
        self._threads = anyio.CapacityLimiter(settings.web_password_threads)
        self._most_waiting = settings.web_password_queue
        self._waiting = 0
        self._hash_of_nobody: str | None = None

    async def hash(self, password: str) -> str:
        """Raises ApiError slow_down when too many are waiting already."""
        async with self._place_in_queue():
            return await anyio.to_thread.run_sync(self._hasher.hash, password, limiter=self._threads)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether this is the password; False for `stored` None. Raises ApiError slow_down."""
        async with self._place_in_queue():
            if self._hash_of_nobody is None:
                self._hash_of_nobody = await anyio.to_thread.run_sync(
                    self._hasher.hash, _NOBODY, limiter=self._threads
                )
            against = self._hash_of_nobody if stored is None else stored
            matches = await anyio.to_thread.run_sync(self._matches, against, password, limiter=self._threads)
            return matches and stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Whether the hash was made at another cost than today's."""
        return self._hasher.check_needs_rehash(stored)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    @contextlib.asynccontextmanager
    async def _place_in_queue(self) -> AsyncIterator[None]:
        if self._waiting >= self._most_waiting:
            raise ApiError("slow_down", "Too many people are logging in at this moment.", retry_after_ms=2000)
        self._waiting += 1
        metrics.PASSWORDS_WAITING.inc()
        try:
            yield
        finally:
            self._waiting -= 1
            metrics.PASSWORDS_WAITING.dec()
