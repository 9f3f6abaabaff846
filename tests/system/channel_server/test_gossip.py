"""Promise: presence and typing come through the log's failures: nothing is stuck, nothing is forgotten for good, and a node
that leaves says so. Two nodes' cores on a real broker; what they conclude from what they hear has tests of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from channel_server.gossip import Gossip
from services.contract.generation import Generation
from services.contract.ids import new_entity_id
from services.contract.presence import sessions_key
from services.eventlog.committed import read_committed
from services.eventlog.topics import admin_client, create_topics, moment_topics
from tests.stack.servers import Kafka
from tests.stack.waiting import until
from tests.system.conftest import Factory
from tests.system.eventlog.conftest import delete_topics, make_topics
from tests.unit.channel_server.world import Client, World

ANNA, OMAR = new_entity_id("usr"), new_entity_id("usr")
ROOM = new_entity_id("ch")


class Member:
    """One node of a cell: its core, and the gossip of it."""

    def __init__(self, kafka: str, generation: Generation, incarnation: str) -> None:
        self.world = World(incarnation=incarnation)
        for user in (ANNA, OMAR):
            self.world.user(user)
            self.world.member(ROOM, user)
        self.gossip = Gossip(kafka, generation, self.world.node)
        self.presence = self.world.node.state.company.presence

    def state(self, user: str) -> str:
        return self.presence.registry.state(user)

    def knows(self, **expected: Client) -> Callable[[], bool]:
        """Whether the sessions of OMAR, of which the registry knows, are just these."""
        sessions = sorted(client.session_id for client in expected.values())
        return lambda: sorted(w.session.session for w in self.presence.registry.whereabouts(OMAR)) == sessions

    def shows_typing(self, client: Client) -> bool:
        self.world.passes(1.0)
        return any(frame["type"] == "typing" for frame in client.hears())


@contextlib.asynccontextmanager
async def member(kafka: str, generation: Generation, incarnation: str) -> AsyncIterator[Member]:
    made = Member(kafka, generation, incarnation)
    running = asyncio.create_task(made.gossip.run())
    try:
        yield made
    finally:
        running.cancel()
        # Whatever ended it before that is a defect.
        with contextlib.suppress(asyncio.CancelledError):
            await running


@pytest.fixture
async def generation(kafka: Kafka) -> AsyncIterator[Generation]:
    made = await make_topics(kafka.bootstrap)
    yield made
    await delete_topics(kafka.bootstrap, made)


async def test_what_one_node_tells_the_other_knows(kafka: Kafka, generation: Generation) -> None:
    async with (
        member(kafka.bootstrap, generation, "a") as a,
        member(kafka.bootstrap, generation, "b") as b,
    ):
        anna = a.world.connected(ANNA)
        omar = b.world.connected(OMAR, "ses_1")
        await until(lambda: a.state(OMAR) == b.state(ANNA) == "active")

        def typed() -> bool:
            omar.says({"type": "typing", "channel": ROOM})
            b.world.passes(1.0)
            return a.shows_typing(anna)

        await until(typed, what="typing goes from node to node")
        omar.says({"type": "away", "away": True})
        await until(lambda: a.state(OMAR) == "away")
        b.world.node.disconnected(omar.session)
        await until(lambda: a.state(OMAR) == "offline")


async def test_who_leaves_has_told_so_when_it_says_that_it_has(kafka: Kafka, generation: Generation) -> None:
    async with member(kafka.bootstrap, generation, "a") as a:
        users = [new_entity_id("usr") for _ in range(50)]
        for user in users:
            a.world.user(user)
        clients = [a.world.connected(user) for user in users]
        await a.gossip.last_words()
        keys = {sessions_key(user, "a") for user in users}
        assert {key for key, value in (await compacted(kafka, generation)).items() if value} >= keys
        for client in clients:
            client.session.end("drained")
        await a.gossip.last_words()
        there = await compacted(kafka, generation)
        assert {there[key] for key in keys} == {None}


async def compacted(kafka: Kafka, generation: Generation) -> dict[str, bytes | None]:
    """The newest value of every key of the topic."""
    return {
        record.key.decode(): record.value
        async for records in read_committed(kafka.bootstrap, generation.sessions_topic, 1)
        for record in records
    }


async def test_a_topic_that_was_made_anew_is_told_again_of_who_is_there(
    kafka: Kafka, generation: Generation
) -> None:
    async with (
        member(kafka.bootstrap, generation, "a") as a,
        member(kafka.bootstrap, generation, "b") as b,
    ):
        omar = a.world.connected(OMAR, "ses_1")
        await until(b.knows(omar=omar))
        await remake(kafka, generation)
        async with member(kafka.bootstrap, generation, "c") as c:
            await until(c.knows(omar=omar), 60, what="a node that knows nothing but the new topic")
            later = b.world.connected(OMAR, "ses_2")
            for each in (a, b, c):
                await until(each.knows(omar=omar, later=later), 60)


async def remake(kafka: Kafka, generation: Generation) -> None:
    topics = moment_topics(generation, 1)
    async with admin_client(kafka.bootstrap) as admin:
        await admin.delete_topics([topic.name for topic in topics])

        async def made() -> bool:
            # A deletion takes effect a little later; until then the topic "exists already".
            if {topic.name for topic in topics} & set(await admin.list_topics()):
                return False
            await create_topics(admin, topics)
            return True

        await until(made, 30)


async def test_after_the_log_was_away_everybody_knows_what_happened_meanwhile(
    new_kafka: Factory[Kafka],
) -> None:
    broker = await new_kafka()
    generation = await make_topics(broker.bootstrap)
    async with (
        member(broker.bootstrap, generation, "a") as a,
        member(broker.bootstrap, generation, "b") as b,
    ):
        first = a.world.connected(OMAR, "ses_1")
        await until(b.knows(first=first))
        await broker.process.crash()
        a.world.node.disconnected(first.session)
        second = b.world.connected(OMAR, "ses_2")
        second.says({"type": "away", "away": True})
        failed = asyncio.create_task(a.gossip.last_words())
        await broker.process.start(60)
        await until(lambda: a.knows(second=second)() and b.knows(second=second)(), 120)
        await until(lambda: a.state(OMAR) == b.state(OMAR) == "away", 120)
        await failed
