"""`python -m services.bootstrap`: migrations and the first epoch; `... next-epoch`: the one after it."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from services.bootstrap.first_epoch import bootstrap
from services.bootstrap.next_epoch import begin_next_epoch
from services.bootstrap.settings import BootstrapSettings
from services.runtime.process import Fatal, run

_Main = Callable[[BootstrapSettings, asyncio.Event], Awaitable[None]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Gives the exit code: 0, 70 (an operator must decide; the log says what) or 78 (settings)."""
    parser = argparse.ArgumentParser(
        prog="python -m services.bootstrap",
        description="Wait for Kafka and PostgreSQL, bring the schema up to date, make epoch 1 if there is none.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    following = commands.add_parser(
        "next-epoch",
        help="begin a new epoch of the log from what PostgreSQL holds, after the old log was lost",
        description="Begin a new epoch of the log from what PostgreSQL holds. Stop every other process of Lockstep "
        "first. What the old log still holds and PostgreSQL does not is saved to FILE; clients are reset.",
    )
    following.add_argument(
        "--salvage", metavar="FILE", type=Path, required=True, help="JSON lines; must not exist"
    )
    chosen = parser.parse_args(arguments)
    if chosen.command == "next-epoch":
        return run(
            "bootstrap", BootstrapSettings, _until_stopped(lambda s: begin_next_epoch(s, chosen.salvage))
        )
    return run("bootstrap", BootstrapSettings, _until_stopped(bootstrap))


def _until_stopped(work: Callable[[BootstrapSettings], Coroutine[Any, Any, object]]) -> _Main:
    """A one-shot command ends by itself, or at the first signal (it is safe to repeat)."""

    async def main(settings: BootstrapSettings, stop: asyncio.Event) -> None:
        working = asyncio.create_task(work(settings), name="bootstrap")
        stopping = asyncio.create_task(stop.wait(), name="signal")
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
            raise Fatal("stopped before it was done: run it again")
        working.result()

    return main


if __name__ == "__main__":
    sys.exit(main())
