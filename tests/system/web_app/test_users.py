"""People: inviting, deactivating, and that a workspace is never left without an owner."""

from __future__ import annotations

import asyncpg
import pytest

from tests.system.web_app.people import PASSWORD, Person, join, log_in, ok, refused, sign_up
from tests.system.web_app.records import events_of, outbox, outbox_end


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
    user_id = made["user"]["id"]
    grace = Person(owner.http, user_id, made["user"]["email"], owner.workspace_slug, made["tokens"])
    [general] = ok(await grace.get("/v1/channels"))["items"]
    assert (general["name"], general["member"]) == ("general", True)
    member = f"member:{general['id']}:{user_id}"
    told = ["event:members.added", "event:invite.accepted"]
    assert await outbox(sql, before) == [f"user:{user_id}", member, *told]
    version = await sql.fetchval("select version from memberships where user_id = $1", user_id)
    assert (await events_of(sql, general["id"]))[-1] == (
        user_id,
        {"type": "members.added", "user_ids": [user_id], "version": version},
    )
    assert made["directory_at"] == f"{member}@{version}"


async def test_the_first_channel_stays_it_under_another_name_and_until_it_is_archived(owner: Person) -> None:
    [general] = ok(await owner.get("/v1/channels"))["items"]
    path = f"/v1/channels/{general['id']}"
    ok(await owner.ask("PATCH", path, {"name": "lobby"}))
    await owner.new_channel(name="general")
    person = await join(owner)
    assert [each["name"] for each in ok(await person.get("/v1/channels", member=True))["items"]] == ["lobby"]
    ok(await owner.post(f"{path}/archive"))
    person = await join(owner)
    assert ok(await person.get("/v1/channels", member=True))["items"] == []
    assert ok(await person.get(path))["member"] is False


async def test_a_guest_is_put_nowhere(owner: Person, sql: asyncpg.Connection) -> None:
    before = await outbox_end(sql)
    guest = await join(owner, "guest")
    assert await outbox(sql, before) == [f"user:{guest.id}", "event:invite.accepted"]
    assert ok(await guest.get("/v1/channels"))["items"] == []


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


@pytest.mark.parametrize(
    ("role", "before", "after", "code"),
    [
        ("owner", "member", "owner", None),
        ("owner", "owner", "guest", None),
        ("admin", "guest", "admin", None),
        ("admin", "admin", "member", None),
        ("admin", "member", "owner", "forbidden"),
        ("admin", "owner", "member", "forbidden"),
        ("member", "guest", "member", "forbidden"),
        ("guest", "guest", "member", "forbidden"),
    ],
)
async def test_who_may_change_whose_role(
    owner: Person, sql: asyncpg.Connection, role: str, before: str, after: str, code: str | None
) -> None:
    person = owner if role == "owner" else await join(owner, role)
    subject = await join(owner, before)
    end = await outbox_end(sql)
    answer = await person.ask("PATCH", f"/v1/users/{subject.id}", {"role": after})
    if code is not None:
        refused(answer, code)
        assert ok(await subject.get("/v1/me"))["user"]["role"] == before
        return
    changed = ok(answer)
    assert changed["user"]["role"] == after
    assert ok(await subject.get("/v1/me"))["user"]["role"] == after, "it counts at once"
    version = await sql.fetchval("select version from users where id = $1", subject.id)
    assert changed["directory_at"] == f"user:{subject.id}@{version}"
    published = [f"user:{subject.id}"] if before != after else []
    assert await outbox(sql, end) == published, "channel servers know who may post"


async def test_the_last_owner_stays_one(owner: Person) -> None:
    path = f"/v1/users/{owner.id}"
    refused(await owner.ask("PATCH", path, {"role": "member"}), "conflict")
    ok(await owner.ask("PATCH", path, {"role": "owner"}))
    second = await join(owner, "owner")
    ok(await owner.post(f"/v1/users/{second.id}/deactivate"))
    refused(await owner.ask("PATCH", path, {"role": "member"}), "conflict")
    ok(await owner.post(f"/v1/users/{second.id}/reactivate"))
    ok(await owner.ask("PATCH", path, {"role": "member"}))
    refused(await owner.ask("PATCH", path, {"role": "owner"}), "forbidden")


async def test_open_invitations_are_listed_in_pages_and_withdrawn(
    owner: Person, sql: asyncpg.Connection
) -> None:
    invited = [ok(await owner.post("/v1/invites", {"email": f"{n}@example.com"}), 201) for n in range(5)]
    accept = {"token": invited[0]["token"], "name": "N", "password": PASSWORD}
    ok(await owner.http.post("/v1/invites/accept", json=accept), 201)
    await sql.execute("update invites set expires_at = now() where id = $1", invited[1]["invite"]["id"])
    ok(await (await sign_up(owner.http)).post("/v1/invites", {"email": "5@example.com"}), 201)

    first = ok(await owner.get("/v1/invites", limit=2))
    second = ok(await owner.get("/v1/invites", limit=2, cursor=first["next_cursor"]))
    assert second["next_cursor"] is None
    assert first["items"] + second["items"] == [each["invite"] for each in invited[2:]]
    assert first["items"][0]["invited_by"] == owner.id
    assert not any(each["token"] in str((first, second)) for each in invited)

    path = f"/v1/invites/{invited[2]['invite']['id']}"
    assert (await owner.ask("DELETE", path)).status_code == 204
    refused(await owner.ask("DELETE", path), "not_found")
    accept = {"token": invited[2]["token"], "name": "N", "password": PASSWORD}
    refused(await owner.http.post("/v1/invites/accept", json=accept), "not_found")
    left = ok(await owner.get("/v1/invites"))["items"]
    assert left == [each["invite"] for each in invited[3:]]


async def test_which_invitations_cannot_be_withdrawn(owner: Person) -> None:
    admin, stranger = await join(owner, "admin"), await sign_up(owner.http)
    for_owner = ok(await owner.post("/v1/invites", {"email": "o@example.com", "role": "owner"}), 201)
    path = f"/v1/invites/{for_owner['invite']['id']}"
    refused(await admin.ask("DELETE", path), "forbidden")
    refused(await stranger.ask("DELETE", path), "not_found")
    accept = {"token": for_owner["token"], "name": "O", "password": PASSWORD}
    ok(await owner.http.post("/v1/invites/accept", json=accept), 201)
    refused(await owner.ask("DELETE", path), "not_found")
