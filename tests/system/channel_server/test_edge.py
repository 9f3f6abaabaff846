"""The edge of a whole node: what its settings bound, and peers that vanish without a word."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import psutil

from services.contract.codes import CLOSES
from tests.stack.waiting import until
from tests.system.channel_server.cell import Cell, Client, Person
from tests.system.websocket.raw import TEXT, RawClient, frame


@contextlib.asynccontextmanager
async def beating(client: Client) -> AsyncIterator[None]:
    """While inside, this one's heart beats, whatever the test is doing."""

    async def beat() -> None:
        while True:
            await client.socket.send(json.dumps({"type": "ping"}))
            await asyncio.sleep(0.25)

    heart = asyncio.create_task(beat())
    try:
        yield
    finally:
        heart.cancel()
        await asyncio.gather(heart, return_exceptions=True)


def say(cell: Cell, person: Person, client: RawClient) -> None:
    connect = {"type": "connect", "token": cell.token(person)}
    client.send(frame(TEXT, json.dumps(connect).encode()))


async def test_peers_that_vanished_are_let_go_without_a_fin(cell: Cell) -> None:
    """Nothing comes from them any more: no frame, no answer to a CLOSE, no end of the stream."""
    (node,) = await cell.nodes("node-1", heartbeat_seconds="2", close_seconds="1", handshake_seconds="3")
    ann, bob = await cell.people(2)
    channel = await cell.channel(ann, bob)
    process = psutil.Process(node.process.pid)

    def clients_of_it() -> int:
        # Not all descriptors: its connections to Kafka come and go as they are needed.
        here = node.port
        connections = process.net_connections(kind="tcp")
        return sum(each.laddr.port == here and each.status != psutil.CONN_LISTEN for each in connections)

    anns = await cell.connect(node, ann)
    async with beating(anns):
        with contextlib.ExitStack() as clients:
            gone = [clients.enter_context(RawClient(node.port, receive_buffer=4096)) for _ in range(30)]
            for client in gone[:20]:
                client.upgrade("/v1/websocket")
            for client in gone[:10]:
                say(cell, bob, client)
            assert clients_of_it() >= 10, "they were there"
            for number in range(20):
                # It talks on, and the vanished ones' buffers are not empty.
                assert (await anns.say(channel, "x" * 4000, patient=True))["type"] == "ack", number
            await until(lambda: clients_of_it() <= 1, what="all connections but one are closed", every=0.1)
        page = (await node.get("/internal/v1/connections")).json()
        assert [item["user"] for item in page["items"]] == [ann.id]
    ended = (await node.get("/metrics")).text
    assert 'lockstep_node_ended_connections_total{close="heartbeat_timeout"} 10.0' in ended


async def test_the_door_is_as_wide_as_the_settings_say(cell: Cell) -> None:
    (node,) = await cell.nodes(
        "node-1", address_connections="12", max_unadmitted="5", connect_seconds="60", handshake_seconds="60"
    )
    (ann,) = await cell.people(1)
    port = node.port
    with contextlib.ExitStack() as clients:

        def come(source: str) -> RawClient:
            return clients.enter_context(RawClient(port, source=source))

        mute = [come("127.5.0.1").upgrade("/v1/websocket") for _ in range(5)]

        async def five_wait() -> bool:
            return "lockstep_node_unadmitted_connections 5.0" in (await node.get("/metrics")).text

        await until(five_wait, what="five wait")

        async def speaks() -> bool:
            with RawClient(port, source="127.5.0.2") as client:
                client.upgrade("/v1/websocket")
                say(cell, ann, client)
                return b'"welcome"' in client.read_frame().payload

        assert await until(speaks, what="who speaks gets in, though five wait")
        assert mute[0].read_close() == CLOSES["connect_timeout"].code
        held = [come("127.5.0.3") for _ in range(12)]
        with RawClient(port, source="127.5.0.3") as thirteenth:
            assert thirteenth.read_until_end().startswith(b"HTTP/1.1 429 ")
        assert len(held) == 12
        refused = 'lockstep_websocket_refused_total{reason="address_connections"} 1.0'
        assert refused in (await node.get("/metrics")).text
