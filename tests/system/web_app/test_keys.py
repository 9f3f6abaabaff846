"""Signing keys: rotation without a restart, and a retired key is worthless everywhere within seconds."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import jwt
import pytest

from deploy.local import secrets
from services.contract.ids import new_event_id
from services.runtime.settings import SettingsError
from tests.stack.process import Process
from tests.stack.servers import Database, Postgres
from tests.stack.waiting import until
from tests.system.web_app.conftest import NewWeb, prepare, settings_for
from tests.system.web_app.people import Person, ok, refused, sign_up
from tests.system.web_app.records import outbox
from web_app.auth.keys import SETTLING_S, TAKEOVER_S, load_private_keys


@pytest.fixture
def own_secrets(folder: Path, secrets_dir: Path) -> Path:
    """A secrets folder of the test's own, for the shared server."""
    own = folder / "secrets"
    secrets.make(own, "first")
    (own / "database_password").write_text((secrets_dir / "database_password").read_text())
    return own


@pytest.fixture
async def own_database(postgres: Postgres, own_secrets: Path) -> AsyncIterator[Database]:
    """Keys are told of in the outbox of a whole database, so these tests have one of their own."""
    database = await postgres.new_database()
    await prepare(database, own_secrets)
    yield database
    await postgres.drop_database(database)


