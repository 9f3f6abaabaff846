"""The frame of every process: settings, logs, uvloop, SIGTERM and SIGINT turned into one event, an exit code."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog
import uvloop

from services.runtime import logs
from services.runtime.settings import LogSettings, SettingsError, load

T = TypeVar("T", bound=LogSettings)

log = structlog.get_logger()


class Fatal(Exception):
    """The process must not go on, and restarting it alone will not help; the message says what an operator must do."""


EXIT_SETTINGS = 78
"""sysexits' EX_CONFIG: a supervisor should not restart."""

EXIT_FATAL = 70
"""sysexits' EX_SOFTWARE: stopped on purpose, loudly (`Fatal`)."""


def run(process: str, settings: type[T], main: Callable[[T, asyncio.Event], Awaitable[None]]) -> int:
    """Run `main(settings, stop)` until it returns; `stop` is set on SIGTERM or SIGINT. Gives the exit code."""
    try:
        loaded = load(settings)
        logs.configure(process, loaded)
        uvloop.run(_until_stopped(main, loaded))
    except SettingsError as error:
        print(f"{process}: {error}", file=sys.stderr)
        return EXIT_SETTINGS
    except Fatal as error:
        log.error("fatal", reason=str(error))
        return EXIT_FATAL
    return 0


async def _until_stopped(main: Callable[[T, asyncio.Event], Awaitable[None]], settings: T) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    log.info("starting")
    await main(settings, stop)
    log.info("stopped")


async def until_stopped(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
    """Run `work` until it ends (its exception is raised here) or until `stop` is set, which cancels it."""
    task = asyncio.create_task(work)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        task.cancel()
        await asyncio.wait((task, stopped))
    if not task.cancelled():
        task.result()
