"""What a request asks of PostgreSQL: few statements, none per row; and the commit comes before the reply."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event

from tests.stack.servers import Postgres
from tests.system.web_app.conftest import NewWeb, Web, prepare
from tests.system.web_app.people import Person, join, ok, refused, sign_up, unique
from tests.system.web_app.records import store_messages


@contextlib.contextmanager
def statements(web: Web) -> Iterator[list[str]]:
    """The statements sent while inside, without BEGIN and COMMIT."""
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement != "select 1":  # the probe of the upkeep
            seen.append(statement)

    engine = web.parts.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def about_requests(seen: list[str]) -> list[str]:
    """Without what the upkeep and the worker of scheduled messages ask for by themselves."""
    return [each for each in seen if "FROM signing_keys" not in each and "SKIP LOCKED" not in each]


@pytest.mark.parametrize("view", ["events", "messages"])
async def test_a_page_of_history_is_two_statements_however_long(
    web: Web, owner: Person, sql: asyncpg.Connection, view: str
) -> None:
    channel = await owner.new_channel()
    await store_messages(sql, channel, owner.id, 120)
    for limit in (1, 100):
        with statements(web) as seen:
            page = ok(await owner.get(f"/v1/channels/{channel}/{view}", after=0, limit=limit))
        assert len(page[view]) == limit
        assert len(about_requests(seen)) == 2, seen


async def test_the_start_of_a_client_is_two_statements_however_many_channels(
    web: Web, owner: Person, sql: asyncpg.Connection
) -> None:
    for channels in (1, 12):
        for _ in range(channels):
            await store_messages(sql, await owner.new_channel(), owner.id, 3)
        with statements(web) as seen:
            start = ok(await owner.get("/v1/me/sync"))
        assert len(start["channels"]) >= channels
        assert len(about_requests(seen)) == 2, seen


async def test_moving_a_marker_is_one_statement(web: Web, owner: Person, sql: asyncpg.Connection) -> None:
    channel = await owner.new_channel()
    await store_messages(sql, channel, owner.id, 3)
    with statements(web) as seen:
        moved = ok(await owner.ask("PUT", f"/v1/channels/{channel}/read", {"seq": 2}))
    assert (moved["seq"], len(about_requests(seen))) == (2, 1), seen


async def test_posting_a_message_is_one_statement(web: Web, owner: Person) -> None:
    channel = await owner.new_channel()
    with statements(web) as seen:
        ok(await owner.post(f"/v1/channels/{channel}/messages", {"text": "x"}), 201)
    assert len(about_requests(seen)) == 1, seen


async def test_lists_are_two_statements_however_long(web: Web, owner: Person) -> None:
    channel = await owner.new_channel()
    people = [await join(owner) for _ in range(4)]
    await owner.add(channel, *people)
    for number in range(3):
        body = {"handle": f"group-{number}", "name": "Group", "user_ids": [each.id for each in people]}
        ok(await owner.post("/v1/groups", body), 201)
    for path, at_most in (
        ("/v1/users", 2),
        ("/v1/invites", 2),
        ("/v1/groups", 2),
        ("/v1/audit", 2),
        ("/v1/channels", 2),
        ("/v1/channels/directory", 2),
        (f"/v1/channels/{channel}/members", 3),
    ):
        for limit in (1, 100):
            with statements(web) as seen:
                ok(await owner.get(path, limit=limit))
            assert len(about_requests(seen)) <= at_most, (path, seen)


async def test_what_a_guest_may_see_of_the_people_is_asked_in_one_statement(web: Web, owner: Person) -> None:
    channel = await owner.new_channel()
    guest, *others = [await join(owner, role) for role in ("guest", "member", "member")]
    await owner.add(channel, guest, *others)
    for limit in (1, 100):
        with statements(web) as seen:
            ok(await guest.get("/v1/users", limit=limit))
        assert len(about_requests(seen)) == 2, seen


async def test_adding_people_is_the_same_few_statements_for_one_and_for_many(web: Web, owner: Person) -> None:
    channel = await owner.new_channel()
    people = [await join(owner) for _ in range(6)]
    counts = []
    for group in (people[:1], people[1:]):
        with statements(web) as seen:
            await owner.add(channel, *group)
        counts.append(len(about_requests(seen)))
    assert counts[0] == counts[1] <= 10
    made = ok(await owner.post("/v1/groups", {"handle": "crowd", "name": "Crowd"}), 201)["group"]["id"]
    for group in (people[:1], people[1:]):
        with statements(web) as seen:
            ok(await owner.post(f"/v1/groups/{made}/members", {"user_ids": [each.id for each in group]}))
        counts.append(len(about_requests(seen)))
    assert counts[2] == counts[3] <= 11


async def test_history_is_read_by_index_only(web: Web, owner: Person, sql: asyncpg.Connection) -> None:
    channel = await owner.new_channel()
    await store_messages(sql, channel, owner.id, 60)
    with statements(web) as seen:
        ok(await owner.get(f"/v1/channels/{channel}/events", around=30))
        ok(await owner.get(f"/v1/channels/{channel}/messages", around=30))
    pages = [each for each in about_requests(seen) if "UNION ALL" in each]
    assert len(pages) == 2
    # With so few rows other plans are cheaper; it is to show that it needs none of them.
    async with sql.transaction():
        for other in ("seqscan", "bitmapscan", "sort"):
            await sql.execute(f"set local enable_{other} = off")
        for page in pages:
            plan = await sql.fetch(f"explain {page}", channel, 30, 10, 10)
            text = "\n".join(row[0] for row in plan)
            assert text.count("Index Scan") == 3, text  # both sides, and the head
            assert "Seq Scan" not in text
            assert "Sort" not in text, "the index gives the order"


async def test_what_was_answered_is_committed(owner: Person, sql: asyncpg.Connection) -> None:
    for _ in range(20):
        channel = await owner.new_channel()
        assert await sql.fetchval("select count(*) from channels where id = $1", channel) == 1


async def test_a_commit_that_fails_is_no_success(
    new_web: NewWeb, postgres: Postgres, secrets_dir: Path
) -> None:
    """A constraint that is judged only at the commit: the answer must have waited for it."""
    database = await postgres.new_database()
    await prepare(database, secrets_dir)
    web = await new_web(database)
    owner = await sign_up(web.http)
    connection = await database.connect()
    try:
        await connection.execute(
            "create function fail() returns trigger language plpgsql as"
            " $$ begin raise exception 'not at the commit'; end $$;"
            "create constraint trigger t after insert on channels deferrable initially deferred"
            " for each row execute function fail()"
        )
        name = unique("room")
        answer = await owner.post("/v1/channels", {"kind": "public", "name": name})
        refused(answer, "internal")
        assert await connection.fetchval("select count(*) from channels where name = $1", name) == 0
        assert await connection.fetchval("select count(*) from outbox where body like '%room%'::bytea") == 0
    finally:
        await connection.close()
