"""Accepted while the web tier is down: web_app and PostgreSQL stopped, people go on talking and newly connect."""

from __future__ import annotations

import asyncio
from pathlib import Path

from client import LockstepClient
from tests.stack.crowd import crowd
from tests.stack.lockstep import Stack


async def test_talking_goes_on_and_everything_is_stored_afterwards(breakable: Stack, folder: Path) -> None:
    async with crowd(breakable, folder, people=4, channels=2) as talkers:
        await talkers.talk_all(10)
        realtime = talkers.people[1].client.realtime
        assert realtime is not None

        await breakable.processes["web_app"].stop()
        await breakable.postgres.process.stop()
        await talkers.talk_all(25)
        # Somebody who was not connected comes with the realtime token of before.
        newcomer = await talkers.enter(
            "newcomer",
            lambda recorder: LockstepClient(breakable.web_url, realtime=realtime, recorder=recorder),
        )
        await talkers.talk(newcomer, 10)

        await breakable.postgres.process.start()
        await breakable.processes["web_app"].start()
        await talkers.talk_all(5)
        await talkers.must_hold(messages=4 * 40 + 10)


async def test_a_node_starts_and_serves_resumes_without_postgresql(breakable: Stack, folder: Path) -> None:
    async with crowd(breakable, folder, people=4, channels=2) as talkers:
        await talkers.talk_all(20)
        await breakable.processes["web_app"].stop()
        await breakable.postgres.process.stop()
        talking = asyncio.create_task(talkers.talk_all(20, pause=0.05))
        # Both, so that nobody who knew anything is left.
        for name in ("node-1", "node-2"):
            await breakable.processes[name].crash()
        await breakable.start("node-1", "node-2")
        await talking
        await talkers.all_have_seen_all()
        await breakable.postgres.process.start()
        await breakable.processes["web_app"].start()
        await talkers.must_hold(messages=4 * 40)
