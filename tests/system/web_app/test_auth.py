"""Sessions: who gets in, how tokens rotate, and that what has ended stays ended."""

from __future__ import annotations

import time

import asyncpg
import httpx
import jwt
import pytest

from services.contract.tokens import Claims
from tests.system.web_app.conftest import NewWeb, Web
from tests.system.web_app.people import PASSWORD, Person, join, log_in, ok, refused, sign_up, unique
from tests.system.web_app.records import events_of, outbox, outbox_end


async def test_signing_up_makes_everything_that_is_needed_and_tells_it_in_order(
    web: Web, sql: asyncpg.Connection
) -> None:
    before = await outbox_end(sql)
    slug = unique("team")
    body = {
        "workspace_slug": slug,
        "workspace_name": "  A Team ",
        "name": "Olga",
        "email": "Olga@Example.com",
        "password": PASSWORD,
    }
    made = ok(await web.http.post("/v1/workspaces", json=body), 201)
    assert made["user"]["role"] == "owner"
    assert made["workspace"]["name"] == "A Team"
    owner = Person(web.http, made["user"]["id"], made["user"]["email"], slug, made["tokens"])
    [general] = ok(await owner.get("/v1/channels"))["items"]
    assert (general["name"], general["kind"], general["member"]) == ("general", "public", True)
    member = f"member:{general['id']}:{owner.id}"
    workspace = f"workspace:{made['workspace']['id']}"
    assert await outbox(sql, before) == [
        workspace,
        f"user:{owner.id}",
        f"channel:{general['id']}",
        member,
        "event:channel.created",
        "event:members.added",
    ]
    version = await sql.fetchval("select version from memberships where channel_id = $1", general["id"])
    assert made["directory_at"] == f"{member}@{version}"
    assert await events_of(sql, general["id"]) == [
        (owner.id, {"type": "channel.created", "kind": "public", "name": "general"}),
        (owner.id, {"type": "members.added", "user_ids": [owner.id], "version": version}),
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("workspace_slug", "Team"),
        ("workspace_slug", "ab"),
        ("workspace_slug", "-abc"),
        ("workspace_slug", "a" * 41),
        ("workspace_slug", "abc\n"),
        ("email", "nobody"),
        ("email", "a@b\u0000.example"),
        ("password", "ninechars"),
        ("password", "x" * 201),
        ("name", "  "),
        ("name", "a\u0000b"),
        ("name", "a\nb"),
        ("unknown", 1),
    ],
)
async def test_sign_up_refuses_what_is_out_of_bounds_and_repeats_no_value(
    web: Web, field: str, value: object
) -> None:
    body = {
        "workspace_slug": unique("team"),
        "workspace_name": "T",
        "name": "N",
        "email": "a@example.com",
        "password": "a secret that must not come back",
    }
    answer = await web.http.post("/v1/workspaces", json=body | {field: value})
    problem = refused(answer, "invalid_request")
    assert [fault["field"] for fault in problem["errors"]] == [f"body.{field}"]
    assert "a secret" not in answer.text


async def test_lone_surrogates_are_refused(web: Web) -> None:
    content = b'{"workspace_slug":"abc","email":"a\\ud800@b","password":"0123456789"}'
    answer = await web.http.post(
        "/v1/auth/login", content=content, headers={"content-type": "application/json"}
    )
    refused(answer, "invalid_request")


async def test_a_slug_is_taken_once(owner: Person) -> None:
    body = {
        "workspace_slug": owner.workspace_slug,
        "workspace_name": "T",
        "name": "N",
        "email": "a@example.com",
        "password": PASSWORD,
    }
    refused(await owner.http.post("/v1/workspaces", json=body), "name_taken")


async def test_log_in(owner: Person) -> None:
    again = await log_in(owner, device="phone")
    me = ok(await again.get("/v1/me"))
    assert me["user"]["id"] == owner.id
    assert me["session_id"] == again.session_id != owner.session_id


