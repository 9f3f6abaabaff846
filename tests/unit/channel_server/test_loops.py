"""The pace of showing: what a batch costs to write decides when the next one is taken."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from channel_server import loops
from channel_server.loops import REST_AT_MOST, rest_after
from services.eventlog.errors import Overtaken
from services.eventlog.records import LogRecord


class SlowToShow:
    """A node that needs 8 ms to write a batch, and the log that has three for it; `happened` tells in which order."""

    has_laggards = False

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.now = 0.0
        self.ahead: list[bool] = []
        self._batches = 3

    async def batch(self, timeout_ms: int, *, ahead: bool) -> dict[int, list[LogRecord]]:
        self._batches -= 1
        self.ahead.append(ahead)
        if self._batches < 0:
            raise Overtaken("enough")
        self.happened.append("taken")
        return {0: [LogRecord(0, 0, 0, None, b"{}", 0)]}

    def records(self, partition: int, records: list[LogRecord]) -> None: ...

    def flush(self) -> bool:
        self.now += 0.008
        return False

    def proofs(self) -> dict[int, float]:
        return {0: 0.0}

    def proven_current(self) -> float:
        return 0.0

    def proven(self, events: dict[int, float], directory: float) -> None: ...

    async def sleep(self, seconds: float) -> None:
        self.happened.append(f"rested {seconds:.3f}")


async def test_the_loop_rests_between_batches_that_take_long_to_show(monkeypatch: pytest.MonkeyPatch) -> None:
    slow: Any = SlowToShow()
    monkeypatch.setattr(loops, "time", SimpleNamespace(monotonic=lambda: slow.now))
    monkeypatch.setattr(loops, "asyncio", SimpleNamespace(Event=asyncio.Event, sleep=slow.sleep))
    with pytest.raises(Overtaken):
        await loops.Loops(slow, slow, slow).follow_events()
    assert slow.happened == ["taken", "rested 0.010"] * 3
    assert slow.ahead == [True, False, False, False], "nothing is fetched while it rests"


def test_a_batch_that_took_long_to_show_lets_the_next_one_grow_but_not_for_long() -> None:
    assert rest_after(0.0) == rest_after(0.0003) == 0.0, (
        "a lone message in a small channel keeps nobody waiting"
    )
    assert rest_after(0.008) == 0.010
    assert rest_after(5.0) == REST_AT_MOST


async def test_proofs_are_not_looked_at_with_every_record(monkeypatch: pytest.MonkeyPatch) -> None:
    quick: Any = SlowToShow()
    proved: list[float] = []
    moments = iter((0.012, 0.018, 0.03))

    async def batch(_: int, *, ahead: bool) -> dict[int, list[LogRecord]]:
        quick.now = next(moments, None)
        if quick.now is None:
            raise Overtaken("enough")
        assert ahead, "who is shown little is fetched for all the time"
        return {}

    quick.batch = batch
    quick.proven = lambda events, directory: proved.append(quick.now)
    monkeypatch.setattr(loops, "time", SimpleNamespace(monotonic=lambda: quick.now))
    with pytest.raises(Overtaken):
        await loops.Loops(quick, quick, quick).follow_events()
    assert proved == [0.012, 0.03]
