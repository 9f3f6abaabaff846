"""Promise: the table of messages is what the events add up to, and what was deleted can be read nowhere."""

from __future__ import annotations

import random

import asyncpg
from aiokafka import AIOKafkaProducer

from services.contract.envelope import encode_envelope, partition_of
from services.contract.events import (
    Event,
    MessageDeleted,
    MessageEdited,
    MessagePinned,
    MessagePosted,
    MessageUnpinned,
    ReactionAdded,
    ReactionRemoved,
    encode_event,
)
from services.contract.generation import Generation
from services.contract.ids import new_entity_id, new_event_id
from services.contract.mentions import encode_mentions
from services.persister.messages import read_messages
from services.projection import Message, Numbered, step
from tests.stack.lockstep import Stack
from tests.stack.rawlog import wall_ms
from tests.stack.waiting import until

PEOPLE = [new_entity_id("usr") for _ in range(4)]


def happening(chance: random.Random, seq: int) -> Event:
    target = chance.randint(max(1, seq - 15), max(1, seq - 1))
    text = f"secret-{seq}- <@{chance.choice(PEOPLE)}>{' <!channel>' if chance.random() < 0.2 else ''}"
    kinds = (
        lambda: MessagePosted(text=text, thread=target if chance.random() < 0.5 else None),
        lambda: MessagePosted(text=text),
        lambda: MessageEdited(target=target, text=text),
        lambda: MessageDeleted(target=target),
        lambda: ReactionAdded(target=target, emoji=chance.choice("👍🎉")),
        lambda: ReactionRemoved(target=target, emoji=chance.choice("👍🎉")),
        lambda: MessagePinned(target=target),
        lambda: MessageUnpinned(target=target),
    )
    weights = (4, 4, 6, 1, 6, 2, 2, 1)
    return chance.choices(kinds, weights)[0]()


async def test_what_events_add_up_to_is_stored_and_nothing_of_what_was_deleted(
    log_stack: Stack, generation: Generation, producer: AIOKafkaProducer, sql: asyncpg.Connection
) -> None:
    chance = random.Random(5)
    persister = log_stack.processes["persister"]
    channel = new_entity_id("ch")
    states: dict[int, Message] = {}
    events: dict[int, Event] = {}
    for seq in range(1, 401):
        event = happening(chance, seq)
        if isinstance(event, MessageDeleted) and event.target in states:
            event = MessageDeleted(target=event.target, thread=states[event.target].thread)
        sender, id = chance.choice(PEOPLE), new_event_id()
        others = chance.sample(PEOPLE, 2) if isinstance(event, MessagePosted) and seq % 3 == 0 else []
        states.update(step(states, Numbered(channel, seq, id, sender, 0, tuple(others)), event))
        events[seq] = event
        await producer.send_and_wait(
            generation.events_topic,
            encode_event(event),
            headers=[encode_envelope(channel, sender, id, wall_ms()), encode_mentions(others)],
            partition=partition_of(channel, generation.partitions),
        )
        if seq == 200:
            await persister.crash()
            persister.spawn()

    async def stored() -> bool:
        head = await sql.fetchval("select head from channel_heads where channel_id = $1", channel)
        return bool(head == 400)

    await until(stored, what="all is stored")
    rows = await read_messages(sql, [(channel, seq) for seq in range(1, 401)])
    assert {seq: timeless(row) for (_, seq), row in rows.items()} == {
        seq: timeless(state) for seq, state in states.items()
    }
    deleted = {seq for seq, state in states.items() if state.deleted}
    assert len(deleted) > 3
    mentions = await sql.fetch("select user_id, seq from message_mentions where channel_id = $1", channel)
    assert {tuple(row) for row in mentions} == {
        (user, seq) for seq, state in states.items() for user in state.mentions if user != state.sender
    }
    bodies = {
        row["seq"]: row["body"]
        for row in await sql.fetch("select seq, body from events where channel_id = $1", channel)
    }
    everything = b"".join(bodies.values())
    for seq, event in events.items():
        about = event.target if isinstance(event, MessageEdited) else seq
        if isinstance(event, MessagePosted | MessageEdited) and about in deleted:
            assert f"secret-{seq}-".encode() not in everything
        else:
            assert bodies[seq] == encode_event(event)


def timeless(message: Message) -> Message:
    """Without the log's clock, which the test does not know."""
    summary = message.summary
    return message._replace(
        at=0,
        edited_at=None if message.edited_at is None else 0,
        pinned_at=None if message.pinned_at is None else 0,
        summary=summary._replace(last_reply_at=None if summary.last_reply_at is None else 0),
    )
