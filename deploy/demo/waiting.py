"""How the demo waits and judges: for a condition, with a deadline; what does not hold is a `DemoFailed`."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Final

from client import ApiError

_POLL_S: Final = 0.05
_PATIENCE_S: Final = 30.0  # of a busy machine; only what fails takes so long


class DemoFailed(Exception):
    """Something that should have happened did not; the message says what."""


def check(holds: object, otherwise: str) -> None:
    """Raises DemoFailed(`otherwise`) when it does not hold."""
    if not holds:
        raise DemoFailed(otherwise)


async def until(
    condition: Callable[[], object | Awaitable[object]], otherwise: str, timeout: float = _PATIENCE_S
) -> None:
    """Ask again and again until it is true. Raises DemoFailed, with `otherwise`, after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        if await answer if inspect.isawaitable(answer) else answer:
            return
        check(time.monotonic() < deadline, f"{otherwise} within {timeout:g} s")
        await asyncio.sleep(_POLL_S)


async def refused(call: Awaitable[object], *codes: str) -> None:
    """Do what must be refused with one of these codes. Raises DemoFailed when it is not."""
    try:
        await call
    except ApiError as error:
        check(error.code in codes, f"refused with {error.code} instead of {' or '.join(codes)}: {error}")
    else:
        raise DemoFailed(f"was not refused, which {' or '.join(codes)} should have been")
