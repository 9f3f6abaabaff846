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


async def leaving(node: Node) -> int:
    lines = (await node.get("/metrics")).text.splitlines()
    (found,) = [line for line in lines if line.startswith("lockstep_node_leaving_connections ")]
    return int(float(found.split()[1]))


async def test_they_come_and_go_and_are_killed_with_their_node_while_others_talk(cell: Cell) -> None:
    (node,) = await cell.nodes("node-1")
    crowd = await busy_people(cell)
    ann, bob = await cell.people(2)
    hall = await cell.channel(ann, bob, *crowd)
    last = dict.fromkeys(crowd, 0)
    head = 0
    for killed in (False, False, True, False):
        anns, bobs = await cell.connect(node, ann, {hall: head}), await cell.connect(node, bob, {hall: head})
        clients = await all_in(cell, node, crowd, hall, last)
        begun = head
        for number in range(20):
            head = (await anns.say(hall, f"message {number}"))["seq"]
            if number == 10:
                # All at once, while there is more to say; half of them come back while the others are still leaving.
                last = last_shown(clients, hall, last)
                cut_off(clients)
                clients = await all_in(cell, node, crowd[::2], hall, last)
        await bobs.shown(hall, head)
        assert dense(bobs.seqs(hall), after=begun)
        assert head == begun + 20
        for client in clients:
            await client.shown(hall, head)
        last |= last_shown(clients, hall, last)
        cut_off(clients)
        if killed:
            await node.process.crash()
            await node.process.start()
        else:

            async def nobody_leaves() -> bool:
                return await leaving(node) == 0

            await until(nobody_leaves, what="everybody has left")
            await bobs.say(hall, "nobody else is here")
            head += 1
            await anns.shown(hall, head)
        await asyncio.gather(anns.close(), bobs.close())
