"""What the web app does by itself: tidying up; and when that ends by a defect, the process does not pretend to be well."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.exc import ProgrammingError

from services.contract.ids import new_event_id
from tests.stack.servers import Postgres
from tests.stack.waiting import until
from tests.system.web_app.conftest import NewWeb, Web, prepare
from tests.system.web_app.people import Person, log_in, ok, unique
from web_app.upkeep import remove_outdated


async def test_only_what_is_outdated_is_removed(web: Web, owner: Person, sql: asyncpg.Connection) -> None:
    old, young = new_event_id(), new_event_id()
    body = {"kind": "public", "name": unique("room")}
    first = ok(await owner.post("/v1/channels", body, key=old), 201)
    ok(await owner.post("/v1/channels", {"kind": "public", "name": unique("room")}, key=young), 201)
    other = await log_in(owner)
    await sql.execute(
        "update idempotency_keys set created_at = now() - interval '25 hours' where key = $1", old
    )
    await sql.execute(
        "update refresh_tokens set expires_at = now() - interval '25 hours' where session_id = $1",
        other.session_id,
    )
    async with web.parts.database.transaction() as db:
        removed = await remove_outdated(db)
    assert removed["idempotency_keys"] >= 1
    assert removed["refresh_tokens"] >= 1
    kept = await sql.fetch("select key from idempotency_keys where user_id = $1", owner.id)
    assert [str(row["key"]) for row in kept] == [young]
    sessions = await sql.fetch(
        "select s.id from refresh_tokens t join sessions s on s.id = t.session_id where s.user_id = $1",
        owner.id,
    )
    assert [row["id"] for row in sessions] == [owner.session_id]
    # A day later the key is unknown: the command is done anew, and finds the name taken by itself.
    again = await owner.post("/v1/channels", body, key=old)
    assert again.json()["code"] == "name_taken"
    assert first["channel"]["name"] == body["name"]


async def test_however_much_is_outdated_it_is_all_removed(
    web: Web, owner: Person, sql: asyncpg.Connection
) -> None:
    await sql.execute(
        "insert into idempotency_keys (user_id, key, request_digest, created_at)"
        " select $1, gen_random_uuid(), '', now() - interval '25 hours' from generate_series(1, 2500)",
        owner.id,
    )
    upkeep = web.app.state.upkeep
    assert [await upkeep.tidy() for _ in range(2)] == [True, True]
    assert await upkeep.tidy() is False
    assert await sql.fetchval("select count(*) from idempotency_keys where user_id = $1", owner.id) == 0


async def test_a_defect_of_the_upkeep_is_not_survived(
    new_web: NewWeb, postgres: Postgres, secrets_dir: Path
) -> None:
    database = await postgres.new_database()
    await prepare(database, secrets_dir)
    web = await new_web(database)
    connection = await database.connect()
    try:
        await connection.execute("alter table signing_keys rename to gone")
    finally:
        await connection.close()

    async def not_running() -> bool:
        return bool((await web.http.get("/health/ready")).json().get("reason") == "not running")

    await until(not_running)
    with pytest.raises(ProgrammingError):
        await web.app.state.upkeep.failed()
