"""The broker dies with sends under way: nothing acknowledged is lost, nothing overtakes, retries are stored once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from services.contract.ids import new_event_id
from tests.stack.servers import Kafka
from tests.stack.waiting import until
from tests.system.channel_server.cell import Client, Node, new_cell
from tests.system.conftest import Factory


async def test_sends_under_way_when_the_broker_dies_end_up_stored_once_and_in_order(
    new_kafka: Factory[Kafka], folder: Path
) -> None:
    kafka = await new_kafka()
    async with new_cell(kafka.bootstrap, folder / "cell") as cell:
        one, two = await cell.nodes("node-1", "node-2")
        people = await cell.people(4)
        channel = await cell.channel(*people)
        clients: list[Client] = []
        for person in people:
            clients.append(await cell.connect(one, person))
            await clients[-1].opened(channel)
        sent: list[list[str]] = [[] for _ in people]

        async def send(number: int, count: int) -> None:
            for _ in range(count):
                id = new_event_id()
                sent[number].append(id)
                await clients[number].post(channel, f"{number}/{len(sent[number])}", id)
                await asyncio.sleep(0.005)

        before = [asyncio.create_task(send(number, 25)) for number in range(4)]
        await until(lambda: len(clients[0].by_type("ack")) >= 5)
        await kafka.process.crash()
        await asyncio.gather(*before)
        # Either their sends have failed (and they are told to come back), or they were refused in time.
        unanswered = {
            number: [id for id in sent[number] if not _answered(clients[number], id)] for number in range(4)
        }
        for number, client in enumerate(clients):
            if unanswered[number]:
                assert await client.end(60) == 4008
        await kafka.process.start(60)
        await until(lambda: _ready(one))
        await until(lambda: _ready(two))
        again = [await cell.connect(two, person, {channel: 0}) for person in people]
        for number, client in enumerate(again):
            acked = {frame["id"] for frame in clients[number].by_type("ack")}
            for place, id in enumerate(sent[number]):
                if id not in acked:
                    answer = await client.say(channel, f"{number}/{place + 1}", id)
                    assert answer["type"] == "ack", answer
        for number, client in enumerate(again):
            numbers = {
                frame["id"]: frame["seq"] for c in (clients[number], client) for frame in c.by_type("ack")
            }
            assert set(numbers) == set(sent[number])
            await client.shown(channel, 100)
            events = client.by_type("event", channel=channel)
            assert [event["seq"] for event in events] == list(range(1, 101)), "each once, none lost"
            shown = {event["id"]: event["seq"] for event in events}
            assert {id: shown[id] for id in numbers} == numbers, "an ack is the number that is shown"
            refused = {frame["id"] for frame in clients[number].by_type("refused")}
            in_order = [id for id in sent[number] if id not in refused]
            assert [shown[id] for id in in_order] == sorted(shown[id] for id in in_order)


def _answered(client: Client, id: str) -> bool:
    return any(frame["id"] == id for frame in client.frames if frame["type"] in ("ack", "refused"))


async def _ready(node: Node) -> bool:
    return (await node.get("/health/ready")).status_code == 200
