"""Several things at the same time, of which the first failure is the failure of all."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


async def together(*work: Coroutine[object, object, None]) -> None:
    """Run all at once; when one fails the others are cancelled, and its error is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
