"""What a process can be asked while it is under test: its metrics, its memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.stack.lockstep import Stack

MIB: Final = 1 << 20


async def metrics(stack: Stack, name: str) -> dict[str, float]:
    """Every sample of a process: `name` or `name{label value}` (one label) -> value, summed over further labels."""
    async with httpx.AsyncClient(timeout=10.0) as http:
        text = (await http.get(f"{stack.health_url(name)}/metrics")).text
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            label = next(iter(sample.labels.values()), None)
            key = sample.name if label is None else f"{sample.name}{{{label}}}"
            found[key] = found.get(key, 0.0) + sample.value
    return found


def rss(stack: Stack, name: str) -> int:
    """Resident bytes of a process."""
    return int(psutil.Process(stack.processes[name].pid).memory_info().rss)


class Memory:
    """The highest resident size seen, bytes, beyond what it was at the beginning."""

    def __init__(self, begun: int) -> None:
        self.begun = begun
        self.peak = begun

    @property
    def growth(self) -> int:
        return self.peak - self.begun


@contextlib.asynccontextmanager
async def watching_memory(stack: Stack, name: str) -> AsyncIterator[Memory]:
    """Looks ten times a second until the end of the block."""
    memory = Memory(rss(stack, name))

    async def watch() -> None:
        while True:
            memory.peak = max(memory.peak, rss(stack, name))
            await asyncio.sleep(0.1)

    watcher = asyncio.create_task(watch())
    try:
        yield memory
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
