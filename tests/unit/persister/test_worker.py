"""The persister's sessions: before each of them it asks whether the epoch has been condemned."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.contract.generation import Generation
from services.eventlog.errors import LogLost
from services.persister import worker
from services.runtime.process import Fatal


class Away:
    """A database that cannot be reached, beside a log that is condemned meanwhile; `tried` counts the attempts."""

    def __init__(self) -> None:
        self.tried = 0
        self.reported: list[str] = []

    async def generation(self, _: str) -> Generation:
        return Generation(epoch=1, partitions=1)

    async def watch(self, *_: object) -> None:
        await asyncio.Event().wait()

    async def trusted(self, _: str, epoch: int) -> None:
        if self.tried:
            raise LogLost(f"the log of epoch {epoch} is lost")

    def connected(self, *_: object) -> Any:
        self.tried += 1
        raise ConnectionRefusedError("nobody there")

    async def report(self, *told: Any) -> None:
        self.reported.append(told[-1])


async def test_a_later_session_does_not_begin_in_an_epoch_condemned_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    away = Away()
    monkeypatch.setattr(worker, "await_generation", away.generation)
    monkeypatch.setattr(worker, "watch_epoch", away.watch)
    monkeypatch.setattr(worker, "must_be_trusted", away.trusted)
    monkeypatch.setattr(worker, "connected", away.connected)
    monkeypatch.setattr(worker, "report_lost", away.report)
    settings: Any = None
    async with asyncio.timeout(20):
        with pytest.raises(Fatal, match="epoch 1 is lost"):
            await worker.Worker(settings, "").run()
    assert away.tried == 1
    assert away.reported == ["persister"]
