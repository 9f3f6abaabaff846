"""Who left sees nothing more, on any path; and a thousand people are one event."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import pytest

from client import ApiError
from services.contract.envelope import encode_envelope
from services.contract.events import MembersRemoved, encode_event
from services.contract.generation import Generation
from services.contract.ids import new_entity_id, new_event_id
from services.eventlog.appender import Appender
from services.eventlog.epoch import current_generation
from tests.stack.crowd import Crowd, Person, crowd
from tests.stack.lockstep import Stack
from tests.stack.records import bodies_of
from tests.stack.waiting import until


async def _sees_nothing(talkers: Crowd, removed: Person, channel: str, last: int) -> None:
    """Live, on resume, in gaps and in history: nothing after `last`."""
    assert max(removed.seen.get(channel, [0])) <= last
    assert removed.closed[channel] <= last
    for page in (removed.rest.events, removed.rest.messages):
        with pytest.raises(ApiError) as refused:
            await page(channel, after=last)
        assert refused.value.code in ("not_a_member", "not_found")


async def test_a_removed_member_sees_nothing_after_its_closed(stack: Stack, folder: Path) -> None:
    async with crowd(stack, folder, people=3, channels=1) as talkers:
        channel, removed = talkers.channels[0], talkers.people[2]
        await talkers.talk_all(5)
        await talkers.all_have_seen_all()
        talking = asyncio.create_task(talkers.talk(talkers.owner, 200))
        await until(lambda: len(talkers.acks) > 30, what="the owner talks")
        await talkers.owner.rest.remove_member(channel, removed.user_id)
        await until(lambda: channel in removed.closed, what="the view is closed")
        last = removed.closed[channel]
        await talking
        assert max(removed.seen[channel]) == last
        await _sees_nothing(talkers, removed, channel, last)
        talkers.people.remove(removed)
        try:
            await talkers.must_hold(messages=200)
        finally:
            talkers.people.append(removed)


async def test_only_the_member_event_tells(breakable: Stack, folder: Path) -> None:
    """The relay is stopped: the directory knows nothing of the removal, the channel's own sequence does."""
    async with crowd(breakable, folder, people=3, channels=1) as talkers:
        channel, removed = talkers.channels[0], talkers.people[2]
        await talkers.talk_all(5)
        await talkers.all_have_seen_all()
        await breakable.processes["relay"].stop()
        await talkers.owner.rest.remove_member(channel, removed.user_id)
        # What the relay would append first; the directory stays as it was.
        connection = await breakable.database.connect()
        try:
            row = await connection.fetchrow(
                "select event_id, sender_id, body from outbox where topic = 'events' and channel_id = $1",
                channel,
            )
        finally:
            await connection.close()
        generation = await current_generation(breakable.kafka.bootstrap)
        await _append(breakable, generation, channel, row["sender_id"], str(row["event_id"]), row["body"])
        await until(lambda: channel in removed.closed, what="the view is closed")
        last = removed.closed[channel]
        await talkers.talk(talkers.owner, 20)
        await _sees_nothing(talkers, removed, channel, last)
        # Nor after coming back, at a node that has only the log to go by.
        node = next(name for name in ("node-1", "node-2") if removed.node == breakable.websocket_url(name))
        for name in (node, *({"node-1", "node-2"} - {node})):
            await breakable.processes[name].crash()
            await breakable.processes[name].start()
        await until(lambda: removed.client.state.name == "connected", what="connected again")
        await talkers.talk(talkers.owner, 20)
        heard = [p for p in talkers.people if p is not removed]
        await until(
            lambda: all(p.has_seen(channel, talkers.acks[-1].seq) for p in heard),
            what="the others hear it",
        )
        await _sees_nothing(talkers, removed, channel, last)


async def _append(
    stack: Stack, generation: Generation, channel: str, sender: str, id: str, body: bytes
) -> None:
    async with Appender(
        stack.kafka.bootstrap,
        generation.events_topic,
        generation.partitions,
        max_in_flight=10,
        on_failure=lambda error: None,
    ) as appender:
        await appender.append(
            channel, encode_envelope(channel, sender, id, time.time_ns() // 1_000_000), body
        )


async def test_a_removal_in_the_sequence_closes_before_anything_later(stack: Stack, folder: Path) -> None:
    """The removal and what follows it stand in one batch of the log: the removed sees neither."""
    async with crowd(stack, folder, people=2, channels=1) as talkers:
        channel, removed, owner = talkers.channels[0], talkers.people[1], talkers.owner
        await talkers.talk_all(3)
        await talkers.all_have_seen_all()
        head = max(ack.seq for ack in talkers.acks)
        generation = await current_generation(stack.kafka.bootstrap)
        stamped = time.time_ns() // 1_000_000
        async with Appender(
            stack.kafka.bootstrap,
            generation.events_topic,
            generation.partitions,
            max_in_flight=100,
            on_failure=lambda error: None,
        ) as appender:
            bodies = [encode_event(MembersRemoved(user_ids=[removed.user_id], version=1 << 40))]
            bodies += [b'{"type":"message.posted","text":"not for you"}'] * 20
            await asyncio.gather(
                *(
                    appender.append(
                        channel, encode_envelope(channel, owner.user_id, new_event_id(), stamped), body
                    )
                    for body in bodies
                )
            )
        await until(lambda: owner.has_seen(channel, head + 21), what="the owner sees all of it")
        await until(lambda: channel in removed.closed, what="the view is closed")
        assert removed.closed[channel] == head
        assert max(removed.seen[channel]) == head


async def test_adding_a_thousand_people_is_one_event(stack: Stack, folder: Path) -> None:
    async with crowd(stack, folder, people=2, channels=1) as talkers:
        channel, owner = talkers.channels[0], talkers.owner
        workspace = (await owner.rest.me()).workspace.id
        strangers = [new_entity_id("usr") for _ in range(1000)]
        connection = await stack.database.connect()
        try:
            await connection.executemany(
                "insert into users (id, workspace_id, email, name, password_hash, role, version)"
                " values ($1, $2, $1 || '@example.com', 'somebody', '!', 'member', nextval('row_version'))",
                [(user_id, workspace) for user_id in strangers],
            )
        finally:
            await connection.close()
        before = await bodies_of(stack, channel)
        await owner.rest.add_members(channel, strangers)
        ack = await owner.client.send(channel, "welcome, all of you")
        talkers.acks.append(ack)
        await until(lambda: owner.has_seen(channel, ack.seq), what="the owner sees it")
        await owner.rest.events(channel, at_least=ack.seq)

        async def added() -> list[bytes]:
            after = (await bodies_of(stack, channel))[len(before) :]
            return [body for body in after if b'"members.added"' in body]

        (body,) = await until(added, what="the addition is in the log")
        assert sorted(msgspec.json.decode(body)["user_ids"]) == sorted(strangers)
