"""The HTTP server that every process has, when nobody asks anything."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from services.runtime import admin


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One for each time that it has looked whether it should end."""
    ticks: list[None] = []
    tick = admin._Server.on_tick

    async def counted(self: Any, counter: int) -> bool:
        ticks.append(None)
        return await tick(self, counter)

    monkeypatch.setattr(admin._Server, "on_tick", counted)
    return ticks


async def test_it_sleeps_from_second_to_second_and_tells_the_time(ticks: list[None]) -> None:
    async with admin.serving_admin(lambda: None, "127.0.0.1", 0) as port, httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{port}/health/ready"
        first = await client.get(url)
        assert (first.status_code, first.json()) == (200, {"status": "ready"})
        ticks.clear()
        began, dates = time.monotonic(), {first.headers["date"]}
        while len(dates) < 3:
            await asyncio.sleep(0.2)
            dates.add((await client.get(url)).headers["date"])
        beats = (
            int(time.monotonic() - began) + 2
        )  # those that may lie within that time, and one that came late
        assert len(ticks) <= beats  # uvicorn's own loop: ten a second


async def test_it_is_told_to_end(ticks: list[None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "until_beat", lambda *_: 3600.0)
    async with admin.serving_admin(lambda: None, "127.0.0.1", 0):
        ticks.clear()
    assert len(ticks) == 1  # none: it slept on, and was cancelled
