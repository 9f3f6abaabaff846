"""What a process used: processor time and memory, as the system accounts for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its threads so far, without its children.

    From /proc/PID/task/*/schedstat, in nanoseconds; where the kernel keeps none, from /proc/PID/stat, in hundredths
    of a second. Threads that have ended are in the second only: none of the processes measured here ends any.
    """
    total = 0
    with contextlib.suppress(OSError, IndexError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9 if total else cpu_by_ticks(pid)


def cpu_by_ticks(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def own_bytes(pid: int) -> int:
    """Memory that is the process's own (private pages), bytes."""
    kib = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(("Private_Clean:", "Private_Dirty:")):
            kib += int(line.split()[1])
    return kib * 1024


async def settled(pid: int, *, idle: float = 0.1, every: float = 0.3, timeout: float = 20.0) -> None:
    """Wait until a process uses less than `idle` of a core: what it was left with is done."""
    deadline = time.monotonic() + timeout
    before = cpu_seconds(pid)
    while time.monotonic() < deadline:
        await asyncio.sleep(every)
        now = cpu_seconds(pid)
        if now - before < idle * every:
            return
        before = now
