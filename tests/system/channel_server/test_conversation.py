"""People talk through real nodes on a real log: numbers, acks, resume, memberships."""

from __future__ import annotations

import asyncio
import json

from services.contract.codes import CLOSES
from services.contract.directory import directory_at
from services.contract.events import MembersAdded, MembersRemoved
from services.contract.ids import new_event_id
from tests.system.channel_server.cell import Cell, Person, dense


async def test_what_one_says_everybody_is_shown_in_one_order_on_both_nodes(cell: Cell) -> None:
    one, two = await cell.nodes("node-1", "node-2")
    ann, bob = await cell.people(2)
    channel = await cell.channel(ann, bob)
    anns, bobs = await cell.connect(one, ann), await cell.connect(two, bob)
    assert await anns.opened(channel) == await bobs.opened(channel) == 0
    assert anns.by_type("welcome")[0]["nodes"] == [two.websocket]

    answers = await asyncio.gather(
        *(client.say(channel, f"{i}") for i in range(50) for client in (anns, bobs))
    )
    assert sorted(answer["seq"] for answer in answers) == list(range(1, 101))
    for client in (anns, bobs):
        await client.shown(channel, 100)
        assert dense(client.seqs(channel))
    assert anns.by_type("event") == bobs.by_type("event")
    acked = {answer["id"]: (answer["seq"], answer["at"]) for answer in answers}
    assert {event["id"]: (event["seq"], event["at"]) for event in anns.by_type("event")} == acked


async def test_a_resume_replays_exactly_what_was_missed(cell: Cell) -> None:
    (node,) = await cell.nodes("node-1")
    ann, bob = await cell.people(2)
    channel, other = await cell.channel(ann, bob), await cell.channel(ann, bob)
    anns, bobs = await cell.connect(node, ann), await cell.connect(node, bob)
    await bobs.opened(channel)
    for i in range(3):
        await anns.say(channel, f"before {i}")
    await bobs.shown(channel, 3)
    await bobs.close()
    for i in range(4):
        await anns.say(channel, f"meanwhile {i}")
    again = await cell.connect(node, bob, {channel: 3, other: 0})
    await anns.say(channel, "after")
    await again.shown(channel, 8)
    assert dense(again.seqs(channel), after=3)
    assert again.by_type("welcome")[0]["heads"] == {channel: 7}
    assert not again.by_type("gap")


async def test_a_client_ahead_of_this_node_is_shown_nothing_twice_and_nothing_less(cell: Cell) -> None:
    (node,) = await cell.nodes("node-1")
    ann, bob = await cell.people(2)
    channel = await cell.channel(ann, bob)
    anns = await cell.connect(node, ann)
    await anns.say(channel, "1")
    bobs = await cell.connect(node, bob, {channel: 3})
    for i in range(2, 6):
        await anns.say(channel, f"{i}")
    await bobs.shown(channel, 5)
    assert bobs.seqs(channel) == [4, 5]
    assert not bobs.by_type("gap")
    assert not bobs.by_type("reset")


async def test_positions_of_another_epoch_are_reset(cell: Cell) -> None:
    (node,) = await cell.nodes("node-1")
    (ann,) = await cell.people(1)
    channel = await cell.channel(ann)
    anns = await cell.connect(node, ann)
    await anns.say(channel, "1")
    again = await cell.connect(node, ann, {channel: 7}, epoch=cell.generation.epoch + 1)
    assert [frame["type"] for frame in again.frames[:2]] == ["reset", "welcome"]
    assert again.frames[1]["heads"] == {channel: 1}


async def test_the_same_id_to_both_nodes_at_once_is_one_message(cell: Cell) -> None:
    one, two = await cell.nodes("node-1", "node-2")
    (ann,) = await cell.people(1)
    channel = await cell.channel(ann)
    here, there = await cell.connect(one, ann), await cell.connect(two, ann)
    await there.opened(channel)
    for i in range(20):
        id = new_event_id()
        first, second = await asyncio.gather(here.say(channel, f"{i}", id), there.say(channel, f"{i}", id))
        assert first["seq"] == second["seq"] == i + 1
    await there.shown(channel, 20)
    late = await here.say(channel, "19", id)
    assert (late["seq"], late["duplicate"]) == (20, True)
    assert late["at"] == there.by_type("event", seq=20)[0]["at"]
    assert (await here.say(channel, "other words", id))["code"] == "id_reused"
    assert dense(there.seqs(channel))


