"""Letting aiokafka close what it has opened, without losing our own cancellation in it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import structlog
from aiokafka.errors import KafkaError

log = structlog.get_logger()

CLOSE_S: Final = 2.0
"""A connection whose peer does not read may never close by itself."""


async def close(work: Coroutine[Any, Any, None], what: str) -> None:
    """Do `work` to its end, for `CLOSE_S` at most; what could not be closed is logged as `what`.

    It is done in a task of its own, and so also when the caller is cancelled, which is raised afterwards. aiokafka waits
    for the tasks that it has cancelled, and takes every CancelledError that it meets there for theirs: meant for its
    caller, it would be lost, and who was told to end would begin its next round, and never be told again.
    """
    task = asyncio.create_task(work, name=f"close {what}")
    try:
        await asyncio.wait([task], timeout=CLOSE_S)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=CLOSE_S)
        raise
    finally:
        _settle(task, what)


def _settle(task: asyncio.Task[None], what: str) -> None:
    """Raises what is no fault of a connection."""
    if not task.done():
        task.cancel()
        log.warning("connections were left behind", of=what)
    elif task.cancelled():
        # By a task of the library's own, whose end it has let out.
        log.warning("connections were left behind", of=what, error="CancelledError")
    elif (error := task.exception()) is not None:
        if not isinstance(error, (KafkaError, OSError, TimeoutError)):
            raise error
        log.warning("connections were left behind", of=what, error=repr(error))
