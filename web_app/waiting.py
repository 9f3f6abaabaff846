"""Waiting until the persister has come so far: asked again and again, each time on a connection of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from web_app import metrics
from web_app.parts import Parts
from web_app.problems import ApiError

_FIRST_PAUSE_S: Final = 0.01
_LONGEST_PAUSE_S: Final = 0.25

T = TypeVar("T")


async def until_stored(
    parts: Parts, look: Callable[[AsyncConnection], Awaitable[tuple[int, T]]], at_least: int
) -> T:
    """What `look` gives once its number is `at_least`. It must wait for nothing but the database.

    Raises ApiError not_yet when it has not come so far in time (`WebSettings.web_at_least_s`), and what `look` raises.
    """
    deadline = time.monotonic() + parts.settings.web_at_least_s
    pause = _FIRST_PAUSE_S
    waited = False
    while True:
        async with parts.database.reading() as db:
            reached, found = await look(db)
        if reached >= at_least:
            if waited:
                metrics.AT_LEAST_WAITS.labels("reached").inc()
            return found
        if time.monotonic() + pause > deadline:
            metrics.AT_LEAST_WAITS.labels("not_yet").inc()
            raise ApiError(
                "not_yet",
                f"What is stored has come to {reached}, not yet to {at_least}.",
                retry_after_ms=1000,
            )
        waited = True
        await asyncio.sleep(pause)
        pause = min(pause * 1.6, _LONGEST_PAUSE_S)