async def test_the_member_event_alone_closes_the_channel(cell: Cell) -> None:
    (node,) = await cell.nodes("node-1")
    ann, bob = await cell.people(2)
    channel = await cell.channel(ann, bob)
    anns, bobs = await cell.connect(node, ann), await cell.connect(node, bob)
    await bobs.opened(channel)
    await anns.say(channel, "1")
    await cell.append(channel, ann, MembersRemoved(user_ids=[bob.id], version=cell.next_version()))
    await anns.say(channel, "not for bob")
    assert (await bobs.frame("closed"))["last_seq"] == 1
    await anns.shown(channel, 3)
    assert (await bobs.say(channel, "may I?"))["code"] == "not_a_member"
    assert bobs.seqs(channel) == [1]
    # Neither does a resume show anything.
    again = await cell.connect(node, bob, {channel: 1})
    assert (await again.frame("closed"))["last_seq"] == 1
    assert again.by_type("welcome")[0]["heads"] == {}
    assert not again.by_type("event")

    await cell.append(channel, ann, MembersAdded(user_ids=[bob.id], version=cell.next_version()))
    await bobs.frame("opened", head=4)
    await anns.say(channel, "welcome back")
    await bobs.shown(channel, 5)
    assert bobs.seqs(channel) == [1, 5]


async def test_the_directory_opens_and_closes_too(cell: Cell) -> None:
    (node,) = await cell.nodes("node-1")
    ann, bob = await cell.people(2)
    channel = await cell.channel(ann)
    anns, bobs = await cell.connect(node, ann), await cell.connect(node, bob)
    await anns.say(channel, "1")
    added = cell.member_record(channel, bob)
    await cell.publish(added)
    assert (await bobs.frame("opened"))["head"] == 1
    # An older record, written late, changes nothing.
    await anns.say(channel, "2")
    await bobs.shown(channel, 2)
    await cell.publish(cell.member_record(channel, bob, member=False))
    assert (await bobs.frame("closed"))["last_seq"] == 2
    await cell.publish(added)
    await anns.say(channel, "3")
    await anns.shown(channel, 3)
    assert (await bobs.say(channel, "?"))["code"] == "not_a_member"
    assert bobs.seqs(channel) == [2]


async def test_a_send_waits_for_the_directory_that_makes_it_legal(cell: Cell) -> None:
    (node,) = await cell.nodes("node-1")
    (ann,) = await cell.people(1)
    anns = await cell.connect(node, ann)
    channel = await cell.channel()
    member = cell.member_record(channel, ann)
    token = f"{member.key}@{member.version}"
    first = asyncio.create_task(anns.say(channel, "1", directory_at=token))
    second = asyncio.create_task(anns.say(channel, "2"))
    await asyncio.sleep(1.5)  # longer than a send without `directory_at` would wait
    assert not first.done()
    assert not second.done()
    await cell.publish(member)
    assert (await first)["seq"] == 1
    assert (await second)["seq"] == 2

    never = await anns.say(channel, "3", directory_at=f"{member.key}@{member.version + 1000}")
    assert never["code"] == "not_yet"


async def test_a_copy_at_another_node_of_what_is_stored_is_acknowledged_after_the_channel_was_archived(
    cell: Cell,
) -> None:
    one, two = await cell.nodes("node-1", "node-2")
    ann, bob = await cell.people(2)
    channel = await cell.channel(ann, bob)
    anns, bobs = await cell.connect(one, ann), await cell.connect(one, bob)
    id, of_bob = new_event_id(), new_event_id()
    first = await anns.say(channel, "stored", id)
    of_bobs = await bobs.say(channel, "stored too", of_bob)
    version = cell.next_version()
    await cell.append(channel, ann, MembersRemoved(user_ids=[bob.id], version=version))
    await bobs.frame("closed", channel=channel)
    record = cell.channel_record(channel, archived=True)
    await cell.publish(record)
    anns, bobs = await cell.connect(two, ann), await cell.connect(two, bob, {channel: 2})
    await bobs.frame("closed", channel=channel)
    # Once the news is here for certain, something new is refused for good ...
    news = directory_at(record.key, record.version)
    assert (await anns.say(channel, "new", directory_at=news))["code"] == "archived"
    assert (await bobs.say(channel, "new"))["code"] == "not_a_member"
    # ... and the copies get the numbers that they have.
    for client, copy, answer, text in ((anns, id, first, "stored"), (bobs, of_bob, of_bobs, "stored too")):
        again = await client.say(channel, text, copy)
        assert again == {**answer, "duplicate": True}


async def test_who_the_node_has_not_heard_of_is_told_to_come_back(cell: Cell) -> None:
    (node,) = await cell.nodes("node-1")
    person = Person()
    early = await cell.open(node, person)
    await early.socket.send(json.dumps({"type": "connect", "token": cell.token(person)}))
    assert await early.end() == CLOSES["not_ready"].code
    await cell.publish(cell.user_record(person))
    await cell.connect(node, person)
