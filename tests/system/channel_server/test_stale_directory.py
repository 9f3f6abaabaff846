"""The directory stands still while events go on: nothing is shown, nobody is dropped; then, for too long, everybody."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from deploy.local.ports import free_ports
from services.contract.events import MessagePosted
from tests.stack.servers import Kafka
from tests.stack.waiting import until
from tests.system.channel_server.cell import dense, new_cell
from tests.system.channel_server.topic_proxy import topic_proxy
from tests.system.conftest import Factory


async def test_what_is_shown_is_held_and_who_was_removed_meanwhile_never_sees_it(
    new_kafka: Factory[Kafka], folder: Path
) -> None:
    advertised, port = free_ports(2)
    async with topic_proxy(port, advertised) as proxy, contextlib.AsyncExitStack() as owned:
        await new_kafka(advertised=advertised, port=port)
        cell = await owned.enter_async_context(new_cell(f"127.0.0.1:{advertised}", folder / "cell"))
        (node,) = await cell.nodes("node-1")
        ann, bob, carol = await cell.people(3)
        channel = await cell.channel(ann, bob, carol)
        clients = anns, bobs, carols = [await cell.connect(node, person) for person in (ann, bob, carol)]
        for client in clients:
            await client.opened(channel)
        await anns.say(channel, "1")
        for client in clients:
            await client.shown(channel, 1)

        async def held() -> bool:
            return "lockstep_node_held 1.0" in (await node.get("/metrics")).text

        proxy.freeze(cell.generation.directory_topic)
        await until(held)
        # Numbers are given and told, but nothing is shown to anybody.
        assert (await anns.say(channel, "2"))["seq"] == 2
        assert (await anns.say(channel, "3"))["seq"] == 3
        late = await cell.open(node, ann)
        await late.socket.send(f'{{"type":"connect","token":"{cell.token(ann)}"}}')
        await asyncio.sleep(1.0)
        assert [client.seqs(channel) for client in clients] == [[1], [1], [1]]
        assert late.frames == []
        await cell.publish(cell.member_record(channel, bob, member=False))
        proxy.thaw()
        for client in (anns, carols):
            await client.shown(channel, 3)
            assert dense(client.seqs(channel))
        assert (await bobs.frame("closed"))["last_seq"] == 1
        assert bobs.seqs(channel) == [1]
        await late.frame("welcome")

        # For good: after fifteen seconds of it, everybody is told to go elsewhere.
        async def thawed() -> bool:
            return not await held()

        await until(thawed)
        proxy.freeze(cell.generation.directory_topic)
        await until(held)
        since = time.monotonic()
        assert await anns.end() == 4009
        assert await carols.end() == 4009
        assert time.monotonic() - since > 10, "after so much of it, and not at once"
        assert carols.seqs(channel) == [1, 2, 3]
        proxy.thaw()
        await until(thawed)
        again = await cell.connect(node, carol, {channel: 3})
        await cell.append(channel, ann, MessagePosted(text="4"))
        await again.shown(channel, 4)
