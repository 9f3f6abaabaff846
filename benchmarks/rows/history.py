"""Long histories: what a page, and a sync, cost PostgreSQL by the length of the channel; that they go by index only."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from benchmarks.core.bench import Bench
from benchmarks.core.figures import Figure
from benchmarks.core.results import Curve, Result, Row, Target
from benchmarks.core.whole import whole
from client import MemoryTokens, RestClient
from services.contract.ids import new_entity_id
from tests.stack.crowd import PASSWORD
from web_app.messages import repository as messages
from web_app.messages.repository import Span
from web_app.sync import repository as sync

TITLE = "Long histories"

LENGTHS = (10_000, 100_000, 1_000_000, 10_000_000)
PAGE = 50

_MESSAGES: Final = """
insert into messages (channel_id, seq, event_id, sender_id, at_ms, text)
select $1, n, gen_random_uuid(), $2, 1700000000000 + n, 'message ' || n from generate_series($3::bigint, $4::bigint) n
"""

_HEAD: Final = """
insert into channel_heads (channel_id, partition, head) values ($1, 0, $2)
on conflict (channel_id) do update set head = excluded.head
"""

Question = Callable[[AsyncConnection], Awaitable[object]]


@dataclass
class Asked:
    """What one question came to, at each length."""

    milliseconds: list[Figure] = field(default_factory=list)
    blocks: list[float] = field(default_factory=list)
    plan: str = ""
    scans: int = 0


async def run(bench: Bench) -> Result:
    """Rows are put straight into the table; the questions are the web app's own, with their own statements."""
    lengths = bench.of(LENGTHS, (1_000, 5_000))
    async with whole(bench, "web_app", "node-1", "relay") as stack:
        async with RestClient(stack.web_url, MemoryTokens()) as rest:
            login = await rest.sign_up(
                workspace_slug="bench", workspace_name="b", name="o", email="o@example.com", password=PASSWORD
            )
            channel = (await rest.create_channel("long")).channel.id
        sender = new_entity_id("usr")  # somebody else: what oneself posts is never unread
        connection = await stack.database.connect()
        engine = create_async_engine(stack.database.dsn.replace("postgresql:", "postgresql+asyncpg:"))
        asked: dict[str, Asked] = {}
        try:
            had = 0
            for length in lengths:
                await fill(connection, channel, sender, had, length)
                had = length
                for name, question in questions(channel, login.user.id, length).items():
                    await ask(engine, question, asked.setdefault(name, Asked()), bench)
        finally:
            await engine.dispose()
            await connection.close()
    rows = tuple(row_of(name, each, lengths[-1]) for name, each in asked.items())
    return Result(benchmark="history", title=TITLE, rows=rows, curves=tuple(curves(asked, lengths)))


async def fill(connection: asyncpg.Connection, channel: str, sender: str, had: int, length: int) -> None:
    await connection.execute(_MESSAGES, channel, sender, had + 1, length, timeout=900)
    await connection.execute(_HEAD, channel, length)
    await connection.execute("vacuum analyze messages", timeout=900)


def questions(channel: str, user: str, length: int) -> dict[str, Question]:
    newest, middle = Span((1 << 53) - 1, PAGE, 0), Span(length // 2, PAGE // 2, PAGE // 2)
    return {
        f"the newest {PAGE} messages": lambda db: messages.read_messages(db, channel, newest),
        f"{PAGE} messages in the middle": lambda db: messages.read_messages(db, channel, middle),
        f"the newest {PAGE} that the channel shows": lambda db: messages.read_top_level(db, channel, newest),
        "sync, with what is unread": lambda db: sync.list_channels(db, user),
    }


async def ask(engine: AsyncEngine, question: Question, asked: Asked, bench: Bench) -> None:
    seen: list[tuple[str, Sequence[Any]]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Sequence[Any], *rest: Any) -> None:
        seen.append((statement, parameters))

    async with engine.connect() as db:
        event.listen(engine.sync_engine, "before_cursor_execute", note)
        try:
            await question(db)
        finally:
            event.remove(engine.sync_engine, "before_cursor_execute", note)
        times: list[float] = []
        for _ in range(bench.rounds * 5):
            began = time.perf_counter()
            await question(db)
            times.append((time.perf_counter() - began) * 1000)
        ((statement, parameters),) = seen
        explained = await db.exec_driver_sql(
            f"explain (analyze, buffers, format json) {statement}", tuple(parameters)
        )
        found = explained.scalar_one()
        plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    asked.milliseconds.append(Figure("ms", tuple(times)))
    asked.blocks.append(float(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]))
    nodes = list(walk(plan))
    long = [node for node in nodes if node.get("Relation Name") == "messages"]
    asked.plan = "; ".join(f"{node['Node Type']} {node.get('Index Name', '')}".strip() for node in long)
    asked.scans = sum("Index" not in node["Node Type"] for node in long)


def walk(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from walk(child)


def row_of(name: str, asked: Asked, length: int) -> Row:
    return Row(
        what=f"{name}, in a channel of {length:,}",
        subject=Figure("pages of PostgreSQL", (asked.blocks[-1],)),
        also={
            "time": asked.milliseconds[-1],
            "scans of messages without an index": Figure("scans", (float(asked.scans),)),
        },
        targets=(Target("scans of messages without an index", "<=", 0, "by index only"),),
        note=f"EXPLAIN: {asked.plan}",
    )


def curves(asked: dict[str, Asked], lengths: Sequence[int]) -> Iterator[Curve]:
    points = tuple(float(length) for length in lengths)
    yield Curve(
        title="What is read of PostgreSQL, by the length of a channel's history",
        x="messages in the channel",
        y="pages of 8 KiB",
        points=points,
        lines={name: tuple(Figure("pages", (b,)) for b in each.blocks) for name, each in asked.items()},
    )
    yield Curve(
        title="Time of the statement, by the length of a channel's history",
        x="messages in the channel",
        y="ms",
        points=points,
        lines={name: tuple(each.milliseconds) for name, each in asked.items()},
    )
