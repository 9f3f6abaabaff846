"""What a web app does besides answering: follow the signing keys, know whether the database answers, tidy up."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Final

import structlog
from sqlalchemy import delete, func, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from services.database.tables import IdempotencyKey, RefreshToken
from services.runtime.settings import SettingsError
from web_app.auth.keys import KeyRing
from web_app.database import Database
from web_app.problems import ApiError

KEYS_EVERY_S: Final = 2.0
"""A retired key stops working, and a new one is known, within this time everywhere."""

TIDY_EVERY_S: Final = 600.0
_TIDY_BATCH: Final = 1000

log = structlog.get_logger()


class Upkeep:
    """Runs while `running` is entered. `ready` gives one sentence why this process cannot do its work now."""

    def __init__(self, database: Database, keys: KeyRing) -> None:
        self._database = database
        self._keys = keys
        self._task: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self._look()  # so that the first request finds keys, if the database is there
        self._task = asyncio.create_task(self._run(), name="upkeep")
        try:
            yield
        finally:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def failed(self) -> None:
        """Returns never; raises when the upkeep ended by a defect, in which case the process should end, too."""
        assert self._task is not None
        await asyncio.shield(self._task)

    def ready(self) -> str | None:
        if self._task is None or self._task.done():
            return "not running"
        if self._database.silent:
            return "the database does not answer"
        if not self._keys.can_sign:
            return "no active signing key whose private half is here"
        return None

    async def _run(self) -> None:
        tidied = time.monotonic()
        more = False
        while True:
            await asyncio.sleep(KEYS_EVERY_S)
            await self._look()
            if more or time.monotonic() - tidied > TIDY_EVERY_S:
                tidied = time.monotonic()
                more = await self.tidy()

    async def _look(self) -> None:
        try:
            await self._database.probe()
            await self._keys.refresh(self._database)
        except SettingsError as error:
            log.error("signing keys not taken over", reason=str(error))
        except ApiError:
            pass  # logged where it was found out; `ready` judges how long that may last

    async def tidy(self) -> bool:
        """Remove some of what is outdated; gives whether there is more, which must not wait for long: it would pile up."""
        try:
            async with self._database.transaction() as db:
                removed = await remove_outdated(db)
        except ApiError:  # logged where it was found out
            return False
        log.info("removed what is outdated", **removed)
        return max(removed.values()) >= _TIDY_BATCH


async def remove_outdated(db: AsyncConnection) -> dict[str, int]:
    """A bounded number of idempotency keys older than a day and refresh tokens that expired a day ago."""
    day = text("interval '1 day'")
    keys = (
        select(IdempotencyKey.user_id, IdempotencyKey.key)
        .where(IdempotencyKey.created_at < func.now() - day)
        .limit(_TIDY_BATCH)
    )
    tokens = (
        select(RefreshToken.token_hash).where(RefreshToken.expires_at < func.now() - day).limit(_TIDY_BATCH)
    )
    from_keys = await db.execute(
        delete(IdempotencyKey).where(tuple_(IdempotencyKey.user_id, IdempotencyKey.key).in_(keys))
    )
    from_tokens = await db.execute(delete(RefreshToken).where(RefreshToken.token_hash.in_(tokens)))
    return {"idempotency_keys": from_keys.rowcount, "refresh_tokens": from_tokens.rowcount}
