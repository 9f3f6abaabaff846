"""Transactions as web_app makes them: entities, versions and outbox rows, under the channel's lock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from services.contract.events import Event, MembersAdded, MembersRemoved, encode_event
from services.contract.ids import new_entity_id, uuid7
from services.database.outbox import enqueue_directory, enqueue_event
from tests.stack.servers import Database


class WebLike:
    """Writes into one workspace with some people and channels."""

    def __init__(self, engine: AsyncEngine, seed: int) -> None:
        self.engine = engine
        self.workspace = new_entity_id("ws")
        self.people = [new_entity_id("usr") for _ in range(6)]
        self.channels = [new_entity_id("ch") for _ in range(5)]
        self.written: dict[str, set[bytes]] = {channel: set() for channel in self.channels}
        """Per channel the bodies of committed events. Each has a version of its own, drawn under the channel's lock."""
        self._random = random.Random(seed)

    async def set_up(self) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(
                text("insert into workspaces (id, slug, name, version) values (:id, :id, 'w', 1)"),
                {"id": self.workspace},
            )
            for person in self.people:
                await connection.execute(
                    text(
                        "insert into users (id, workspace_id, email, name, password_hash, role, version)"
                        " values (:id, :workspace, :id, 'n', '', 'member', nextval('row_version'))"
                    ),
                    {"id": person, "workspace": self.workspace},
                )
            await enqueue_directory(
                connection, [f"workspace:{self.workspace}", *(f"user:{person}" for person in self.people)]
            )
            for channel in self.channels:
                await connection.execute(
                    text(
                        "insert into channels (id, workspace_id, kind, name, created_by, version)"
                        " values (:id, :workspace, 'public', :id, :owner, nextval('row_version'))"
                    ),
                    {"id": channel, "workspace": self.workspace, "owner": self.people[0]},
                )
            await enqueue_directory(connection, [f"channel:{channel}" for channel in self.channels])

    async def act(self) -> None:
        """Somebody joins or leaves, in one transaction; sometimes it rolls back, sometimes it renames a person too."""
        channel = self._random.choice(self.channels)
        people = self._random.sample(self.people, self._random.randint(1, 3))
        joins = self._random.random() < 0.6
        rolls_back = self._random.random() < 0.1
        async with self.engine.connect() as connection:
            await connection.execute(
                text("select 1 from channels where id = :id for update"), {"id": channel}
            )
            version = int(await connection.scalar(text("select nextval('row_version')")) or 0)
            for person in people:
                await connection.execute(
                    text(
                        "insert into memberships (channel_id, user_id, member, version)"
                        " values (:channel, :person, :member, :version) on conflict (channel_id, user_id)"
                        " do update set member = excluded.member, version = excluded.version"
                    ),
                    {"channel": channel, "person": person, "member": joins, "version": version},
                )
            await enqueue_directory(connection, [f"member:{channel}:{person}" for person in people])
            event: Event = (MembersAdded if joins else MembersRemoved)(user_ids=people, version=version)
            body = encode_event(event)
            await enqueue_event(connection, uuid7(), channel, people[0], body)
            if rolls_back:
                await connection.rollback()
            else:
                await connection.commit()
                self.written[channel].add(body)

    @asynccontextmanager
    async def acting(self, at_once: int = 3) -> AsyncIterator[None]:
        """Several requests at a time for the length of a block."""
        stop = asyncio.Event()

        async def one() -> None:
            while not stop.is_set():
                await self.act()
                await asyncio.sleep(0.02)

        async with asyncio.TaskGroup() as requests:
            for _ in range(at_once):
                requests.create_task(one())
            try:
                yield
            finally:
                stop.set()


@asynccontextmanager
async def web_like(database: Database, seed: int) -> AsyncIterator[WebLike]:
    """Set up in this database, with a pool of its own."""
    engine = create_async_engine(
        database.dsn.replace("postgresql:", "postgresql+asyncpg:"), pool_pre_ping=True
    )
    try:
        web = WebLike(engine, seed)
        await web.set_up()
        yield web
    finally:
        await engine.dispose()