@pytest.fixture
async def own_sql(own_database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await own_database.connect()
    yield connection
    await connection.close()


async def command(database: Database, secrets_dir: Path, folder: Path, *arguments: str) -> tuple[int, str]:
    """`python -m web_app ...`: (exit code, output)."""
    process = Process(
        "web_app",
        [sys.executable, "-m", "web_app", *arguments],
        folder / f"{new_event_id()}.log",
        environment={
            "LOCKSTEP_DATABASE_PORT": str(database.port),
            "LOCKSTEP_DATABASE_NAME": database.name,
            "LOCKSTEP_SECRETS_DIR": str(secrets_dir),
        },
    )
    process.spawn()
    return await process.wait(), process.tail()


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


async def test_the_first_key_is_registered_and_told_of(
    new_web: NewWeb, own_database: Database, own_secrets: Path, own_sql: asyncpg.Connection
) -> None:
    web = await new_web(own_database, own_secrets)
    assert await outbox(own_sql) == ["key:first"]
    owner = await sign_up(web.http)
    assert kid_of(owner.tokens["access_token"]) == "first"
    again = await new_web(own_database, own_secrets)
    assert (await outbox(own_sql)).count("key:first") == 1
    assert kid_of((await sign_up(again.http)).tokens["access_token"]) == "first"


async def test_rotation(
    new_web: NewWeb, own_database: Database, own_secrets: Path, own_sql: asyncpg.Connection, folder: Path
) -> None:
    web = await new_web(own_database, own_secrets)
    owner = await sign_up(web.http)
    old = owner.tokens
    status, said = await command(own_database, own_secrets, folder, "keys", "add", "second")
    assert status == 0, said
    assert (own_secrets / "signing_keys" / "second.pem").stat().st_mode & 0o777 == 0o600

    async def registered() -> bool:
        return "key:second" in await outbox(own_sql)

    await until(registered, what="the running web app finds the new key")
    # The relay is down: however old the row is, nobody else has heard of the key.
    await own_sql.execute("update signing_keys set created_at = created_at - interval '1 hour'")
    await web.parts.keys.refresh(web.parts.database)
    assert await signed_by(owner) == "first", "a key must be known everywhere before it signs"
    await relay_keys(own_sql)
    await web.parts.keys.refresh(web.parts.database)
    assert await own_sql.fetchval("select published_at is not null from signing_keys where kid = 'second'")
    assert await signed_by(owner) == "first", "readers are given a moment to hear of it"
    status, said = await command(own_database, own_secrets, folder, "keys", "retire", "first")
    assert status == 1
    assert "no other key has been published and in use for 15 s" in said
    fresh = await _refreshed(owner)
    assert kid_of(fresh["access_token"]) == "first"
    await pass_since_publication(own_sql, SETTLING_S)

    async def signed_by_second() -> bool:
        return await signed_by(owner) == "second"

    await until(signed_by_second)
    version = await own_sql.fetchval("select version from signing_keys where kid = 'second'")
    assert ok(await owner.post("/v1/realtime"))["directory_at"] == f"key:second@{version}"
    again = await new_web(own_database, own_secrets)
    assert again.parts.keys.signs_with.kid == "second", "a web app that starts now agrees"

    await pass_since_publication(own_sql, TAKEOVER_S)
    status, said = await command(own_database, own_secrets, folder, "keys", "retire", "first")
    assert status == 0, said
    assert (await outbox(own_sql)).count("key:first") == 1
    owner.tokens = old

    async def worthless() -> bool:
        return (await owner.get("/v1/me")).status_code == 401

    await until(worthless, 20.0, what="tokens of the retired key are refused")
    refused(await owner.get("/v1/me"), "unauthenticated")
    owner.tokens = fresh
    owner.tokens = await _refreshed(owner)
    assert kid_of(owner.tokens["access_token"]) == "second"
    ok(await owner.get("/v1/me"))

    status, said = await command(own_database, own_secrets, folder, "keys", "list")
    assert status == 0
    states = {line.split()[0]: line for line in said.splitlines() if line.startswith(("first", "second"))}
    assert "retired" in states["first"]
    assert "active" in states["second"]


async def test_a_stolen_key_is_retired_at_once(
    new_web: NewWeb, own_database: Database, own_secrets: Path, own_sql: asyncpg.Connection, folder: Path
) -> None:
    """Also while the relay is down: then the new key signs, because nothing else may, and is published first."""
    web = await new_web(own_database, own_secrets)
    assert (await command(own_database, own_secrets, folder, "keys", "add", "second"))[0] == 0
    await web.parts.keys.refresh(web.parts.database)
    status, _ = await command(own_database, own_secrets, folder, "keys", "retire", "first")
    assert status == 1
    status, said = await command(own_database, own_secrets, folder, "keys", "retire", "first", "--at-once")
    assert status == 0, said
    assert await outbox(own_sql) == ["key:first", "key:second", "key:first"]
    await web.parts.keys.refresh(web.parts.database)
    assert web.parts.keys.signs_with.kid == "second"


async def test_a_retired_key_is_not_registered_again(
    new_web: NewWeb, own_database: Database, own_secrets: Path, own_sql: asyncpg.Connection
) -> None:
    await new_web(own_database, own_secrets)
    await own_sql.execute("update signing_keys set active = false")
    web = await new_web(own_database, own_secrets)
    assert not await own_sql.fetchval("select active from signing_keys where kid = 'first'")
    ready = await web.http.get("/health/ready")
    assert (ready.status_code, ready.json()["reason"]) == (
        503,
        "no active signing key whose private half is here",
    )


async def test_another_private_key_under_a_known_name_does_not_sign(
    new_web: NewWeb, own_database: Database, own_secrets: Path
) -> None:
    await new_web(own_database, own_secrets)
    (own_secrets / "signing_keys" / "first.pem").unlink()
    secrets.make(own_secrets, "first")
    web = await new_web(own_database, own_secrets)
    assert (await web.http.get("/health/ready")).status_code == 503


async def test_a_broken_file_does_not_take_the_running_keys_away(
    new_web: NewWeb, own_database: Database, own_secrets: Path
) -> None:
    web = await new_web(own_database, own_secrets)
    (own_secrets / "signing_keys" / "broken.pem").write_text("nothing")
    with pytest.raises(SettingsError, match=r"broken\.pem: not an unencrypted private key"):
        load_private_keys(settings_for(own_database, own_secrets).signing_keys)
    with pytest.raises(SettingsError):
        await web.parts.keys.refresh(web.parts.database)
    ok(await (await sign_up(web.http)).get("/v1/me"))


async def test_commands_that_cannot_be_done_say_why(
    own_database: Database, own_secrets: Path, folder: Path
) -> None:
    status, said = await command(own_database, own_secrets, folder, "keys", "retire", "nobody")
    assert (status, said.strip()) == (1, "web_app keys: there is no active key 'nobody'")
    status, said = await command(own_database, own_secrets, folder, "keys", "add", "first")
    assert status == 78
    assert "is there already" in said
    status, said = await command(own_database, own_secrets, folder, "keys", "add", "../x")
    assert status == 78
    assert not (own_secrets / "x.pem").exists()


async def signed_by(person: Person) -> str:
    return kid_of(ok(await person.post("/v1/realtime"))["token"])


async def relay_keys(sql: asyncpg.Connection) -> None:
    """As the relay, once the directory holds them."""
    await sql.execute("delete from outbox where topic = 'directory' and key like 'key:%'")


async def pass_since_publication(sql: asyncpg.Connection, seconds: float) -> None:
    await sql.execute(
        "update signing_keys set published_at = published_at - make_interval(secs => $1)", seconds
    )


async def _refreshed(person: Person) -> dict[str, str]:
    body = {"refresh_token": person.tokens["refresh_token"]}
    return ok(await person.http.post("/v1/auth/refresh", json=body))
