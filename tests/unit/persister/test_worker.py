"""The persister's sessions: before each it asks whether the epoch has been condemned; in each it reads ahead, a little."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from services.contract.envelope import Envelope, digest_of
from services.contract.events import MessagePosted, encode_event
from services.contract.generation import Generation
from services.contract.ids import new_entity_id, new_event_id
from services.eventlog.errors import LogLost
from services.eventlog.records import LogRecord
from services.eventlog.sequencer import Sequencer
from services.persister import worker
from services.persister.fold import PIECE, Batch, PartitionFold
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


NOW = 1_800_000_000_000


class Backlog:
    """A log of one partition, which is lost behind its last record, and a database whose writes a test lets through."""

    def __init__(self, records: int) -> None:
        generation = Generation(epoch=1, partitions=1)
        self.folds = {0: PartitionFold(generation, 0, Sequencer(generation), 0)}
        self.left = records
        self.offset = 0
        self.writing: asyncio.Queue[Batch] = asyncio.Queue()
        self.written: asyncio.Queue[BaseException | None] = asyncio.Queue()
        self.stored: list[Batch] = []
        self._channel, self._sender = new_entity_id("ch"), new_entity_id("usr")
        self._value = encode_event(MessagePosted(text="hello"))

    async def batch(self, _: int, most: int) -> dict[int, list[LogRecord]]:
        if not self.left:
            raise LogLost("it is gone")
        count = min(most, self.left)
        records = [self._record(self.offset + number) for number in range(count)]
        self.left -= count
        self.offset += count
        return {0: records}

    def _record(self, offset: int) -> LogRecord:
        envelope = Envelope(self._channel, self._sender, new_event_id(NOW), NOW, NOW)
        return LogRecord(0, offset, NOW, envelope, self._value, digest_of(self._value))

    def is_closed(self) -> bool:
        return False

    async def write(self, connection: Any, _: int, batch: Batch, projected: Callable[[], None]) -> int:
        assert connection is self
        assert self.offset == batch.positions[0].next_offset, "nothing is read before the batch is projected"
        projected()
        self.writing.put_nowait(batch)
        error = await self.written.get()
        if error is not None:
            raise error
        self.stored.append(batch)
        return 0


def following(backlog: Backlog, monkeypatch: pytest.MonkeyPatch) -> asyncio.Task[None]:
    monkeypatch.setattr(worker, "write", backlog.write)
    anything: Any = backlog
    return asyncio.create_task(worker.Worker(anything, "")._follow(anything, 1, anything, backlog.folds))


async def idle() -> None:
    """Whatever can go on by itself has done so."""
    for _ in range(2 * worker.BATCH // PIECE):
        await asyncio.sleep(0)


async def test_the_next_batch_is_read_while_one_is_stored_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backlog = Backlog(3 * worker.BATCH + 1)
    async with asyncio.timeout(20):
        task = following(backlog, monkeypatch)
        for number in range(1, 4):
            batch = await backlog.writing.get()
            await idle()
            assert backlog.offset == min((number + 1) * worker.BATCH, 3 * worker.BATCH + 1)
            assert batch.positions[0].expected == (number - 1) * worker.BATCH
            assert batch.positions[0].next_offset == number * worker.BATCH
            assert [event.seq for event in batch.events] == list(
                range((number - 1) * worker.BATCH + 1, number * worker.BATCH + 1)
            )
            assert backlog.writing.empty()
            backlog.written.put_nowait(None)
        assert len((await backlog.writing.get()).events) == 1
        await idle()
        assert not task.done(), "a small batch is stored before more is read"
        backlog.written.put_nowait(None)
        with pytest.raises(LogLost):
            await task


async def test_what_was_read_before_the_log_failed_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    backlog = Backlog(worker.BATCH)
    async with asyncio.timeout(20):
        task = following(backlog, monkeypatch)
        await backlog.writing.get()
        await idle()
        assert not task.done()
        backlog.written.put_nowait(None)
        with pytest.raises(LogLost):
            await task
    assert [len(batch.events) for batch in backlog.stored] == [worker.BATCH]


async def test_what_was_read_ahead_of_a_batch_that_failed_is_thrown_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backlog = Backlog(2 * worker.BATCH)
    async with asyncio.timeout(20):
        task = following(backlog, monkeypatch)
        await backlog.writing.get()
        await idle()
        backlog.written.put_nowait(asyncpg.InterfaceError("the connection was lost"))
        with pytest.raises(asyncpg.InterfaceError):
            await task
    assert backlog.writing.empty()
    assert not [each for each in asyncio.all_tasks() if each.get_name() == "read ahead"]