@pytest.mark.parametrize(
    "wrong", [{"workspace_slug": "nowhere"}, {"email": "x@example.com"}, {"password": "wrong"}]
)
async def test_wrong_credentials_look_the_same(owner: Person, wrong: dict[str, str]) -> None:
    body = {"workspace_slug": owner.workspace_slug, "email": owner.email, "password": PASSWORD}
    answer = refused(await owner.http.post("/v1/auth/login", json=body | wrong), "invalid_credentials")
    assert answer["detail"] == "Workspace, e-mail or password is wrong."


async def test_the_e_mail_address_is_found_in_any_case(owner: Person) -> None:
    body = {"workspace_slug": owner.workspace_slug, "email": owner.email.upper(), "password": PASSWORD}
    ok(await owner.http.post("/v1/auth/login", json=body))


async def test_tokens_are_stored_only_as_hashes(owner: Person, sql: asyncpg.Connection) -> None:
    token = owner.tokens["refresh_token"]
    tables = await sql.fetch("select tablename from pg_tables where schemaname = 'public'")
    for (table,) in tables:
        found = await sql.fetchval(f'select count(*) from "{table}" t where t::text like $1', f"%{token}%")
        assert found == 0, table
    assert PASSWORD not in str(await sql.fetch("select * from users where id = $1", owner.id))


async def test_refreshing_rotates(owner: Person) -> None:
    fresh = ok(await _refresh(owner, owner.tokens["refresh_token"]))
    assert fresh["session_id"] == owner.session_id
    assert fresh["refresh_token"] != owner.tokens["refresh_token"]
    owner.tokens = fresh
    ok(await owner.get("/v1/me"))
    ok(await _refresh(owner, fresh["refresh_token"]))


async def test_a_refresh_whose_answer_was_lost_can_be_repeated(owner: Person) -> None:
    sent = owner.tokens["refresh_token"]
    lost = [ok(await _refresh(owner, sent)) for _ in range(2)]
    arrived = ok(await _refresh(owner, sent))
    owner.tokens = arrived
    ok(await owner.get("/v1/me"))
    owner.tokens = ok(await _refresh(owner, arrived["refresh_token"]))
    ok(await owner.get("/v1/me"))
    assert all(each["session_id"] == arrived["session_id"] for each in lost)


@pytest.mark.parametrize("outdated", ["the token itself", "an earlier successor", "a later successor"])
async def test_once_a_successor_was_used_every_older_refresh_token_ends_the_session(
    owner: Person, outdated: str
) -> None:
    sent = owner.tokens["refresh_token"]
    earlier, used, later = [ok(await _refresh(owner, sent))["refresh_token"] for _ in range(3)]
    newest = ok(await _refresh(owner, used))
    presented = {"the token itself": sent, "an earlier successor": earlier, "a later successor": later}
    refused(await _refresh(owner, presented[outdated]), "refresh_reused")
    refused(await _refresh(owner, newest["refresh_token"]), "refresh_invalid")
    owner.tokens = newest
    refused(await owner.get("/v1/me"), "unauthenticated")


async def test_the_grace_counts_from_the_first_use(owner: Person, sql: asyncpg.Connection) -> None:
    sent = owner.tokens["refresh_token"]
    ok(await _refresh(owner, sent))

    async def age(seconds: int) -> None:
        await sql.execute(
            "update refresh_tokens set used_at = used_at - make_interval(secs => $1)"
            " where session_id = $2 and used_at is not null",
            seconds, owner.session_id,
        )  # fmt: skip

    await age(40)
    ok(await _refresh(owner, sent))
    await age(40)
    refused(await _refresh(owner, sent), "refresh_reused")


async def test_a_refresh_token_used_twice_ends_its_session_and_no_other(
    new_web: NewWeb, sql: asyncpg.Connection
) -> None:
    owner = await sign_up((await new_web(web_refresh_grace_s=0)).http)
    other = await log_in(owner)
    before = await outbox_end(sql)
    stolen = owner.tokens["refresh_token"]
    fresh = ok(await _refresh(owner, stolen))
    refused(await _refresh(owner, stolen), "refresh_reused")
    assert await outbox(sql, before) == [f"revoked:{owner.session_id}"]
    refused(await _refresh(owner, fresh["refresh_token"]), "refresh_invalid")
    refused(await owner.get("/v1/me"), "unauthenticated")
    owner.tokens = fresh
    refused(await owner.get("/v1/me"), "unauthenticated")
    ok(await other.get("/v1/me"))


