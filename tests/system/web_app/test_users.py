"""People: inviting, deactivating, and that a workspace is never left without an owner."""

from __future__ import annotations

import asyncpg
import pytest

from tests.system.web_app.people import PASSWORD, Person, join, log_in, ok, refused, sign_up
from tests.system.web_app.records import outbox, outbox_end


async def test_an_invited_person_gets_an_account_in_the_workspace(
    owner: Person, sql: asyncpg.Connection
) -> None:
    body = {"email": "grace@example.com", "role": "admin"}
    invited = ok(await owner.post("/v1/invites", body), 201)
    assert invited["invite"]["role"] == "admin"
    before = await outbox_end(sql)
    accept = {"token": invited["token"], "name": "Grace", "password": PASSWORD}
    made = ok(await owner.http.post("/v1/invites/accept", json=accept), 201)
    assert made["workspace"]["slug"] == owner.workspace_slug
    assert (made["user"]["email"], made["user"]["role"]) == ("grace@example.com", "admin")
    assert await outbox(sql, before) == [f"user:{made['user']['id']}"]
    version = await sql.fetchval("select version from users where id = $1", made["user"]["id"])
    assert made["directory_at"] == f"user:{made['user']['id']}@{version}"


async def test_an_invitation_is_good_once_and_not_for_ever(owner: Person, sql: asyncpg.Connection) -> None:
    invited = ok(await owner.post("/v1/invites", {"email": "a@example.com"}), 201)
    accept = {"token": invited["token"], "name": "A", "password": PASSWORD}
    ok(await owner.http.post("/v1/invites/accept", json=accept), 201)
    refused(await owner.http.post("/v1/invites/accept", json=accept), "not_found")
    late = ok(await owner.post("/v1/invites", {"email": "b@example.com"}), 201)
    await sql.execute("update invites set expires_at = now() where id = $1", late["invite"]["id"])
    refused(await owner.http.post("/v1/invites/accept", json=accept | {"token": late["token"]}), "not_found")
    refused(await owner.http.post("/v1/invites/accept", json=accept | {"token": "x" * 43}), "not_found")


async def test_an_address_is_in_a_workspace_once_and_free_in_others(owner: Person) -> None:
    refused(await owner.post("/v1/invites", {"email": owner.email.upper()}), "name_taken")
    two = [ok(await owner.post("/v1/invites", {"email": "c@example.com"}), 201) for _ in range(2)]
    accept = {"name": "C", "password": PASSWORD}
    ok(await owner.http.post("/v1/invites/accept", json=accept | {"token": two[0]["token"]}), 201)
    refused(
        await owner.http.post("/v1/invites/accept", json=accept | {"token": two[1]["token"]}), "name_taken"
    )
    elsewhere = await sign_up(owner.http)
    ok(await elsewhere.post("/v1/invites", {"email": "c@example.com"}), 201)


@pytest.mark.parametrize(
    ("role", "given", "allowed"),
    [
        ("admin", "owner", False),
        ("admin", "admin", True),
        ("admin", "guest", True),
        ("member", "guest", False),
        ("guest", "guest", False),
    ],
)
async def test_who_may_invite_whom(owner: Person, role: str, given: str, allowed: bool) -> None:
    person = await join(owner, role)
    answer = await person.post("/v1/invites", {"email": "d@example.com", "role": given})
    if allowed:
        ok(answer, 201)
    else:
        refused(answer, "forbidden")


async def test_people_are_listed_in_pages(owner: Person) -> None:
    others = [await join(owner) for _ in range(4)]
    seen: list[str] = []
    cursor = None
    for _ in range(3):
        page = ok(await owner.get("/v1/users", limit=2, cursor=cursor))
        seen += [each["id"] for each in page["items"]]
        cursor = page["next_cursor"]
    assert cursor is None
    assert seen == [owner.id, *(each.id for each in others)]


@pytest.mark.parametrize(
    "cursor", ["", "!", "bm90aGluZw", "Y2hfMDE5M2ExYjJjM2Q0N2U1ZjhhOWIwYzFkMmUzZjRhNWI", "é"]
)
async def test_a_cursor_that_no_page_gave_is_refused(owner: Person, cursor: str) -> None:
    refused(await owner.get("/v1/users", cursor=cursor), "invalid_request")


@pytest.mark.parametrize(("name", "value"), [("limit", 0), ("limit", 201), ("limit", "x"), ("offset", 1)])
async def test_list_parameters_are_checked(owner: Person, name: str, value: object) -> None:
    refused(await owner.get("/v1/users", **{name: value}), "invalid_request")


async def test_deactivating_ends_every_session_at_once(owner: Person, sql: asyncpg.Connection) -> None:
    member = await join(owner)
    again = await log_in(member)
    before = await outbox_end(sql)
    changed = ok(await owner.post(f"/v1/users/{member.id}/deactivate"))
    assert changed["user"]["active"] is False
    told = await outbox(sql, before)
    assert told[0] == f"user:{member.id}"
    assert set(told[1:]) == {f"revoked:{member.session_id}", f"revoked:{again.session_id}"}
    assert changed["directory_at"].startswith(f"{told[-1]}@")
    for session in (member, again):
        refused(await session.get("/v1/me"), "unauthenticated")
        body = {"refresh_token": session.tokens["refresh_token"]}
        refused(await session.http.post("/v1/auth/refresh", json=body), "refresh_invalid")
    body = {"workspace_slug": member.workspace_slug, "email": member.email, "password": PASSWORD}
    refused(await owner.http.post("/v1/auth/login", json=body), "invalid_credentials")

    before = await outbox_end(sql)
    assert ok(await owner.post(f"/v1/users/{member.id}/reactivate"))["user"]["active"] is True
    assert await outbox(sql, before) == [f"user:{member.id}"]
    refused(await member.get("/v1/me"), "unauthenticated")
    ok(await (await log_in(member)).get("/v1/me"))


async def test_deactivating_twice_changes_nothing(owner: Person, sql: asyncpg.Connection) -> None:
    member = await join(owner)
    ok(await owner.post(f"/v1/users/{member.id}/deactivate"))
    before = await outbox_end(sql)
    ok(await owner.post(f"/v1/users/{member.id}/deactivate"))
    assert await outbox(sql, before) == []


async def test_the_last_owner_stays(owner: Person) -> None:
    refused(await owner.post(f"/v1/users/{owner.id}/deactivate"), "conflict")
    second = await join(owner, "owner")
    ok(await second.post(f"/v1/users/{owner.id}/deactivate"))
    refused(await second.post(f"/v1/users/{second.id}/deactivate"), "conflict")


async def test_admins_do_not_deactivate_owners(owner: Person) -> None:
    admin = await join(owner, "admin")
    await join(owner, "owner")
    refused(await admin.post(f"/v1/users/{owner.id}/deactivate"), "forbidden")
    member = await join(owner)
    ok(await admin.post(f"/v1/users/{member.id}/deactivate"))
