"""Promise: one call gives a client its start, the stream goes on right behind it, and devices share what was read."""

from __future__ import annotations

import asyncio

import pytest

from client import ApiError, LockstepClient, MessageEvent, Noticed
from client.records import SyncedChannel
from services.contract.notices import ReadMoved
from tests.stack.lockstep import Stack
from tests.stack.waiting import until
from tests.system.client.people import Someone, in_channel, joined, owner


async def of(somebody: Someone, channel: str, notices: int | None = None) -> SyncedChannel:
    start = await somebody.rest.sync(at_least=notices)
    return next(each for each in start.channels if each.id == channel)


async def test_what_was_read_on_one_device_is_read_on_the_other(breakable: Stack) -> None:
    ada = await owner(breakable)
    ben = await joined(breakable, ada, "Ben")
    channel = (await ada.rest.create_channel("reading")).channel.id
    await ada.rest.add_members(channel, [ben.user_id])
    await breakable.told()
    async with ben.client() as phone, ada.client() as writer:
        await in_channel(channel, phone, writer)
        heard: list[Noticed] = []

        async def listen() -> None:
            async for event in phone.events():
                if isinstance(event, Noticed) and isinstance(event.notice, ReadMoved):
                    heard.append(event)

        listening = asyncio.create_task(listen())
        acks = [await writer.send(channel, text) for text in ("one", f"<@{ben.user_id}> two", "three")]
        await ben.rest.events(channel, at_least=acks[-1].seq)
        before = await of(ben, channel)
        assert (before.unread, before.mentions) == (3, 1)
        assert (await of(ada, channel)).unread == 0, "one's own are read"

        moved = await ben.rest.mark_read(channel, acks[1].seq)
        await until(lambda: heard, what="the phone is told")
        notice = heard[0].notice
        assert isinstance(notice, ReadMoved)
        assert (notice.channel, notice.seq) == (channel, acks[1].seq)
        after = await of(ben, channel, moved.notices)
        assert (after.unread, after.mentions, after.marker) == (1, 0, acks[1].seq)
        again = await ben.rest.mark_read(channel, acks[0].seq)
        assert (again.seq, again.notices) == (acks[1].seq, None), "a device that is behind takes nothing back"

        back = await ben.rest.mark_unread(channel, acks[0].seq)
        assert (await of(ben, channel, back.notices)).unread == 3
        with pytest.raises(ApiError) as foreign:
            await ada.rest.mark_read((await ben.rest.create_channel("other")).channel.id, 1)
        assert foreign.value.code == "not_a_member"
        listening.cancel()


async def test_the_stream_joins_the_start_without_hole_or_overlap(breakable: Stack) -> None:
    ada = await owner(breakable)
    ben = await joined(breakable, ada, "Ben")
    channel = (await ada.rest.create_channel("busy")).channel.id
    await ada.rest.add_members(channel, [ben.user_id])
    await breakable.told()
    async with ada.client() as writer:
        await in_channel(channel, writer)
        stop = asyncio.Event()

        async def talk() -> int:
            last = 0
            while not stop.is_set():
                last = (await writer.send(channel, "and another")).seq
            return last

        talking = asyncio.create_task(talk())
        views: list[tuple[int, list[int], LockstepClient]] = []
        reading: list[asyncio.Task[None]] = []
        for _ in range(3):
            client = ben.client()
            start = await client.sync()
            head = next(each.head for each in start.channels if each.id == channel)
            seen: list[int] = []

            async def read(client: LockstepClient = client, seen: list[int] = seen) -> None:
                async for event in client.events():
                    if isinstance(event, MessageEvent) and event.channel == channel:
                        seen.append(event.seq)

            await client.__aenter__()
            reading.append(asyncio.create_task(read()))
            views.append((head, seen, client))
        await until(lambda: all(len(seen) > 20 for _, seen, _ in views), what="all see new messages")
        stop.set()
        last = await talking
        await until(lambda: all(seen[-1] >= last for _, seen, _ in views), what="all see the last")
        for head, seen, client in views:
            assert seen == list(range(head + 1, seen[-1] + 1))
            await client.aclose()
        for task in reading:
            task.cancel()
