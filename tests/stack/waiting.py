"""Waiting for a condition with a deadline, the only way in which tests wait."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, overload

T = TypeVar("T")

PATIENCE_S = 60.0
"""How long is waited for what should come soon: the machine may be busy with other tests. Only failures take so long."""


@overload
async def until(
    condition: Callable[[], Coroutine[Any, Any, T]],
    timeout: float = ...,
    *,
    what: str = ...,
    every: float = ...,
) -> T: ...
@overload
async def until(
    condition: Callable[[], T], timeout: float = ..., *, what: str = ..., every: float = ...
) -> T: ...
async def until(
    condition: Callable[[], Any], timeout: float = PATIENCE_S, *, what: str = "", every: float = 0.05
) -> Any:
    """Ask again and again until the answer is true, and give it. Raises TimeoutError with `what` and the last answer.

    `condition` may be a coroutine function; `timeout` and `every` are seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() > deadline:
            name = what or getattr(condition, "__qualname__", "the condition")
            raise TimeoutError(f"not within {timeout:g} s: {name} (last answer: {value!r})")
        await asyncio.sleep(every)
