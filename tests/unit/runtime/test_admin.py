"""The HTTP server that every process has, when nobody asks anything."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from services.runtime import admin
from services.runtime.beat import until_beat


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


async def test_it_sleeps_from_beat_to_beat_and_tells_the_time(
    ticks: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeps: list[float] = []

    def noted(period: float, now: float) -> float:
        sleeps.append(period)
        return until_beat(period, now)

    monkeypatch.setattr(admin, "until_beat", noted)
    async with admin.serving_admin(lambda: None, "127.0.0.1", 0) as port, httpx.AsyncClient() as client:
        dates: set[str] = set()
        while len(dates) < 3:
            answer = await client.get(f"http://127.0.0.1:{port}/health/ready")
            assert (answer.status_code, answer.json()) == (200, {"status": "ready"})
            dates.add(answer.headers["date"])
            await asyncio.sleep(0.2)
        assert len(ticks) == len(sleeps)  # uvicorn's own loop looks ten times a second
        assert set(sleeps) == {1.0}


async def test_it_is_told_to_end(ticks: list[None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "until_beat", lambda *_: 3600.0)
    async with admin.serving_admin(lambda: None, "127.0.0.1", 0):
        ticks.clear()
    assert len(ticks) == 1  # none: it slept on, and was cancelled
