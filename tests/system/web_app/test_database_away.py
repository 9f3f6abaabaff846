"""PostgreSQL gone, silent, or just restarted: told quickly and truly, and over as soon as it is back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import psutil
import pytest

from tests.stack.servers import Database, Postgres
from tests.stack.waiting import until
from tests.system.web_app.conftest import NewWeb, Web, prepare
from tests.system.web_app.people import PASSWORD, Person, ok, refused, sign_up, unique
from web_app.database import SILENT_AFTER_PROBES

NewPostgres = Callable[[], Awaitable[Postgres]]


@pytest.fixture
async def own_postgres(new_postgres: NewPostgres) -> Postgres:
    return await new_postgres()


@pytest.fixture
async def own_database(own_postgres: Postgres, secrets_dir: Path) -> Database:
    database = await own_postgres.new_database()
    await prepare(database, secrets_dir)
    return database


async def ready(web: Web) -> bool:
    return (await web.http.get("/health/ready")).status_code == 200


async def works(person: Person) -> bool:
    return (await person.get("/v1/me")).is_success


async def test_stopped_and_started(new_web: NewWeb, own_database: Database, own_postgres: Postgres) -> None:
    web = await new_web(own_database)
    owner = await sign_up(web.http)
    await own_postgres.process.stop()
    started = time.monotonic()
    for _ in range(10):
        problem = refused(await owner.get("/v1/me"), "database_unavailable")
        assert problem["retry_after_ms"] > 0
    body = {"workspace_slug": owner.workspace_slug, "email": owner.email, "password": PASSWORD}
    refused(await owner.http.post("/v1/auth/login", json=body), "database_unavailable")
    refused(await owner.post("/v1/channels", {"kind": "public", "name": "x"}), "database_unavailable")
    assert time.monotonic() - started < 20

    async def not_ready() -> bool:
        return not await ready(web)

    await until(not_ready)
    assert (await web.http.get("/health/live")).status_code == 200
    await own_postgres.process.start()
    await until(lambda: ready(web))
    assert await works(owner)


async def test_a_restart_between_two_requests_is_not_noticed(
    new_web: NewWeb, own_database: Database, own_postgres: Postgres
) -> None:
    web = await new_web(own_database)
    owner = await sign_up(web.http)
    await own_postgres.process.restart()
    ok(await owner.get("/v1/me"))
    ok(await owner.post("/v1/channels", {"kind": "public", "name": "x"}), 201)


async def test_silent(new_web: NewWeb, own_database: Database, own_postgres: Postgres) -> None:
    """Frozen: connections stay open and nothing is answered. The first wait for their deadline, the others do not."""
    web = await new_web(own_database)
    owner = await sign_up(web.http)
    # Each backend is a process group of its own.
    postmaster = psutil.Process(own_postgres.process.pid)
    frozen = [postmaster, *postmaster.children(recursive=True)]
    for process in frozen:
        process.suspend()
    try:
        started = time.monotonic()
        refused(await owner.get("/v1/me"), "database_unavailable")
        assert time.monotonic() - started < 30

        async def refused_at_once() -> bool:
            before = time.monotonic()
            refused(await owner.get("/v1/me"), "database_unavailable")
            return time.monotonic() - before < 0.5

        await until(refused_at_once)
    finally:
        for process in frozen:
            process.resume()
    await until(lambda: works(owner))


async def test_an_event_loop_that_stood_still_is_not_a_silent_database(web: Web, owner: Person) -> None:
    time.sleep(6)  # noqa: ASYNC251 - the process gets no time to ask, and none to hear
    ok(await owner.get("/v1/me"))
    ok(await owner.post("/v1/channels", {"kind": "public", "name": unique("room")}), 201)
    assert await ready(web)


async def test_a_pool_that_is_used_up_is_not_a_silent_database(
    new_web: NewWeb, sql: asyncpg.Connection
) -> None:
    web = await new_web(web_database_pool=1)
    owner = await sign_up(web.http)
    channel = await owner.new_channel()
    async with sql.transaction():
        await sql.execute("select 1 from channels where id = $1 for update", channel)
        waiting = asyncio.create_task(owner.ask("PATCH", f"/v1/channels/{channel}", {"topic": "x"}))
        await until(lambda: web.parts.database.engine.pool.checkedout() == 1)  # type: ignore[attr-defined]
        for _ in range(SILENT_AFTER_PROBES):
            await web.parts.database.probe()
        assert not web.parts.database.silent
    ok(await waiting)


async def test_started_before_the_database(
    new_web: NewWeb, own_database: Database, own_postgres: Postgres
) -> None:
    await own_postgres.process.stop()
    web = await new_web(own_database)
    assert not await ready(web)
    body = {"workspace_slug": "abc", "email": "a@example.com", "password": PASSWORD}
    refused(await web.http.post("/v1/auth/login", json=body), "database_unavailable")
    await own_postgres.process.start()
    await until(lambda: ready(web))
    ok(await (await sign_up(web.http)).get("/v1/me"))
