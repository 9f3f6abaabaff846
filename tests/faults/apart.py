"""Part of a scenario in a process of its own, that ends when its input does."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

from deploy.local.toolchain import CLONE

_END_S = 20.0
_LINE = 64 * 1024 * 1024


class Apart:
    """`lines` is what it prints, `orders` what it reads."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.orders = process.stdin
        self.lines = process.stdout
        self._process = process

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def end(self) -> None:
        """Its input ends; killed when that is not enough."""
        self.orders.close()
        try:
            await asyncio.wait_for(self._process.wait(), _END_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@contextlib.asynccontextmanager
async def apart(module: str, *arguments: str) -> AsyncIterator[Apart]:
    """`python -m MODULE ARGUMENTS`, until the end of the block."""
    process = Apart(
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments),
            cwd=CLONE,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE,
        )
    )
    try:
        yield process
    finally:
        await process.end()
