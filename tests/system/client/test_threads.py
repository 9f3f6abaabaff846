"""Promise: what was read of a thread, and whether one follows it, is the same on all devices and in every list."""

from __future__ import annotations

import asyncio

import pytest

from client import ApiError, Noticed
from services.contract.notices import ThreadFollowed, ThreadRead
from tests.stack.lockstep import Stack
from tests.stack.waiting import until
from tests.system.client.people import Someone, joined, owner
from tests.system.client.test_notices import at_node


async def unread(somebody: Someone, notices: int | None = None) -> dict[int, int]:
    """Root and unread replies of each thread that waits for them; lists and the start of a client agree."""
    start = await somebody.rest.sync(at_least=notices)
    waiting = {each.root.seq: each.unread async for each in somebody.rest.threads()}
    assert start.threads_unread == len(waiting)
    return waiting


async def test_a_thread_is_read_and_followed_on_all_devices(breakable: Stack) -> None:
    ada = await owner(breakable)
    ben, eve = await joined(breakable, ada, "Ben"), await joined(breakable, ada, "Eve")
    channel = (await ada.rest.create_channel("threads")).channel.id
    await ada.rest.add_members(channel, [ben.user_id])
    root = (await ada.rest.post_message(channel, "What about the cards?")).seq
    first = (await ben.rest.post_message(channel, "Punched.", thread=root)).seq
    last = (await ben.rest.post_message(channel, "And sorted.", thread=root)).seq
    page = await ada.rest.thread(channel, root, at_least=last)
    assert page.root is not None
    assert (page.root.replies, page.following, page.read) == (2, True, root), "she wrote what it begins with"
    assert [each.seq for each in page.messages] == [first, last]
    assert await unread(ada) == {root: 2}
    assert await unread(ben) == {}, "one's own replies are read"

    async with ada.client() as phone:
        heard: list[ThreadRead | ThreadFollowed] = []

        async def listen() -> None:
            async for event in phone.events():
                if isinstance(event, Noticed) and isinstance(event.notice, ThreadRead | ThreadFollowed):
                    heard.append(event.notice)

        listening = asyncio.create_task(listen())
        moved = await ada.rest.mark_read(channel, first, root=root)
        assert await unread(ada, moved.notices) == {root: 1}
        behind = await ada.rest.mark_read(channel, root, root=root)
        assert (behind.seq, behind.notices) == (first, None), "a device that is behind takes nothing back"
        back = await ada.rest.mark_unread(channel, first, root=root)
        assert await unread(ada, back.notices) == {root: 2}
        done = await ada.rest.mark_read(channel, last, root=root)
        assert await unread(ada, done.notices) == {}
        assert [each.root.seq async for each in ada.rest.threads(unread=False)] == [root]

        off = await ada.rest.follow_thread(channel, root, following=False)
        assert await unread(ada, off.notices) == {}
        assert [each async for each in ada.rest.threads(unread=False)] == []
        again = (await ben.rest.post_message(channel, "Are you there?", thread=root)).seq
        page = await ada.rest.thread(channel, root, at_least=again)
        assert (page.following, page.read) == (False, last), "what she said outweighs what she wrote"
        assert await unread(ada) == {}
        on = await ada.rest.follow_thread(channel, root)
        assert await unread(ada, on.notices) == {root: 1}
        await until(lambda: len(heard) >= 5, what="the phone is told")
        assert [each.seq if isinstance(each, ThreadRead) else each.following for each in heard] == [
            first, first - 1, last, False, True,
        ]  # fmt: skip
        listening.cancel()

    for call, code in (
        (ada.rest.mark_read(channel, last, root=first), "not_found"),
        (ada.rest.follow_thread(channel, first), "not_found"),
        (eve.rest.thread(channel, root), "not_a_member"),
        (eve.rest.mark_read(channel, last, root=root), "not_a_member"),
        (eve.rest.follow_thread(channel, root), "not_a_member"),
    ):
        with pytest.raises(ApiError) as refused:
            await call
        assert refused.value.code == code


async def test_the_connections_of_a_node_are_paged_and_of_ones_own_workspace(breakable: Stack) -> None:
    ada, stranger = await owner(breakable), await owner(breakable)
    ben, eve = await joined(breakable, ada, "Ben"), await joined(breakable, ada, "Eve")
    mine = sorted(each.user_id for each in (ada, ben, eve))
    async with (
        await at_node(breakable, ada, "node-1"),
        await at_node(breakable, ben, "node-1"),
        await at_node(breakable, eve, "node-1"),
        await at_node(breakable, stranger, "node-1"),
    ):

        async def everybody() -> bool:
            return sorted(each.user for each in (await ada.rest.connections("node-1")).items) == mine

        await until(everybody, what="all three are shown, and nobody else")
        page = await ada.rest.connections("node-1", limit=2)
        assert (len(page.items), page.next_cursor) == (2, 2)
        page = await ada.rest.connections("node-1", limit=2, cursor=page.next_cursor)
        assert (len(page.items), page.next_cursor) == (1, None)
        page = await ada.rest.connections("node-1", limit=2, cursor=50)
        assert (page.items, page.next_cursor) == ([], None)
        page = await ada.rest.connections("node-1", user=ben.user_id, limit=1)
        assert ([each.user for each in page.items], page.next_cursor) == ([ben.user_id], None)
        page = await ada.rest.connections("node-1", user=stranger.user_id)
        assert page.items == []
        with pytest.raises(ApiError) as refused:
            await ada.rest.connections("node-9")
        assert refused.value.code == "not_found"
