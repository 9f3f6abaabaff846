"""Waiting for a condition with a deadline, the only way in which tests wait."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

T = TypeVar("T")


async def until(
    condition: Callable[[], Awaitable[T]] | Callable[[], T],
    timeout: float = 10.0,
    *,
    what: str = "",
    every: float = 0.05,
) -> T:
    """Ask again and again until the answer is true, and give it. Raises TimeoutError with `what` and the last answer.

    `condition` may be a coroutine function; `timeout` and `every` are seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        value = cast("T", await answer if inspect.isawaitable(answer) else answer)
        if value:
            return value
        if time.monotonic() > deadline:
            name = what or getattr(condition, "__qualname__", "the condition")
            raise TimeoutError(f"not within {timeout:g} s: {name} (last answer: {value!r})")
        await asyncio.sleep(every)
