"""Work that begins anew after a failure, and work that ends when it is told to."""

from __future__ import annotations

import asyncio

import pytest

from services.runtime import sessions
from services.runtime.process import until_stopped
from services.runtime.sessions import run_sessions


class Passing(Exception):
    """A failure that another try may help against."""


class Lasting(Exception):
    """A failure that it does not help against."""


def passes(error: BaseException) -> bool:
    return isinstance(error, Passing)


async def test_begins_anew_until_it_must_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "FIRST_BACK_OFF_S", 0.001)
    outcomes: list[Exception] = [Passing("one"), Passing("two"), Lasting("three")]
    told: list[str] = []

    async def session() -> None:
        raise outcomes.pop(0)

    with pytest.raises(Lasting):
        await run_sessions(session, is_transient=passes, on_failure=lambda error: told.append(str(error)))
    assert told == ["one", "two"]
    assert outcomes == []


async def test_a_session_that_was_well_for_long_begins_a_new_back_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # every session counts as a long one, and a back-off would never end
    monkeypatch.setattr(sessions, "HEALTHY_S", 0.0)
    monkeypatch.setattr(sessions, "FIRST_BACK_OFF_S", 1e9)
    monkeypatch.setattr(sessions, "MAX_BACK_OFF_S", 1e9)
    outcomes: list[Exception] = [Passing("one"), Passing("two"), Lasting("three")]
    told: list[str] = []

    async def session() -> None:
        raise outcomes.pop(0)

    async with asyncio.timeout(60):
        with pytest.raises(Lasting):
            await run_sessions(session, is_transient=passes, on_failure=lambda error: told.append(str(error)))
    assert told == ["one", "two"]


async def test_stopping_cancels_the_work_and_is_no_error() -> None:
    stop, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        stop.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with asyncio.timeout(60):
        await until_stopped(work(), stop)
    assert ended.is_set()


async def test_what_the_work_raises_comes_out() -> None:
    async def work() -> None:
        raise Lasting

    with pytest.raises(Lasting):
        await until_stopped(work(), asyncio.Event())


async def test_cancelling_the_caller_cancels_the_work() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    caller = asyncio.create_task(until_stopped(work(), asyncio.Event()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()
