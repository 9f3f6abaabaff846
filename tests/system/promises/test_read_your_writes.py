"""What a REST call allowed is allowed on the WebSocket at once, and what was acknowledged there is in history at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.stack.crowd import Crowd, crowd
from tests.stack.lockstep import Stack

CHANNELS = 300

pytestmark = pytest.mark.timeout(900)


async def _make_and_send(talkers: Crowd, numbers: range) -> None:
    owner = talkers.owner
    for number in numbers:
        made = await owner.rest.create_channel(f"fresh-{number}")
        assert made.directory_at is not None
        ack = await owner.client.send(made.channel.id, "first!", directory_at=made.directory_at)
        page = await owner.rest.messages(made.channel.id, at_least=ack.seq)
        assert (page.messages[-1].seq, page.messages[-1].id) == (ack.seq, ack.id)
        assert page.head >= ack.seq


async def test_a_new_channel_can_be_sent_to_and_read_from_at_once(stack: Stack, folder: Path) -> None:
    async with crowd(stack, folder, people=4, channels=2) as talkers:
        stop = asyncio.Event()

        async def load() -> None:
            while not stop.is_set():
                await asyncio.gather(*(talkers.talk(person, 5) for person in talkers.people[1:]))

        loading = asyncio.create_task(load())
        try:
            await asyncio.gather(
                *(
                    _make_and_send(talkers, range(part * CHANNELS // 4, (part + 1) * CHANNELS // 4))
                    for part in range(4)
                )
            )
        finally:
            stop.set()
            await loading
        refusals = (talkers.folder / "owner.jsonl").read_text("utf-8").count('"kind":"refused"')
        assert refusals == 0
        await talkers.must_hold(messages=1)
