"""What people say of themselves, and when they want to be left alone."""

from __future__ import annotations

import datetime as dt
from typing import Any

import asyncpg
import pytest

from tests.system.web_app.conftest import NewWeb
from tests.system.web_app.people import Person, join, ok, refused
from tests.system.web_app.records import outbox, outbox_end


async def test_a_profile_is_changed_shown_and_told(owner: Person, sql: asyncpg.Connection) -> None:
    wanted = {
        "display_name": "Countess",
        "title": "Analyst",
        "avatar_url": "https://example.com/ada.png",
        "time_zone": "Europe/London",
    }
    end = await outbox_end(sql)
    changed = ok(await owner.ask("PATCH", "/v1/me/profile", wanted))
    assert changed["user"].items() >= wanted.items()
    assert await outbox(sql, end) == [f"user:{owner.id}", "event:profile.changed"]
    member = await join(owner)
    assert ok(await member.get(f"/v1/users/{owner.id}")).items() >= wanted.items()
    end = await outbox_end(sql)
    ok(await owner.ask("PATCH", "/v1/me/profile", wanted))
    assert await outbox(sql, end) == [], "nothing new is told to nobody"
    ok(await owner.ask("PATCH", "/v1/me/profile", {"name": "Ada King", "avatar_url": ""}))
    assert await sql.fetchval("select name from users where id = $1", owner.id) == "Ada King"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"avatar_url": "http://example.com/a.png"},
        {"avatar_url": "javascript:alert(1)"},
        {"avatar_url": "https://"},
        {"avatar_url": "https://user:pw@example.com/"},
        {"avatar_url": "https://example.com/" + "x" * 500},
        {"avatar_url": "https://exa mple.com/"},
        {"time_zone": "Mars/Olympus"},
        {"time_zone": "../../etc/passwd"},
        {"display_name": "x" * 81},
        {"title": "two\nlines"},
        {"name": " "},
        {"role": "owner"},
    ],
)
async def test_a_profile_is_bounded(owner: Person, body: dict[str, Any]) -> None:
    refused(await owner.ask("PATCH", "/v1/me/profile", body), "invalid_request")


async def test_a_status_is_shown_until_its_time_is_over(owner: Person, sql: asyncpg.Connection) -> None:
    later = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).isoformat()
    body = {"text": "In the engine room", "emoji": "⚙️", "expires_at": later}
    status = ok(await owner.ask("PUT", "/v1/me/status", body))["user"]["status"]
    assert (status["text"], status["emoji"]) == ("In the engine room", "⚙️")
    await sql.execute("update users set status_expires_at = now() where id = $1", owner.id)
    assert ok(await owner.get("/v1/me"))["user"]["status"] is None
    ok(await owner.ask("PUT", "/v1/me/status", {"text": "Back"}))
    assert ok(await owner.get("/v1/users"))["items"][0]["status"]["text"] == "Back"
    assert ok(await owner.ask("DELETE", "/v1/me/status"))["user"]["status"] is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": " "},
        {"text": "x" * 101},
        {"text": "x", "emoji": "a b"},
        {"text": "x", "expires_at": "2020-01-01T00:00:00Z"},
        {"text": "x", "expires_at": "2100-01-01T00:00:00"},
        {"text": "x", "expires_at": "9999-12-31T23:59:59-12:00"},
    ],
)
async def test_a_status_is_bounded(owner: Person, body: dict[str, Any]) -> None:
    refused(await owner.ask("PUT", "/v1/me/status", body), "invalid_request")


async def test_do_not_disturb_by_schedule_and_by_snoozing(owner: Person, sql: asyncpg.Connection) -> None:
    path = "/v1/me/do-not-disturb"
    nothing = {
        "active": False,
        "starts": None,
        "ends": None,
        "snoozed_until": None,
        "time_zone": "UTC",
    }
    assert ok(await owner.get(path)) == nothing
    now = dt.datetime.now(dt.UTC)
    schedule = {
        "starts": (now - dt.timedelta(hours=1)).strftime("%H:%M"),
        "ends": (now + dt.timedelta(hours=1)).strftime("%H:%M"),
    }
    end = await outbox_end(sql)
    assert ok(await owner.ask("PUT", path, schedule)) == nothing | schedule | {"active": True}
    assert await outbox(sql, end) == ["event:preferences.changed"]
    assert ok(await owner.ask("PUT", path, {"starts": None, "ends": None})) == nothing
    until = (now + dt.timedelta(hours=2)).isoformat()
    snoozed = ok(await owner.ask("PUT", f"{path}/snooze", {"until": until}))
    assert snoozed["active"]
    assert dt.datetime.fromisoformat(snoozed["snoozed_until"]) == dt.datetime.fromisoformat(until)
    assert ok(await owner.ask("DELETE", f"{path}/snooze")) == nothing
    for body in (
        {"starts": "22:00", "ends": None},
        {"starts": "22:00", "ends": "22:00"},
        {"starts": "24:00", "ends": "01:00"},
        {"starts": "22:00"},
    ):
        refused(await owner.ask("PUT", path, body), "invalid_request")
    for wrong in (now - dt.timedelta(seconds=1), now + dt.timedelta(days=32)):
        refused(await owner.ask("PUT", f"{path}/snooze", {"until": wrong.isoformat()}), "invalid_request")


@pytest.mark.parametrize(
    ("setting", "method", "path", "body"),
    [
        ("web_change_limit", "PUT", "/v1/me/status", {"text": "@"}),
        ("web_create_limit", "POST", "/v1/channels", {"kind": "public", "name": "room @"}),
        ("web_create_limit", "POST", "/v1/groups", {"handle": "group-@", "name": "Group"}),
        ("web_invite_limit", "POST", "/v1/invites", {"email": "person-@@example.com"}),
        ("web_marker_limit", "PUT", "/v1/me/do-not-disturb", {"starts": "22:00", "ends": "0@:00"}),
    ],
)
async def test_who_does_too_much_is_slowed_down(
    owner: Person, new_web: NewWeb, setting: str, method: str, path: str, body: dict[str, str]
) -> None:
    web = await new_web(**{setting: "3/hour"})
    person = Person(web.http, owner.id, owner.email, owner.workspace_slug, owner.tokens)
    answers = []
    for number in range(4):
        wanted = {name: text.replace("@", str(number), 1) for name, text in body.items()}
        answers.append(await person.ask(method, path, wanted))
    assert [each.is_success for each in answers] == [True, True, True, False]
    assert refused(answers[-1], "slow_down")["retry_after_ms"] > 0
