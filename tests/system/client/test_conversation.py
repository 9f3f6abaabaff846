"""Promises about messages: all devices agree on what is edited at once, what was deleted can be read nowhere, what is
scheduled is posted once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator

import msgspec
import pytest
from websockets.asyncio.client import connect

from client import ApiError, ChannelEvent, LockstepClient, MessageEvent, Timeline
from client.records_messages import MessagePage
from services.contract.frames import Connect, Resume, encode_frame
from tests.stack.lockstep import Stack
from tests.stack.waiting import until
from tests.system.client.people import Someone, in_channel, joined, owner


@contextlib.asynccontextmanager
async def device(somebody: Someone, channel: str) -> AsyncIterator[tuple[LockstepClient, Timeline]]:
    """A connected client and the channel as it shows it, from the newest page on."""
    async with somebody.client() as client:
        await in_channel(channel, client)
        page = await client.rest.messages(channel, at_least=client.cursors[channel])
        timeline = Timeline(page)

        async def show() -> None:
            async for event in client.events():
                if isinstance(event, MessageEvent | ChannelEvent) and event.channel == channel:
                    timeline.apply(event)

        showing = asyncio.create_task(show())
        try:
            yield client, timeline
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)


async def fresh(somebody: Someone, channel: str, at_least: int) -> Timeline:
    page: MessagePage = await somebody.rest.messages(channel, at_least=at_least)
    return Timeline(page)


async def replayed(stack: Stack, somebody: Someone, channel: str, node: str, head: int) -> str:
    """All that a node shows to a client that resumes from nothing, as text."""
    realtime = await somebody.rest.realtime()
    frames: list[str] = []
    async with asyncio.timeout(60), connect(stack.websocket_url(node), open_timeout=60) as socket:
        resume = Resume(epoch=realtime.epoch, channels={channel: 0})
        await socket.send(encode_frame(Connect(token=realtime.token, resume=resume)).decode())
        async for message in socket:
            frames.append(str(message))
            frame = json.loads(message)
            assert frame["type"] not in ("gap", "reset"), "the ring reaches back to the beginning"
            if frame["type"] == "event" and frame["channel"] == channel and frame["seq"] >= head:
                return "\n".join(frames)
    raise AssertionError("the node closed the connection")


async def test_two_people_with_two_devices_each_see_the_same_conversation(breakable: Stack) -> None:
    ada = await owner(breakable)
    ben = await joined(breakable, ada, "Ben")
    channel = (await ada.rest.create_channel("analytical-engine")).channel.id
    await ada.rest.add_members(channel, [ben.user_id])
    async with contextlib.AsyncExitStack() as owned:
        devices = [await owned.enter_async_context(device(each, channel)) for each in (ada, ada, ben, ben)]
        (phone, _), (laptop, _), (bens, _), _ = devices
        root = await phone.send(channel, f"shall we, <@{ben.user_id}>? <!here>")
        replies = [
            await bens.send(channel, "yes", thread=root.seq),
            await laptop.send(channel, "good", thread=root.seq, also_to_channel=True),
        ]
        # Everybody does something to the same message at the same time; who comes first is the log's to say.
        done = await asyncio.gather(
            phone.rest.edit_message(channel, root.seq, "shall we begin?"),
            laptop.rest.edit_message(channel, root.seq, "shall we start?"),
            *(client.rest.react(channel, root.seq, "👍") for client, _ in devices),
            bens.rest.pin(channel, root.seq),
            bens.rest.delete_message(channel, replies[0].seq),
        )
        last = max(each.seq for each in done)
        await until(lambda: all(timeline.at >= last for _, timeline in devices), what="all have seen it")
        now = await fresh(ben, channel, last)
        for _, timeline in devices:
            assert timeline.messages == now.messages
            assert not timeline.stale
        state = now.messages[root.seq]
        later = max(done[:2], key=lambda each: each.seq)
        assert state.text == ("shall we begin?" if later is done[0] else "shall we start?")
        assert state.edits == 2
        assert set(state.reactions[0].users) == {ada.user_id, ben.user_id}
        assert (state.pinned_by, state.summary.replies) == (ben.user_id, 1)
        assert [message.seq for message in now.shown()] == [root.seq, replies[1].seq]
        [posted] = [e for e in (await ada.rest.events(channel)).events if e.seq == root.seq]
        assert posted.mentions == [], "whom the text names, and the author, are not named once more"
        thread = await ben.rest.thread(channel, root.seq)
        assert [message.deleted for message in thread.messages] == [True, False]
        assert thread.following


async def test_what_was_deleted_can_be_read_nowhere(breakable: Stack) -> None:
    ada = await owner(breakable)
    ben = await joined(breakable, ada, "Ben")
    channel = (await ada.rest.create_channel("confidential")).channel.id
    await ada.rest.add_members(channel, [ben.user_id])
    async with ada.client() as client:
        await in_channel(channel, client)
        said = await client.send(channel, "the combination is hush-1")
    await ada.rest.edit_message(channel, said.seq, "the combination is hush-2")
    kept = await ada.rest.post_message(channel, "nothing to see here")
    gone = await ada.rest.delete_message(channel, said.seq)
    after = await ada.rest.post_message(channel, "moving on")
    events = await ben.rest.events(channel, at_least=after.seq)
    everything = msgspec.json.encode(events) + msgspec.json.encode(await ben.rest.messages(channel))
    connection = await breakable.database.connect()
    try:
        tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
        for (table,) in tables:
            rows = await connection.fetchval(
                f"select count(*) from \"{table}\" t where t::text like '%hush%'"
                f" or t::text like '%' || encode('hush'::bytea, 'hex') || '%'"
            )
            assert rows == 0, table
    finally:
        await connection.close()
    for node in ("node-1", "node-2"):
        everything += (await replayed(breakable, ben, channel, node, after.seq)).encode()
    await breakable.processes["node-1"].crash()
    await breakable.processes["node-1"].start()
    again = await replayed(breakable, ben, channel, "node-1", after.seq)
    assert b"hush" not in everything + again.encode()
    assert "nothing to see here" in again
    assert f'"seq":{said.seq},' in again
    with pytest.raises(ApiError) as refused:
        [_ async for _ in ada.rest.versions(channel, said.seq)]
    assert refused.value.code == "not_found"
    assert kept.seq < gone.seq


async def test_a_scheduled_message_is_posted_once_though_the_web_app_restarts(breakable: Stack) -> None:
    ada = await owner(breakable)
    channel = (await ada.rest.create_channel("later")).channel.id
    at = int(time.time() * 1000) + 1_500
    texts = [f"on time {n}" for n in range(5)]
    for text in texts:
        await ada.rest.schedule(channel, text, at)
    await breakable.processes["web_app"].crash()
    await breakable.processes["web_app"].start()

    async def posted() -> list[str]:
        found = (await ada.rest.messages(channel)).messages
        return sorted(message.text for message in found)

    async def all_there() -> bool:
        return len(await posted()) >= len(texts)

    await until(all_there, what="they are posted")
    await breakable.processes["web_app"].crash()
    await breakable.processes["web_app"].start()
    marker = await ada.rest.post_message(channel, "zzz")
    page = await ada.rest.messages(channel, at_least=marker.seq)
    assert sorted(message.text for message in page.messages) == [*texts, "zzz"]
    assert [each async for each in ada.rest.scheduled()] == []
