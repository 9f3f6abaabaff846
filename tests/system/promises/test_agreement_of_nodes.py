"""Nodes that started at different times, from different checkpoints, and the persister: all count alike."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import msgspec
import pytest

from client import LockstepClient
from services.eventlog.epoch import current_generation
from services.eventlog.heads import read_checkpoints
from tests.stack.crowd import crowd
from tests.stack.lockstep import Stack
from tests.stack.waiting import until

pytestmark = pytest.mark.timeout(900)


def _reaches(client: LockstepClient, heads: Mapping[str, int]) -> bool:
    return all(client.cursors.get(channel, 0) >= head for channel, head in heads.items())


async def test_nodes_from_different_checkpoints_agree_on_every_number(breakable: Stack, folder: Path) -> None:
    generation = await current_generation(breakable.kafka.bootstrap)

    async def watermark() -> int:
        checkpoints = await read_checkpoints(breakable.kafka.bootstrap, generation)
        return sum(checkpoint.watermark for checkpoint, _ in checkpoints.values() if checkpoint is not None)

    async with crowd(breakable, folder, people=6, channels=4) as talkers:
        starts = []
        for name in ("node-1", "node-2", "node-1", "node-2"):
            before = await watermark()
            await talkers.talk_all(20)

            async def moved(before: int = before) -> bool:
                return await watermark() > before

            await until(moved, what="a further checkpoint", every=0.2)
            talking = asyncio.create_task(talkers.talk_all(20))
            await breakable.processes[name].crash()
            starts.append(await watermark())
            await breakable.processes[name].start()
            await talking
        assert len(set(starts)) == len(starts), "every start had another checkpoint"
        # One more client at each node: what it is shown comes from that node's own count.
        realtime = talkers.owner.client.realtime
        assert realtime is not None
        heads = talkers.heads()
        for name in ("node-1", "node-2"):
            here = msgspec.structs.replace(realtime, nodes=[breakable.websocket_url(name)])
            async with LockstepClient(breakable.web_url, realtime=here) as client:
                # What another node has acknowledged, this one may read a moment later.
                await until(partial(_reaches, client, heads), what=f"{name} has counted everything")
                assert {channel: client.cursors[channel] for channel in talkers.channels} == heads
        await talkers.must_hold(messages=4 * 6 * 40)