async def test_an_expired_or_unknown_refresh_token_is_refused(owner: Person, sql: asyncpg.Connection) -> None:
    await sql.execute("update refresh_tokens set expires_at = now() where session_id = $1", owner.session_id)
    refused(await _refresh(owner, owner.tokens["refresh_token"]), "refresh_invalid")
    refused(await _refresh(owner, "x" * 43), "refresh_invalid")


async def test_logging_out_ends_the_session_at_once(owner: Person, sql: asyncpg.Connection) -> None:
    before = await outbox_end(sql)
    assert (await owner.post("/v1/auth/logout")).status_code == 204
    assert await outbox(sql, before) == [f"revoked:{owner.session_id}"]
    refused(await owner.get("/v1/me"), "unauthenticated")
    refused(await _refresh(owner, owner.tokens["refresh_token"]), "refresh_invalid")


async def test_sessions_are_listed_in_pages_and_one_can_be_ended(owner: Person) -> None:
    phone, tablet = await log_in(owner, "phone"), await log_in(owner, "tablet")
    first = ok(await owner.get("/v1/sessions", limit=2))
    second = ok(await owner.get("/v1/sessions", limit=2, cursor=first["next_cursor"]))
    assert second["next_cursor"] is None
    listed = first["items"] + second["items"]
    assert [(each["id"], each["device"], each["current"]) for each in listed] == [
        (owner.session_id, "", True),
        (phone.session_id, "phone", False),
        (tablet.session_id, "tablet", False),
    ]
    assert (await owner.ask("DELETE", f"/v1/sessions/{phone.session_id}")).status_code == 204
    refused(await phone.get("/v1/me"), "unauthenticated")
    refused(await owner.ask("DELETE", f"/v1/sessions/{phone.session_id}"), "not_found")
    assert len(ok(await owner.get("/v1/sessions"))["items"]) == 2


