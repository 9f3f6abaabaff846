"""Promise: markers and counts are what a naive recount of everything says, whatever people do and in whatever order
partitions are stored; and counting reads indexes only."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.envelope import encode_envelope, partition_of
from services.contract.events import (
    Event,
    MembersAdded,
    MembersRemoved,
    MessageDeleted,
    MessageEdited,
    MessagePosted,
    encode_event,
)
from services.contract.generation import Generation
from services.contract.ids import new_entity_id, new_event_id
from services.contract.notices import (
    Notice,
    ReadMoved,
    ThreadFollowed,
    ThreadRead,
    encode_notice,
    notices_channel,
)
from services.database.engine import create_engine
from services.runtime.settings import DatabaseSettings
from tests.stack.lockstep import Stack
from tests.stack.rawlog import wall_ms
from tests.stack.waiting import until
from web_app.sync import repository


@dataclass
class Said:
    """A message, as plainly as can be."""

    seq: int
    sender: str
    thread: int | None
    also: bool
    names: set[str]
    everybody: bool
    there: bool = True

    @property
    def top(self) -> bool:
        return self.thread is None or self.also


@dataclass
class Naive:
    """One channel and its people, recounted from the whole list each time."""

    head: int = 0
    messages: dict[int, Said] = field(default_factory=dict)
    markers: dict[str, int] = field(default_factory=dict)
    following: dict[tuple[str, int], bool] = field(default_factory=dict)
    said: dict[tuple[str, int], bool] = field(default_factory=dict)
    thread_markers: dict[tuple[str, int], int] = field(default_factory=dict)
    last_reply: dict[int, int] = field(default_factory=dict)

    def unread(self, user: str) -> int:
        after = self.markers.get(user, 0)
        return sum(m.top and m.there and m.sender != user and m.seq > after for m in self.messages.values())

    def mentions(self, user: str) -> int:
        after = self.markers.get(user, 0)
        return sum(
            m.there and m.sender != user and m.seq > after and (user in m.names or m.everybody)
            for m in self.messages.values()
        )

    def follows(self, user: str, root: int) -> bool:
        return self.said.get((user, root), self.following.get((user, root), False))

    def threads(self, user: str) -> int:
        return sum(self.follows(user, root) and self.unread_in(user, root) > 0 for root in self.last_reply)

    def unread_in(self, user: str, root: int) -> int:
        after = self.thread_markers.get((user, root), 0)
        return sum(
            m.thread == root and m.there and m.sender != user and m.seq > after
            for m in self.messages.values()
        )

    def post(self, sender: str, event: MessagePosted, names: set[str]) -> None:
        root = event.thread
        said = Said(self.head, sender, root, event.also_to_channel, names, "<!channel>" in event.text)
        self.messages[self.head] = said
        if said.top:
            self.markers[sender] = self.head
        first = self.messages.get(root) if root is not None else None
        if root is None or first is None or first.thread is not None:
            return
        self.last_reply[root] = self.head
        self.following[first.sender, root] = True
        self.thread_markers[first.sender, root] = max(self.thread_markers.get((first.sender, root), root), 0)
        self.following[sender, root] = True
        self.thread_markers[sender, root] = self.head
        for user in names - {sender}:
            self.following[user, root] = True


@pytest.mark.parametrize("seed", [1, 2])
async def test_counts_are_what_a_naive_recount_says(
    log_stack: Stack,
    generation: Generation,
    producer: AIOKafkaProducer,
    sql: asyncpg.Connection,
    seed: int,
) -> None:
    chance = random.Random(seed)
    workspace, channel = new_entity_id("ws"), new_entity_id("ch")
    people = [new_entity_id("usr") for _ in range(4)]
    await fill(sql, workspace, channel, people)
    stream = notices_channel(workspace)
    naive = Naive()
    members: set[str] = set()
    overruled: list[tuple[str, dict[str, object]]] = []
    told = 0

    async def append(to: str, sender: str, value: bytes) -> None:
        await producer.send_and_wait(
            generation.events_topic,
            value,
            headers=[encode_envelope(to, sender, new_event_id(), wall_ms())],
            partition=partition_of(to, generation.partitions),
        )

    async def event(sender: str, what: Event) -> None:
        naive.head += 1
        await append(channel, sender, encode_event(what))

    async def notice(sender: str, what: Notice) -> None:
        nonlocal told
        told += 1
        await append(stream, sender, encode_notice(what))

    for step in range(260):
        user = chance.choice(people)
        target = chance.randint(max(1, naive.head - 12), max(1, naive.head))
        old = naive.messages.get(target)
        match chance.choices(("join", "leave", "post", "reply", "edit", "delete", "read", "unread", "follow", "thread"),
                             (2, 1, 8, 6, 4, 3, 5, 3, 2, 3))[0]:  # fmt: skip
            case "join" if user not in members:
                members.add(user)
                await event(user, MembersAdded(user_ids=[user], version=step))
                naive.markers[user] = naive.head
            case "leave" if user in members:
                members.discard(user)
                await event(user, MembersRemoved(user_ids=[user], version=step))
            case ("post" | "reply") as kind if user in members:
                names = set(chance.sample(people, chance.randint(0, 2)))
                words = "".join(f"<@{name}> " for name in names) + (
                    "<!channel>" if chance.random() < 0.2 else "x"
                )
                root = target if kind == "reply" else None
                posted = MessagePosted(
                    text=words, thread=root, also_to_channel=root is not None and chance.random() < 0.3
                )
                await event(user, posted)
                naive.post(user, posted, names)
            case "edit" if old is not None and old.there:
                names = set(chance.sample(people, chance.randint(0, 2)))
                everybody = chance.random() < 0.3
                words = "".join(f"<@{name}> " for name in names) + ("<!channel>" if everybody else "x")
                await event(old.sender, MessageEdited(target=target, text=words))
                first = naive.messages.get(old.thread or 0)
                if first is not None and first.thread is None:
                    for name in names - old.names - {old.sender}:
                        naive.following[name, first.seq] = True
                old.names, old.everybody = names, everybody
            case "delete" if old is not None:
                by = chance.choice((old.sender, user))
                await event(by, MessageDeleted(target=target, thread=old.thread))
                if old.there and by != old.sender:
                    overruled.append((by, {"seq": target, "author": old.sender}))
                old.there = False
            case ("read" | "unread") as kind if user in members and naive.head:
                seq = target if kind == "read" else max(target - 8, 0)
                # A device that is behind may say so, too: it takes nothing back.
                forward = kind == "read"
                read = ReadMoved(channel=channel, seq=seq, head=naive.head, forward=forward, user_ids=[user])
                await notice(user, read)
                naive.markers[user] = max(naive.markers.get(user, 0), seq) if forward else seq
            case "thread" if old is not None and old.thread is None:
                forward, seq = chance.random() < 0.5, chance.randint(target, naive.head)
                read_thread = ThreadRead(
                    channel=channel, root=target, seq=seq, head=naive.head, forward=forward, user_ids=[user]
                )
                await notice(user, read_thread)
                before = naive.thread_markers.get((user, target), 0)
                naive.thread_markers[user, target] = max(before, seq) if forward else seq
            case "follow" if old is not None and old.thread is None:
                following = chance.random() < 0.5
                await notice(
                    user,
                    ThreadFollowed(channel=channel, root=target, following=following, user_ids=[user]),
                )
                naive.said[user, target] = following
        if step == 130:
            await log_stack.processes["persister"].crash()
            log_stack.processes["persister"].spawn()

    async def stored() -> bool:
        heads = dict(await sql.fetch("select channel_id, head from channel_heads"))
        return heads.get(channel) == naive.head and heads.get(stream) == told

    await until(stored, what="all is stored")
    async with reading(log_stack) as db:
        for user in people:
            (row,) = await repository.list_channels(db, user)
            assert row.head == naive.head
            assert row.marker == naive.markers.get(user, 0), user
            assert (row.unread, row.mentions) == (naive.unread(user), naive.mentions(user)), user
            assert await db.scalar(repository.THREADS, {"user_id": user}) == naive.threads(user), user
    entries = await sql.fetch(
        "select actor_id, details::text from audit_log where action = 'message.deleted' and target = $1",
        channel,
    )
    assert overruled
    noted = sorted(((row[0], json.loads(row[1])) for row in entries), key=lambda entry: int(entry[1]["seq"]))
    assert noted == sorted(overruled, key=lambda entry: int(str(entry[1]["seq"]))), (
        "once each, over a crash too"
    )


async def fill(sql: asyncpg.Connection, workspace: str, channel: str, people: list[str]) -> None:
    """What web_app writes."""
    await sql.execute("insert into workspaces (id, slug, name, version) values ($1, $1, 'x', 1)", workspace)
    for user in people:
        await sql.execute(
            "insert into users (id, workspace_id, email, name, password_hash, role, version)"
            " values ($1, $2, $1 || '@example.com', 'x', '!', 'member', 1)",
            user,
            workspace,
        )
    await sql.execute(
        "insert into channels (id, workspace_id, kind, name, created_by, version) values ($1, $2, 'public', $1, $3, 1)",
        channel,
        workspace,
        people[0],
    )
    for user in people:
        await sql.execute(
            "insert into memberships (channel_id, user_id, member, version) values ($1, $2, true, 1)",
            channel,
            user,
        )


@contextlib.asynccontextmanager
async def reading(stack: Stack) -> AsyncIterator[AsyncConnection]:
    settings = DatabaseSettings(
        database_host="127.0.0.1",
        database_port=stack.postgres.server.port,
        database_name=stack.database.name,
        secrets_dir=stack.secrets_dir,
    )
    engine = create_engine(settings, "test", pool_size=1)
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


async def test_counting_reads_indexes_only_and_ends_at_a_thousand(
    log_stack: Stack, sql: asyncpg.Connection
) -> None:
    workspace, channel = new_entity_id("ws"), new_entity_id("ch")
    me, other = new_entity_id("usr"), new_entity_id("usr")
    await fill(sql, workspace, channel, [me, other])
    await sql.execute(
        "insert into messages (channel_id, seq, event_id, sender_id, at_ms, text, mentions_channel)"
        " select $1, n, gen_random_uuid(), $2, n, repeat('long ', 50), n % 10 = 0 from generate_series(1, 30000) n",
        channel,
        other,
    )
    await sql.execute(
        "insert into message_mentions (user_id, channel_id, seq) select $1, $2, n * 3 from generate_series(1, 3000) n",
        me,
        channel,
    )

    async def plan_without_heap() -> str | None:
        # VACUUM passes over a page that somebody has pinned, or that an older snapshot cannot see yet: until it has not.
        await sql.execute("vacuum analyze messages, message_mentions, memberships, channels, read_markers")
        plan = "\n".join(
            line
            for (line,) in await db.execute(
                text("explain (analyze, costs off, timing off, buffers) " + repository.CHANNELS.text),
                {"user_id": me},
            )
        )
        fetches = [line for line in plan.splitlines() if "Heap Fetches" in line]
        return plan if fetches and all("Heap Fetches: 0" in line for line in fetches) else None

    async with reading(log_stack) as db:
        # Otherwise its own snapshot would be one that is older than what is cleaned up.
        await db.execution_options(isolation_level="AUTOCOMMIT")
        (row,) = await repository.list_channels(db, me)
        assert (row.unread, row.mentions) == (repository.COUNTED, repository.COUNTED)
        plan = await until(plan_without_heap, what="a plan that fetches nothing from the heap", every=0.5)
    assert plan is not None
    assert "Seq Scan on messages" not in plan, plan
    for index in ("ix_messages_channel_id_seq_top", "ix_messages_channel_id_seq_all", "pk_message_mentions"):
        assert f"Index Only Scan using {index}" in plan, plan
