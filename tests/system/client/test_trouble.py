"""The library on a real Lockstep of its own whose processes and connections are broken under it.

(`breakable`, of conftest: short windows, small rings.)
"""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from pathlib import Path

import pytest

from client import Ack, LockstepClient, MessageEvent, Opened, Realtime, Recorder, RestClient
from tests.stack.lockstep import Stack
from tests.stack.proxy import Proxy
from tests.stack.waiting import until
from tests.system.client.conftest import RETRY_MS
from tests.system.client.people import in_channel, joined, owner, quiet
from tests.system.conftest import Factory

MOST_GROWN = 4_000_000

pytestmark = pytest.mark.timeout(900)


async def texts_of(rest: RestClient, channel: str, head: int) -> list[str]:
    """Every message of a channel as history has it, oldest first."""
    found: list[str] = []
    after = 0
    while after < head:
        page = await rest.messages(channel, after=after, limit=200, at_least=head)
        if not page.messages:
            break
        found += [message.text for message in page.messages]
        after = page.messages[-1].seq
    return found


async def collect(chat: LockstepClient, channel: str, count: int) -> list[MessageEvent]:
    """The next `count` messages of a channel."""
    found: list[MessageEvent] = []
    async for event in chat.events():
        if isinstance(event, MessageEvent) and event.channel == channel:
            found.append(event)
            if len(found) == count:
                break
    return found


async def test_both_nodes_die_and_come_back_while_the_web_app_is_away(breakable: Stack) -> None:
    ada = await owner(breakable)
    async with ada.client() as chat:
        channel = (await chat.create_channel("room")).channel.id
        await chat.send(channel, "message 0")
        await breakable.processes["web_app"].crash()
        posts: list[asyncio.Future[Ack]] = []

        async def talk() -> None:
            for n in range(1, 120):
                posts.append(chat.post(channel, f"message {n}"))
                await asyncio.sleep(0.05)

        talking = asyncio.create_task(talk())
        first = chat.state.node
        names = {breakable.websocket_url(name): name for name in ("node-1", "node-2")}
        await until(lambda: len(posts) > 20)
        await breakable.processes[names[first]].crash()
        await until(lambda: chat.state.name == "connected" and chat.state.node != first)
        second = chat.state.node
        await until(lambda: len(posts) > 60)
        await breakable.processes[names[second]].crash()
        await until(lambda: chat.state.name == "waiting")
        await breakable.start(names[first])
        await until(lambda: chat.state.name == "connected" and chat.state.node == first)
        await talking
        async with asyncio.timeout(120):
            acks = [await post for post in posts]
        assert [ack.seq for ack in acks] == sorted({ack.seq for ack in acks})
        async with asyncio.timeout(120):
            shown = await collect(chat, channel, 120)
        assert [event.text for event in shown] == [f"message {n}" for n in range(120)]
        await breakable.start(names[second], "web_app")
        assert await texts_of(chat.rest, channel, acks[-1].seq) == [f"message {n}" for n in range(120)]


@pytest.fixture
async def lone_node(breakable: Stack, new_proxy: Factory[Proxy]) -> Proxy:
    """node-1 behind a proxy, and no other node to go to."""
    await breakable.processes["node-2"].crash()
    host, port = breakable.websocket_url("node-1").removeprefix("ws://").split("/")[0].split(":")
    return await new_proxy(host, int(port))


def kinds(path: Path, *wanted: str) -> list[str]:
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [line["kind"] for line in lines if line["kind"] in wanted]


