"""Work that begins anew after a failure: one session after another, with back-off while they keep failing early."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

FIRST_BACK_OFF_S: Final = 0.2
MAX_BACK_OFF_S: Final = 3.0
HEALTHY_S: Final = 30.0
"""A session that lasted for this long was well: its failure begins a new back-off."""


async def run_sessions(
    session: Callable[[], Awaitable[None]],
    *,
    is_transient: Callable[[BaseException], bool],
    on_failure: Callable[[BaseException], None],
) -> None:
    """Run `session` again and again; it owns and releases what it opens. Never returns.

    Raises what a session raises and `is_transient` denies. `on_failure` is told every other failure, at once.
    """
    while True:
        async for attempt in AsyncRetrying(
            wait=wait_random_exponential(multiplier=FIRST_BACK_OFF_S, max=MAX_BACK_OFF_S),
            retry=retry_if_exception(is_transient),
            before_sleep=lambda state: on_failure(_exception(state)),
        ):
            with attempt:
                began = time.monotonic()
                try:
                    await session()
                except Exception as error:
                    if not is_transient(error) or time.monotonic() - began < HEALTHY_S:
                        raise
                    on_failure(error)


def _exception(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    assert error is not None, "tenacity sleeps only after an exception"
    return error
