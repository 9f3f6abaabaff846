"""What an operator does, by docs/operations.md: stop everything, begin the next epoch, start everything again."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import sys
from pathlib import Path
from typing import Any

import msgspec

from deploy.local.toolchain import CLONE
from deploy.settings import BOOTSTRAP
from services.runtime.process import EXIT_FATAL
from tests.stack.lockstep import Stack
from tests.stack.process import Process

_runs = itertools.count(1)


def command(stack: Stack, *arguments: str) -> Process:
    """`python -m services.bootstrap ...`, not started; each run has a log of its own."""
    number = next(_runs)
    return Process(
        f"bootstrap-{number}",
        [sys.executable, "-m", BOOTSTRAP, *arguments],
        stack.folder / f"bootstrap-{number}.log",
        environment={**stack.site.common(), **stack.extra},
        cwd=CLONE,
    )


async def bootstrap_refuses(stack: Stack) -> str:
    """Bootstrap, which runs before everything is started, refuses (70); gives its reason."""
    process = command(stack)
    process.spawn()
    try:
        status = await process.wait(150.0)
        assert status == EXIT_FATAL, f"bootstrap ended with {status}:\n{process.tail()}"
    finally:
        await process.destroy()
    return process.tail()


async def next_epoch(stack: Stack, rng: random.Random, *, killed: int) -> tuple[Path, int]:
    """Stop what still runs and begin the next epoch; before it is let to its end, the command is killed -9 so often, or
    until it was quicker than that.

    Each run salvages to a file of its own, as the command demands; gives that of the last one that had something to do, and
    how often the command was killed.
    """
    for process in stack.processes.values():
        await process.destroy()
    longest = 1.2
    files: list[Path] = []
    for kills in range(killed + 1):
        files.append(file := stack.folder / f"salvage-{next(_runs)}.jsonl")
        process = command(stack, "next-epoch", "--salvage", str(file))
        process.spawn()
        status: int | None = None
        try:
            with contextlib.suppress(TimeoutError):
                status = await process.wait(120.0 if kills == killed else rng.uniform(0.3, longest))
        finally:
            await process.destroy()
        if status == 0:
            assert kills or not killed, "the command was done before it was killed for the first time"
            return next((file for file in reversed(files) if file.exists()), files[-1]), kills
        assert status is None, f"next-epoch ended with {status}:\n{process.tail()}"
        longest *= 1.25
    raise AssertionError("next-epoch takes longer than two minutes")


def salvaged(file: Path) -> list[dict[str, Any]]:
    """The lines of a salvage file; none when there was nothing to save."""
    if not file.exists():
        return []
    return [msgspec.json.decode(line) for line in file.read_bytes().splitlines()]


async def all_refuse(stack: Stack, *names: str, timeout: float = 90.0) -> dict[str, str]:
    """Wait until each of these has stopped for good (70); gives by name what it said as its reason."""
    processes = [stack.processes[name] for name in names]
    statuses = await asyncio.gather(*(process.wait(timeout) for process in processes))
    wrong = {p.name: s for p, s in zip(processes, statuses, strict=True) if s != EXIT_FATAL}
    assert not wrong, f"these did not stop for good: {wrong}"
    return {process.name: _reason(process) for process in processes}


def _reason(process: Process) -> str:
    for line in reversed(process.tail().splitlines()):
        with contextlib.suppress(msgspec.DecodeError):
            entry = msgspec.json.decode(line)
            if entry.get("event") == "fatal":
                return str(entry["reason"])
    raise AssertionError(f"{process.name} does not say why it stopped:\n{process.tail()}")