@pytest.mark.parametrize("stalled", ["up", "down"])
async def test_an_id_that_expired_unanswered_is_settled_by_history(
    breakable: Stack, lone_node: Proxy, tmp_path: Path, stalled: str
) -> None:
    """`up`: the send never arrived, and is born again. `down`: it is stored and the answer was lost."""
    ada = await owner(breakable)
    reply = await ada.rest.create_channel("room")
    channel = reply.channel.id
    await breakable.told()
    known = await ada.rest.realtime()
    there = Realtime(
        token=known.token, expires_at=2e9, nodes=[f"ws://127.0.0.1:{lone_node.port}/v1/websocket"]
    )
    path = tmp_path / "recording.jsonl"
    with Recorder(path, "ada") as recorder:
        async with ada.client(realtime=there, recorder=recorder) as chat:
            await quiet(ada.rest, channel, 2)
            before = await chat.send(channel, "before", directory_at=reply.directory_at)
            lone_node.stall(stalled)
            # Or it would ask for other addresses, and go round the proxy.
            await breakable.processes["web_app"].crash()
            posts = [chat.post(channel, text) for text in ("one", "two", "three")]
            await asyncio.sleep(RETRY_MS / 1000 + 1)  # the id's life, by the log's clock
            await lone_node.cut()
            lone_node.resume()
            await breakable.start("web_app")
            async with asyncio.timeout(120):
                acks = [await post for post in posts]
            recorder.flush()
    assert [ack.seq for ack in acks] == [before.seq + 1, before.seq + 2, before.seq + 3]
    assert await texts_of(ada.rest, channel, acks[-1].seq) == ["before", "one", "two", "three"]
    assert kinds(path, "rebirth") == (["rebirth"] if stalled == "up" else [])
    assert acks[0].duplicate is (stalled == "down")


async def test_a_slow_application_costs_no_memory_and_misses_nothing(breakable: Stack) -> None:
    """Far more is said than sockets and ring hold while it does not look: the rest is fetched as gaps."""
    ada = await owner(breakable)
    grace = await joined(breakable, ada, "Grace")
    text = "x" * 11_000
    count = 2_000
    async with ada.client(buffer_events=50) as speaker, grace.client(buffer_events=50) as slow:
        channel = (await speaker.create_channel("room")).channel.id
        await speaker.rest.add_members(channel, [grace.user_id])
        await breakable.told()
        await in_channel(channel, speaker, slow)
        read = slow.cursors[channel]
        tracemalloc.start()
        try:
            last = None
            for n in range(count):
                last = await speaker.send(channel, f"{n} {text}")
                if n == count // 10:
                    tracemalloc.reset_peak()
                    level = tracemalloc.get_traced_memory()[0]
            assert last is not None
            held = slow.cursors[channel] - read
            assert held < 1_000, "it was read ahead of the application"
            grown = tracemalloc.get_traced_memory()[0] - level
        finally:
            tracemalloc.stop()
        # Both clients live in this process, and neither looks. Each may hold two buffers of 50 events (the speaker,
        # because it waits for answers) and what the WebSocket library has read: far below the 20 MB said meanwhile.
        print(f"grown by {grown} bytes, {held} events read ahead")
        assert grown < MOST_GROWN
        vias: dict[str, int] = {}
        async with asyncio.timeout(240):
            expected = None
            async for event in slow.events():
                if isinstance(event, Opened) and event.channel == channel:
                    expected = event.head + 1
                if isinstance(event, MessageEvent) and event.channel == channel:
                    assert event.text.startswith(f"{event.seq - last.seq + count - 1} ")
                seq = getattr(event, "seq", None)
                if seq is None or getattr(event, "channel", None) != channel:
                    continue
                assert seq == expected
                expected = seq + 1
                via = str(getattr(event, "via", ""))
                vias[via] = vias.get(via, 0) + 1
                if seq == last.seq:
                    break
        assert vias.get("gap", 0) > 0, vias


async def test_an_application_that_takes_events_now_and_then_and_answers_each(breakable: Stack) -> None:
    """Two talk to each other with tiny buffers: nobody waits for himself, nothing is missed."""
    ada = await owner(breakable)
    grace = await joined(breakable, ada, "Grace")
    async with ada.client(buffer_events=4) as first, grace.client(buffer_events=4) as second:
        channel = (await first.create_channel("room")).channel.id
        await first.rest.add_members(channel, [grace.user_id])
        await breakable.told()
        await quiet(first.rest, channel, 3)
        await until(lambda: second.cursors.get(channel) == 3)

        async def echo(chat: LockstepClient, count: int) -> list[int]:
            seqs = []
            async for event in chat.events():
                if isinstance(event, MessageEvent) and event.sender != chat.user_id:
                    seqs.append(event.seq)
                    await chat.send(channel, f"echo of {event.seq}")
                    if len(seqs) == count:
                        break
            return seqs

        echoing = asyncio.create_task(echo(second, 100))
        posts = [first.post(channel, f"call {n}") for n in range(100)]
        async with asyncio.timeout(120):
            calls = [(await post).seq for post in posts]
            assert await echoing == calls
        assert min(calls) == 4
