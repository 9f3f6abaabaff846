"""What the loops do with a node that has much to show, and how often they look at proofs."""

from __future__ import annotations

import asyncio
import math
import time
from types import SimpleNamespace
from typing import Any

import pytest

from channel_server import loops
from services.eventlog.errors import Overtaken
from services.eventlog.records import LogRecord
from tests.stack.waiting import until

A_RECORD = {0: [LogRecord(0, 0, 0, None, b"{}", 0)]}


class Busy:
    """A node that shows what it was given in so many steps, and the log that has something for it; `happened` tells in
    which order."""

    has_laggards = False

    def __init__(self, steps: int, batches: int, *, crowds: bool = False) -> None:
        """`crowds`: whatever it is given is too much to take more before it is shown."""
        self.happened: list[str] = []
        self._steps = steps
        self._batches = batches
        self._left = 0
        self._crowds = crowds
        self.to_the_few = 0

    async def batch(self, timeout_ms: int) -> dict[int, list[LogRecord]]:
        await asyncio.sleep(0)
        self._batches -= 1
        if self._batches < 0:
            raise Overtaken("enough")
        return A_RECORD

    def records(self, partition: int, records: list[LogRecord]) -> None:
        self.happened.append("taken")
        self._left += self._steps

    def show(self, *, turns: bool = True) -> bool:
        self.to_the_few += not turns
        if self._left:
            self._left -= 1
            self.happened.append("shown")
        return self._left > 0

    @property
    def is_crowded(self) -> bool:
        return self._crowds and self._left > 0

    @property
    def next_turn(self) -> float:
        return 0.0 if self._left else math.inf

    def proofs(self) -> dict[int, float]:
        return {0: 0.0}

    def proven_current(self) -> float:
        return 0.0

    def proven(self, events: dict[int, float], directory: float) -> None: ...


async def followed(node: Any) -> list[str]:
    """What happened until the log had nothing more and everything was shown."""
    running = loops.Loops(node, node, node)
    showing = asyncio.create_task(running.show())
    with pytest.raises(Overtaken):
        await running.follow_events()
    await until(lambda: node.next_turn == math.inf, 10.0, what="all of it is shown")
    showing.cancel()
    return list(node.happened)


async def test_what_comes_is_not_kept_waiting_by_what_takes_long_to_show() -> None:
    node = Busy(steps=50, batches=3)
    happened = await followed(node)
    assert node.to_the_few == 3, "with what comes only the few are served, and the many in their turn"
    assert happened.count("taken") == 3
    assert happened.count("shown") == 150, "and all of it is shown"
    assert happened.index("shown") == 1, "at once, if there is only little"
    assert "taken" not in happened[-100:], "the log was read on in between"


async def test_a_turn_that_comes_later_is_taken_when_it_comes() -> None:
    """Not with the next record or tick: nothing else happens here."""

    class Resting(Busy):
        due = math.inf
        shown = 0

        def records(self, partition: int, records: list[LogRecord]) -> None:
            self.due = time.monotonic() + 0.03

        def show(self, *, turns: bool = True) -> bool:
            if time.monotonic() >= self.due:
                self.due, self.shown = math.inf, self.shown + 1
            return False

        @property
        def next_turn(self) -> float:
            return self.due

    node = Resting(steps=0, batches=1)
    running = loops.Loops(node, node, node)  # type: ignore[arg-type]
    showing = asyncio.create_task(running.show())
    await asyncio.sleep(0)
    with pytest.raises(Overtaken):
        await running.follow_events()
    assert not node.shown
    await until(lambda: node.shown, loops.SILENCE_SECONDS / 2, what="it is shown")
    showing.cancel()


async def test_nothing_more_is_taken_while_too_much_is_unshown() -> None:
    happened = await followed(Busy(steps=50, batches=2, crowds=True))
    assert happened == (["taken"] + ["shown"] * 50) * 2


async def test_proofs_are_not_looked_at_with_every_record(monkeypatch: pytest.MonkeyPatch) -> None:
    quick: Any = Busy(steps=0, batches=0)
    proved: list[float] = []
    moments = iter((0.012, 0.018, 0.03))
    now: float | None = 0.0

    async def batch(_: int) -> dict[int, list[LogRecord]]:
        nonlocal now
        now = next(moments, None)
        if now is None:
            raise Overtaken("enough")
        return {}

    quick.batch = batch
    quick.proven = lambda events, directory: proved.append(now or 0.0)
    monkeypatch.setattr(loops, "time", SimpleNamespace(monotonic=lambda: now))
    with pytest.raises(Overtaken):
        await loops.Loops(quick, quick, quick).follow_events()
    assert proved == [0.012, 0.03]
