"""People with more channels than a node brings anybody into, or takes anybody out of, at once."""

from __future__ import annotations

import asyncio

from services.contract.ids import new_entity_id
from tests.stack.waiting import until
from tests.system.channel_server.cell import Cell, Client, Node, Person, dense

CHANNELS = 900
"""Of each of them: several steps of `core.limits.Limits.channels_at_once`."""

CROWD = 5
EACH = 2


async def busy_people(cell: Cell) -> list[Person]:
    crowd = await cell.people(CROWD)
    channels = [new_entity_id("ch") for _ in range(CHANNELS)]
    await cell.publish(*(cell.channel_record(channel) for channel in channels))
    for person in crowd:
        await cell.publish(*(cell.member_record(channel, person) for channel in channels))
    return crowd


async def all_in(
    cell: Cell, node: Node, crowd: list[Person], hall: str, last: dict[Person, int]
) -> list[Client]:
    """Every one of them with all their connections, from the last number of `hall` that the person was shown."""
    devices = [person for person in crowd for _ in range(EACH)]
    return await asyncio.gather(*(cell.connect(node, person, {hall: last[person]}) for person in devices))


def cut_off(clients: list[Client]) -> None:
    for client in clients:
        client.socket.transport.abort()


def last_shown(clients: list[Client], hall: str, last: dict[Person, int]) -> dict[Person, int]:
    """What each of them resumes from: the least of what its connections were shown, in order and without a hole."""
    shown: dict[Person, int] = {}
    for client in clients:
        seqs = client.seqs(hall)
        assert dense(seqs, after=last[client.person])
        assert not client.by_type("gap")
        newest = seqs[-1] if seqs else last[client.person]
        shown[client.person] = min(newest, shown.get(client.person, newest))
    return shown


class Talk:
    """Somebody says one thing after another until told to stop; `head`: the number of the last that was acknowledged."""

    def __init__(self, client: Client, hall: str, head: int) -> None:
        self.head = head
        self._client = client
        self._hall = hall
        self._said = 0
        self._enough = False
        self._talking = asyncio.create_task(self._talk())

    async def _talk(self) -> None:
        while not self._enough:
            answer = await self._client.say(self._hall, f"message {self._said}")
            assert answer["type"] == "ack", answer
            assert answer["seq"] == self.head + 1
            self.head += 1
            self._said += 1

    async def goes_on(self) -> None:
        """Wait until a few more were said."""
        enough = self.head + 3
        await until(lambda: self._talking.done() or self.head >= enough, what="talk", every=0.005)

    async def stop(self) -> int:
        self._enough = True
        await self._talking
        return self.head


async def gauges(node: Node) -> dict[str, float]:
    lines = [line.split() for line in (await node.get("/metrics")).text.splitlines() if line[0] != "#"]
    return {line[0]: float(line[1]) for line in lines if "{" not in line[0]}


async def test_they_come_and_go_and_are_killed_with_their_node_while_others_talk(cell: Cell) -> None:
    (node,) = await cell.nodes("node-1")
    crowd = await busy_people(cell)
    ann, bob = await cell.people(2)
    hall = await cell.channel(ann, bob, *crowd)
    last = dict.fromkeys(crowd, 0)
    head = 0
    for killed in (False, True, False):
        anns, bobs = await cell.connect(node, ann, {hall: head}), await cell.connect(node, bob, {hall: head})
        begun, talk = head, Talk(anns, hall, head)
        clients = await all_in(cell, node, crowd, hall, last)
        assert talk.head > begun, "nothing was said while they came"
        await talk.goes_on()
        last = last_shown(clients, hall, last)
        cut_off(clients)
        came, clients = talk.head, await all_in(cell, node, crowd[::2], hall, last)
        assert talk.head > came, "nothing was said while they left, and some came back"
        head = await talk.stop()
        await asyncio.gather(*(client.shown(hall, head) for client in (*clients, bobs)))
        assert dense(bobs.seqs(hall), after=begun)
        last |= last_shown(clients, hall, last)
        cut_off(clients)
        if killed:
            await node.process.crash()
            await node.process.start()
        else:

            async def two_are_left() -> bool:
                now = await gauges(node)
                return (now["lockstep_node_sessions"], now["lockstep_node_leaving_connections"]) == (2, 0)

            await until(two_are_left, what="all of them have left")
        await asyncio.gather(anns.close(), bobs.close())
