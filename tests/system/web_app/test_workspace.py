"""A workspace's settings, who owns it, leaving it, and its end; and that each act is in the audit log."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from tests.system.web_app.conftest import Web
from tests.system.web_app.people import PASSWORD, Person, join, log_in, ok, refused, unique
from tests.system.web_app.records import outbox, outbox_end


async def audited(person: Person, **filters: Any) -> list[tuple[str, str | None, dict[str, Any]]]:
    """(action, target, details), the newest first."""
    entries = ok(await person.get("/v1/audit", **filters))["items"]
    return [(each["action"], each["target"], each["details"]) for each in entries]


async def test_settings_change_and_channel_servers_hear_of_them(
    owner: Person, sql: asyncpg.Connection
) -> None:
    before = ok(await owner.get("/v1/workspace"))
    assert (before["max_text"], before["edit_window_s"], before["who_may_invite"]) == (12_000, None, "admins")
    end = await outbox_end(sql)
    wanted = {"max_text": 5, "edit_window_s": 3600, "who_may_invite": "members"}
    changed = ok(await owner.ask("PATCH", "/v1/workspace", wanted))
    assert changed["workspace"] == before | wanted
    assert ok(await owner.get("/v1/workspace")) == before | wanted
    key = f"workspace:{before['id']}"
    assert await outbox(sql, end) == [key]
    version = await sql.fetchval("select version from workspaces where id = $1", before["id"])
    assert changed["directory_at"] == f"{key}@{version}"
    assert await audited(owner) == [("workspace.changed", None, wanted)]
    again = ok(await owner.ask("PATCH", "/v1/workspace", wanted))
    assert again["directory_at"] == changed["directory_at"], "what already is so changes nothing"
    assert len(await audited(owner)) == 1
    ok(await owner.ask("PATCH", "/v1/workspace", {"edit_window_s": None}))
    assert ok(await owner.get("/v1/workspace"))["edit_window_s"] is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"max_text": 0},
        {"max_text": 12_001},
        {"max_text": "5"},
        {"edit_window_s": -1},
        {"who_may_invite": "guests"},
        {"slug": "x"},
    ],
)
async def test_settings_out_of_bounds_are_refused(owner: Person, body: dict[str, Any]) -> None:
    refused(await owner.ask("PATCH", "/v1/workspace", body), "invalid_request")


async def test_the_settings_hold_where_they_say(owner: Person) -> None:
    member = await join(owner)
    channel = await member.new_channel()
    ok(await owner.ask("PATCH", "/v1/workspace", {"max_text": 5, "who_may_create_channels": "admins"}))
    path = f"/v1/channels/{channel}/messages"
    ok(await member.post(path, {"text": "👋👋👋👋👋"}), 201)
    refused(await member.post(path, {"text": "123456"}), "too_large")
    refused(await member.post("/v1/channels", {"kind": "public", "name": unique("x")}), "forbidden")
    refused(await member.post("/v1/invites", {"email": "a@example.com"}), "forbidden")
    ok(await owner.ask("PATCH", "/v1/workspace", {"who_may_invite": "members"}))
    ok(await member.post("/v1/invites", {"email": "a@example.com"}), 201)
    refused(await member.post("/v1/invites", {"email": "b@example.com", "role": "admin"}), "forbidden")


async def test_ownership_is_handed_over_whole(owner: Person, sql: asyncpg.Connection) -> None:
    heir, gone = await join(owner), await join(owner)
    ok(await owner.post(f"/v1/users/{gone.id}/deactivate"))
    path = "/v1/workspace/transfer"
    refused(await owner.post(path, {"user_id": gone.id}), "conflict")
    refused(await owner.post(path, {"user_id": owner.id}), "conflict")
    end = await outbox_end(sql)
    changed = ok(await owner.post(path, {"user_id": heir.id}))
    assert changed["user"]["role"] == "owner"
    assert await outbox(sql, end) == [f"user:{owner.id}", f"user:{heir.id}"]
    assert ok(await owner.get("/v1/me"))["user"]["role"] == "admin"
    refused(await owner.post(path, {"user_id": owner.id}), "forbidden")
    assert (await audited(heir))[0] == ("workspace.transferred", heir.id, {})


async def test_two_who_hand_over_at_once_leave_an_owner(owner: Person) -> None:
    heirs = [await join(owner) for _ in range(4)]
    await asyncio.gather(*(owner.post("/v1/workspace/transfer", {"user_id": each.id}) for each in heirs))
    roles = [each["role"] for each in ok(await owner.get("/v1/users"))["items"]]
    assert roles.count("owner") == 1


async def test_leaving_ends_ones_sessions_and_the_last_owner_stays(owner: Person) -> None:
    refused(await owner.post("/v1/workspace/leave"), "conflict")
    member = await join(owner)
    other_device = await log_in(member)
    assert (await member.post("/v1/workspace/leave")).status_code == 204
    for each in (member, other_device):
        refused(await each.get("/v1/me"), "unauthenticated")
    assert (await audited(owner, actor_id=member.id))[0][:2] == ("workspace.left", member.id)
    ok(await owner.post(f"/v1/users/{member.id}/reactivate"))
    await log_in(member)


async def test_a_deleted_workspace_is_gone_for_everybody(
    owner: Person, web: Web, sql: asyncpg.Connection
) -> None:
    member = await join(owner)
    invited = ok(await owner.post("/v1/invites", {"email": "late@example.com"}), 201)
    refused(await owner.post("/v1/workspace/delete", {"slug": "another"}), "conflict")
    ok(await owner.get("/v1/me"))
    end = await outbox_end(sql)
    assert (await owner.post("/v1/workspace/delete", {"slug": owner.workspace_slug})).status_code == 204
    [key] = await outbox(sql, end)
    assert key.startswith("workspace:"), "one record, however many people"
    for each in (owner, member):
        refused(await each.get("/v1/me"), "unauthenticated")
        refused(
            await web.http.post("/v1/auth/refresh", json={"refresh_token": each.tokens["refresh_token"]}),
            "refresh_invalid",
        )
        login = {"workspace_slug": each.workspace_slug, "email": each.email, "password": PASSWORD}
        refused(await web.http.post("/v1/auth/login", json=login), "invalid_credentials")
    accept = {"token": invited["token"], "name": "Late", "password": PASSWORD}
    refused(await web.http.post("/v1/invites/accept", json=accept), "not_found")
    taken = {
        "workspace_slug": owner.workspace_slug,
        "workspace_name": "x",
        "name": "x",
        "email": "x@example.com",
        "password": PASSWORD,
    }
    refused(await web.http.post("/v1/workspaces", json=taken), "name_taken")


async def test_a_session_that_began_while_the_workspace_was_deleted_is_worth_nothing(
    owner: Person, sql: asyncpg.Connection
) -> None:
    member = await join(owner)
    assert (await owner.post("/v1/workspace/delete", {"slug": owner.workspace_slug})).status_code == 204
    await sql.execute("update sessions set revoked_at = null where id = $1", member.session_id)
    refused(await member.get("/v1/me"), "unauthenticated")
    channel = await sql.fetchval("select channel_id from memberships where user_id = $1", member.id)
    refused(await member.post(f"/v1/channels/{channel}/messages", {"text": "x"}), "unauthenticated")


async def test_the_audit_log_is_paged_and_filtered(owner: Person) -> None:
    people = [await join(owner) for _ in range(3)]
    admin = await join(owner, "admin")
    for each in people:
        ok(await owner.ask("PATCH", f"/v1/users/{each.id}", {"role": "guest"}))
    ok(await admin.post(f"/v1/users/{people[0].id}/deactivate"))
    changes = await audited(owner, action="user.role_changed")
    assert changes == [
        ("user.role_changed", each.id, {"before": "member", "after": "guest"}) for each in reversed(people)
    ]
    assert [each[0] for each in await audited(owner, target=people[0].id)] == [
        "user.deactivated",
        "user.role_changed",
    ]
    assert [each[0] for each in await audited(owner, actor_id=admin.id)] == [
        "user.deactivated",
        "invite.accepted",
    ]
    everything, cursor = [], None
    while True:
        page = ok(await owner.get("/v1/audit", limit=4, cursor=cursor))
        assert len(page["items"]) <= 4
        everything += [each["id"] for each in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert everything == sorted(everything, reverse=True)
    assert len(everything) == len(set(everything)) == 4 + 2 * 4
