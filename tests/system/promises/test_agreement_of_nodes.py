"""Nodes that started at different times, from different checkpoints, and the persister: all count alike."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from client import LockstepClient
from services.eventlog.epoch import current_generation
from services.eventlog.heads import read_checkpoints
from tests.stack.crowd import crowd
from tests.stack.lockstep import Stack
from tests.stack.waiting import until
from tests.system.conftest import Factory


async def test_nodes_from_different_checkpoints_agree_on_every_number(
    new_stack: Factory[Stack], folder: Path
) -> None:
    # The checkpointer follows one second behind, so that each start finds another checkpoint.
    stack = await new_stack(environment={"LOCKSTEP_CHECKPOINT_LAG_MS": "1000"})
    generation = await current_generation(stack.kafka.bootstrap)

    async def watermark() -> int:
        checkpoints = await read_checkpoints(stack.kafka.bootstrap, generation)
        return sum(checkpoint.watermark for checkpoint, _ in checkpoints.values() if checkpoint is not None)

    async with crowd(stack, folder, people=6, channels=4) as talkers:
        starts = []
        for name in ("node-1", "node-2", "node-1", "node-2"):
            before = await watermark()
            await talkers.talk_all(20)

            async def moved(before: int = before) -> bool:
                return await watermark() > before

            await until(moved, 30.0, what="a further checkpoint", every=0.2)
            talking = asyncio.create_task(talkers.talk_all(20))
            await stack.processes[name].crash()
            starts.append(await watermark())
            await stack.processes[name].start()
            await talking
        assert len(set(starts)) == len(starts), "every start had another checkpoint"
        # One more client at each node: what it is shown comes from that node's own count.
        realtime = talkers.owner.client.realtime
        assert realtime is not None
        heads = talkers.heads()
        for name in ("node-1", "node-2"):
            here = msgspec.structs.replace(realtime, nodes=[stack.websocket_url(name)])
            async with LockstepClient(stack.web_url, realtime=here) as client:
                assert {channel: client.cursors[channel] for channel in talkers.channels} == {
                    channel: heads[channel] for channel in talkers.channels
                }
        await talkers.must_hold(messages=4 * 6 * 40)
