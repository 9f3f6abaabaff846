"""Promise: what one reader has found out about the log stops everybody, also who is started again."""

from __future__ import annotations

import asyncio
from pathlib import Path

from services.contract.generation import Condemned
from services.eventlog.epoch import condemn, current_generation
from services.runtime.process import EXIT_FATAL
from tests.stack.crowd import crowd
from tests.stack.lockstep import Stack
from tests.system.conftest import Factory
from verify.judge import Terms
from verify.run import Sources, judge

READERS = ("node-1", "node-2", "persister", "relay", "checkpointer")


async def test_everybody_stops_and_nobody_starts_again(new_stack: Factory[Stack], folder: Path) -> None:
    stack = await new_stack()
    async with crowd(stack, folder, people=2, channels=1) as talkers:
        await talkers.talk_all(3)
        await talkers.all_have_seen_all()
    generation = await current_generation(stack.kafka.bootstrap)
    mark = Condemned(lost=generation.epoch, reason="its end is gone", found_by="somebody", found_ms=5)
    assert await condemn(stack.kafka.bootstrap, mark)
    processes = [stack.processes[name] for name in READERS]
    for starts in (1, 2):
        assert set(await asyncio.gather(*(process.wait() for process in processes))) == {EXIT_FATAL}
        for process in processes:
            said = process.log.read_text("utf-8")
            assert said.count("as somebody found at 5: its end is gone") == starts, said
            assert "next-epoch" in said
        if starts == 1:
            for process in processes:
                process.spawn()
    # Who judges is told, and judges all the same.
    verdict = await judge(Sources(kafka=stack.kafka.bootstrap), Terms())
    assert verdict.holds
    assert "the log of epoch 1 is lost: its end is gone" in verdict.figures.notes
