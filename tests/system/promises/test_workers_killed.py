"""Persister, relay and checkpointer are killed -9 at random moments under load, ten times each: exactly once."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import asyncpg

from tests.stack.crowd import Crowd, crowd
from tests.stack.lockstep import Stack
from tests.stack.waiting import until
from tests.system.conftest import Factory

KILLS = 10


async def _change_memberships(talkers: Crowd, stop: asyncio.Event) -> int:
    """Work for the relay: topics and comings and goings, until told to stop; gives how many changes."""
    changes = 0
    owner, last = talkers.owner, talkers.people[-1]
    made = await owner.client.create_channel("busy")
    while not stop.is_set():
        await owner.rest.change_channel(made.channel.id, topic=f"topic {changes}")
        await owner.rest.add_members(made.channel.id, [last.user_id])
        await owner.rest.remove_member(made.channel.id, last.user_id)
        changes += 3
        await asyncio.sleep(0.1)  # a brisk pace; the outbox must not outgrow the test
    return changes


async def test_killed_at_random_moments_under_load(new_stack: Factory[Stack], folder: Path) -> None:
    # A short lag makes the checkpointer work all the time; the other workers do not care.
    stack = await new_stack(environment={"LOCKSTEP_CHECKPOINT_LAG_MS": "1000"})
    moments = random.Random("workers")
    async with crowd(stack, folder, people=4, channels=3) as talkers:
        stop = asyncio.Event()

        async def talk() -> None:
            while not stop.is_set():
                await talkers.talk_all(5, pause=0.02)

        async def kill(worker: str) -> None:
            for _ in range(KILLS):
                await asyncio.sleep(moments.uniform(0.05, 0.6))
                await stack.processes[worker].crash()
                await stack.processes[worker].start()

        talking = asyncio.create_task(talk())
        changing = asyncio.create_task(_change_memberships(talkers, stop))
        async with asyncio.TaskGroup() as killing:
            for worker in ("persister", "relay", "checkpointer"):
                killing.create_task(kill(worker))
        stop.set()
        await talking
        changes = await changing
        await talkers.must_hold(messages=100)

        # What the relay carried: every change is an event, once, in the order in which it was made.
        busy = {channel.name: channel.id async for channel in talkers.owner.rest.channels()}["busy"]
        connection = await stack.database.connect()
        try:
            await _until_outbox_is_empty(connection)
            rows = await connection.fetch(
                "select seq, kind from events where channel_id = $1 order by seq", busy
            )
        finally:
            await connection.close()
        assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
        kinds = [row["kind"] for row in rows if row["kind"] != "channel.created"]
        made = ["channel.topic_set", "members.added", "members.removed"] * (changes // 3)
        assert kinds[-len(made) :] == made


async def _until_outbox_is_empty(connection: asyncpg.Connection) -> None:
    async def empty() -> bool:
        return bool(await connection.fetchval("select not exists (select from outbox)"))

    await until(empty, 30.0, what="the outbox is empty")
