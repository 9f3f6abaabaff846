"""An application that does not keep up: nothing is read ahead beyond the buffer, nothing is missed, nothing hangs."""

from __future__ import annotations

import asyncio

from client import LockstepClient
from services.contract import frames
from tests.stack.waiting import PATIENCE_S, until
from tests.system.client.scripted import C, Peer, Web, connected, event, node, seqs

TEXT = "x" * 2_000
COUNT = 20_000


async def flood(peer: Peer, first: int, last: int) -> None:
    for seq in range(first, last + 1):
        await peer.send(event(seq, TEXT))


def held(chat: LockstepClient) -> tuple[int, int]:
    """How many events and bytes the client holds for the application."""
    return len(chat._buffer), chat._buffer.bytes


async def test_a_slow_application_stops_the_reading_and_misses_nothing() -> None:
    async with node() as one, connected(one, Web(one), {C: 0}, buffer_events=100) as (chat, peer):
        flooding = asyncio.create_task(flood(peer, 1, COUNT))
        await until(lambda: held(chat)[0] >= 100)
        sent_until = -1

        def stuck() -> bool:
            nonlocal sent_until
            before, sent_until = sent_until, peer.socket.transport.get_write_buffer_size()
            return before == sent_until > 0

        await until(stuck, what="the server cannot write any more")
        assert not flooding.done()
        assert held(chat)[0] <= 102
        largest = 0
        expected = 1
        while expected <= COUNT:
            got = await seqs(chat, min(200, COUNT + 1 - expected))
            assert got == list(range(expected, expected + len(got)))
            expected += len(got)
            largest = max(largest, held(chat)[0])
        await flooding
        assert largest <= 102
        assert one.peers.empty()  # one connection all along


async def test_the_buffer_is_bounded_by_bytes_too() -> None:
    async with node() as one, connected(one, Web(one), {C: 0}, buffer_bytes=50_000) as (chat, peer):
        flooding = asyncio.create_task(flood(peer, 1, 2_000))
        await until(lambda: held(chat)[1] >= 50_000)
        assert held(chat)[1] < 55_000
        assert await seqs(chat, 2_000) == list(range(1, 2_001))
        await flooding


async def test_a_send_inside_the_loop_over_events_does_not_wait_for_itself() -> None:
    """An echo: while it awaits its send, nobody takes events, and the answer comes behind a flood of them."""
    async with node() as one, connected(one, Web(one), {C: 0}, buffer_events=50) as (chat, peer):

        async def echo() -> int:
            async for shown in chat.events():
                if getattr(shown, "seq", 0) == 1:
                    return (await chat.send(C, "echo")).seq
            return 0

        echoing = asyncio.create_task(echo())
        await peer.send(event(1))
        send = await peer.receive(frames.Send)
        await flood(peer, 2, 1_000)
        await peer.send(peer.ack(send, 1_001))
        async with asyncio.timeout(PATIENCE_S):
            assert await echoing == 1_001
        assert held(chat)[0] <= 102

        # What did not fit was thrown away, and comes again as soon as the application has caught up.
        taking = asyncio.create_task(seqs(chat, 1_000))
        again = await one.peer()
        connect = await again.welcome({C: 1_001})
        assert connect.resume is not None
        seen = connect.resume.channels[C]
        assert 50 <= seen <= 102
        await flood(again, seen + 1, 1_001)
        assert await taking == list(range(2, 1_002))


async def test_an_application_that_only_sends_is_served_for_ever() -> None:
    async with node() as one, connected(one, Web(one), {C: 0}, buffer_events=10) as (chat, peer):

        async def serve() -> None:
            seq = 0
            for _ in range(100):
                send = await peer.receive(frames.Send)
                for _ in range(3):
                    seq += 1
                    await peer.send(event(seq))
                seq += 1
                await peer.send(event(seq), peer.ack(send, seq))

        serving = asyncio.create_task(serve())
        async with asyncio.timeout(PATIENCE_S):
            for n in range(100):
                assert (await chat.send(C, f"message {n}")).seq == 4 * (n + 1)
        await serving
        assert held(chat)[0] <= 22
