"""A channel server is killed -9 while ten people send through it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.stack.crowd import crowd
from tests.stack.lockstep import Stack
from tests.stack.waiting import until
from tests.system.conftest import Factory


async def test_clients_move_by_themselves_and_nothing_is_lost(
    new_stack: Factory[Stack], folder: Path
) -> None:
    stack = await new_stack(services=("web_app", "node-1", "persister", "relay", "checkpointer"))
    async with crowd(stack, folder, people=10, channels=3) as talkers:
        # Only node-1 runs, so everybody is there when it dies; node-2 is there to move to.
        assert {person.node for person in talkers.people} == {stack.websocket_url("node-1")}
        await stack.processes["node-2"].start()
        talking = asyncio.create_task(talkers.talk_all(60))
        await until(lambda: len(talkers.acks) >= 100, 60.0, what="the crowd talks")
        await stack.processes["node-1"].crash()
        await until(
            lambda: {person.node for person in talkers.people} == {stack.websocket_url("node-2")},
            30.0,
            what="everybody has moved to the other node",
        )
        acked = len(talkers.acks)
        await until(lambda: len(talkers.acks) > acked, 30.0, what="the talk goes on there")
        await stack.processes["node-1"].start()
        await stack.processes["node-2"].crash()
        await talking
        await until(
            lambda: {person.node for person in talkers.people} == {stack.websocket_url("node-1")},
            30.0,
            what="everybody has moved back",
        )
        await talkers.must_hold(messages=600)