async def test_nobody_ends_the_sessions_of_others(owner: Person) -> None:
    member = await join(owner)
    refused(await owner.ask("DELETE", f"/v1/sessions/{member.session_id}"), "not_found")
    ok(await member.get("/v1/me"))


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer x", "Bearer a.b.c", "Basic YTpi"])
async def test_without_an_access_token_nothing_is_told(web: Web, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    answer = await web.http.get("/v1/me", headers=headers)
    refused(answer, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_realtime_token_is_no_access_token(owner: Person) -> None:
    realtime = ok(await owner.post("/v1/realtime"))
    owner.tokens["access_token"] = realtime["token"]
    refused(await owner.get("/v1/me"), "unauthenticated")


async def test_access_tokens_expire(new_web: NewWeb) -> None:
    web = await new_web(web_access_token_s=5)
    owner = await sign_up(web.http)
    claims = jwt.decode(owner.tokens["access_token"], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == owner.tokens["expires_in"] == 5
    key = web.parts.keys
    late = key.sign("access", _claims(claims, int(time.time()) - 60), now=int(time.time()) - 65)
    owner.tokens["access_token"] = late
    refused(await owner.get("/v1/me"), "unauthenticated")


async def test_the_realtime_reply_leads_to_the_nodes(owner: Person, sql: asyncpg.Connection) -> None:
    realtime = ok(await owner.post("/v1/realtime"))
    claims = jwt.decode(realtime["token"], options={"verify_signature": False})
    assert (claims["aud"], claims["sub"], claims["sid"]) == ("realtime", owner.id, owner.session_id)
    assert claims["exp"] - claims["iat"] == realtime["expires_in"] == 24 * 3600
    assert realtime["nodes"] == ["ws://node-1.test/v1/websocket"]
    assert realtime["epoch"] == 1
    version = await sql.fetchval("select version from users where id = $1", owner.id)
    assert realtime["directory_at"] == f"user:{owner.id}@{version}"


async def test_too_many_attempts_are_slowed_down_per_account_and_address(new_web: NewWeb) -> None:
    web = await new_web(web_login_limit="3/minute")
    owner, other = await sign_up(web.http), await sign_up(web.http)
    for _ in range(3):
        refused(await _wrong(owner), "invalid_credentials")
    answer = await _wrong(owner)
    problem = refused(answer, "slow_down")
    assert 0 < problem["retry_after_ms"] <= 61_000
    assert int(answer.headers["retry-after"]) >= 1
    await log_in(other)


async def test_too_many_attempts_from_one_address_are_slowed_down(new_web: NewWeb) -> None:
    web = await new_web(web_address_limit="2/minute")
    await sign_up(web.http)
    await sign_up(web.http)
    body = {
        "workspace_slug": unique("team"),
        "workspace_name": "T",
        "name": "N",
        "email": "a@example.com",
        "password": PASSWORD,
    }
    refused(await web.http.post("/v1/workspaces", json=body), "slow_down")


async def test_a_password_hash_of_another_cost_is_renewed_at_log_in(
    owner: Person, new_web: NewWeb, sql: asyncpg.Connection
) -> None:
    before = await sql.fetchval("select password_hash from users where id = $1", owner.id)
    dearer = await new_web(web_password_time_cost=2)
    await log_in(Person(dearer.http, owner.id, owner.email, owner.workspace_slug, owner.tokens))
    after = await sql.fetchval("select password_hash from users where id = $1", owner.id)
    assert "t=1" in before
    assert "t=2" in after
    await log_in(owner)


async def test_changing_the_password_ends_the_other_sessions(owner: Person, sql: asyncpg.Connection) -> None:
    phone, tablet, member = await log_in(owner), await log_in(owner), await join(owner)
    before = await outbox_end(sql)
    body = {"current_password": PASSWORD, "new_password": "another long password"}
    assert (await owner.post("/v1/auth/password", body)).status_code == 204
    assert set(await outbox(sql, before)) == {f"revoked:{each.session_id}" for each in (phone, tablet)}
    ok(await owner.get("/v1/me"))
    ok(await _refresh(owner, owner.tokens["refresh_token"]))
    ok(await member.get("/v1/me"))
    for ended in (phone, tablet):
        refused(await ended.get("/v1/me"), "unauthenticated")
        refused(await _refresh(ended, ended.tokens["refresh_token"]), "refresh_invalid")
    login = {"workspace_slug": owner.workspace_slug, "email": owner.email, "password": PASSWORD}
    refused(await owner.http.post("/v1/auth/login", json=login), "invalid_credentials")
    ok(await owner.http.post("/v1/auth/login", json=login | {"password": "another long password"}))


async def test_the_password_is_changed_only_by_who_knows_it(owner: Person, sql: asyncpg.Connection) -> None:
    other = await log_in(owner)
    wrong = {"current_password": "not the password", "new_password": "another long password"}
    refused(await owner.post("/v1/auth/password", wrong), "invalid_credentials")
    short = {"current_password": PASSWORD, "new_password": "ninechars"}
    answer = await owner.post("/v1/auth/password", short)
    refused(answer, "invalid_request")
    assert "ninechars" not in answer.text
    ok(await other.get("/v1/me"))
    await log_in(owner)


async def test_too_many_attempts_to_change_a_password_are_slowed_down(new_web: NewWeb) -> None:
    web = await new_web(web_login_limit="2/minute")
    owner, other = await sign_up(web.http), await sign_up(web.http)
    wrong = {"current_password": "not the password", "new_password": "another long password"}
    for _ in range(2):
        refused(await owner.post("/v1/auth/password", wrong), "invalid_credentials")
    refused(await owner.post("/v1/auth/password", wrong | {"current_password": PASSWORD}), "slow_down")
    refused(await other.post("/v1/auth/password", wrong), "invalid_credentials")


def _claims(claims: dict[str, object], expires: int) -> Claims:
    return Claims(str(claims["sub"]), str(claims["ws"]), str(claims["sid"]), expires)


async def _refresh(person: Person, token: str) -> httpx.Response:
    return await person.http.post("/v1/auth/refresh", json={"refresh_token": token})


async def _wrong(person: Person) -> httpx.Response:
    body = {"workspace_slug": person.workspace_slug, "email": person.email, "password": "wrong"}
    return await person.http.post("/v1/auth/login", json=body)
