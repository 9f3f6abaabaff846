"""Who may post and add, default and private channels, the directory of channels, and what one wants to hear of one."""

from __future__ import annotations

import re
import uuid
from typing import Any

import asyncpg
import httpx

from tests.system.web_app.conftest import Web
from tests.system.web_app.people import PASSWORD, Person, join, new_event_id, ok, refused, unique
from tests.system.web_app.records import events_of, outbox, outbox_end
from tests.system.web_app.test_statements import about_requests, statements


async def names(person: Person, **params: Any) -> list[str]:
    """Of the whole directory of channels, page by page."""
    found, cursor = [], None
    while True:
        page = ok(await person.get("/v1/channels/directory", cursor=cursor, **params))
        found += [each["name"] for each in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


async def settings(person: Person, channel: str, **wanted: object) -> dict[str, Any]:
    return ok(await person.ask("PATCH", f"/v1/channels/{channel}/settings", wanted))


async def test_only_admins_post_where_the_channel_says_so(owner: Person, sql: asyncpg.Connection) -> None:
    member, admin = await join(owner), await join(owner, "admin")
    channel = await owner.new_channel()
    await owner.add(channel, member, admin)
    end = await outbox_end(sql)
    changed = await settings(owner, channel, posting="admins")
    assert changed["channel"]["posting"] == "admins"
    assert await outbox(sql, end) == [f"channel:{channel}", "event:channel.settings_changed"]
    version = await sql.fetchval("select version from channels where id = $1", channel)
    assert changed["directory_at"] == f"channel:{channel}@{version}"
    event = {"type": "channel.settings_changed", "posting": "admins"}
    assert (await events_of(sql, channel))[-1] == (owner.id, event)
    path = f"/v1/channels/{channel}/messages"
    refused(await member.post(path, {"text": "x"}), "forbidden")
    ok(await admin.post(path, {"text": "x"}), 201)
    end = await outbox_end(sql)
    again = await settings(owner, channel, posting="admins")
    assert again["directory_at"] == changed["directory_at"]
    assert await outbox(sql, end) == []


async def test_only_admins_add_where_the_channel_says_so(owner: Person) -> None:
    maker, other = await join(owner), await join(owner)
    channel = await maker.new_channel("private")
    await maker.add(channel, owner)
    await settings(maker, channel, adding="admins")
    refused(await maker.post(f"/v1/channels/{channel}/members", {"user_ids": [other.id]}), "forbidden")
    await owner.add(channel, other)
    refused(await other.ask("PATCH", f"/v1/channels/{channel}/settings", {"adding": "everyone"}), "forbidden")


async def test_new_people_are_put_into_every_default_channel(owner: Person, sql: asyncpg.Connection) -> None:
    member = await join(owner)
    rooms = [await member.new_channel() for _ in range(2)]
    hidden = await owner.new_channel("private")
    for room in rooms:
        refused(await member.ask("PATCH", f"/v1/channels/{room}/settings", {"default": True}), "forbidden")
        assert (await settings(owner, room, default=True))["channel"]["default"]
    refused(await owner.ask("PATCH", f"/v1/channels/{hidden}/settings", {"default": True}), "conflict")
    newcomer = await join(owner)
    mine = ok(await newcomer.get("/v1/channels", member=True))["items"]
    assert {each["id"] for each in mine} > set(rooms)
    assert all(each["member_count"] == 3 for each in mine if each["id"] not in rooms)
    await settings(owner, rooms[0], default=False)
    last = await join(owner)
    assert rooms[0] not in {each["id"] for each in ok(await last.get("/v1/channels", member=True))["items"]}
    guest = await join(owner, "guest")
    assert ok(await guest.get("/v1/channels"))["items"] == []


async def test_a_guest_comes_into_the_channels_of_the_invitation_and_no_other(
    owner: Person, sql: asyncpg.Connection
) -> None:
    room, other = await owner.new_channel("private"), await owner.new_channel()
    outsider = await join(owner, "admin")
    body = {"email": "guest@example.com", "role": "guest", "channel_ids": [room]}
    refused(await outsider.post("/v1/invites", body), "not_found")
    refused(await outsider.post("/v1/invites", body | {"channel_ids": [other]}), "not_a_member")
    direct = ok(await owner.post("/v1/channels/direct", {"user_ids": [outsider.id]}), 201)["channel"]["id"]
    refused(await owner.post("/v1/invites", body | {"channel_ids": [direct]}), "conflict")
    invited = ok(await owner.post("/v1/invites", body), 201)
    assert invited["invite"]["channel_ids"] == [room]
    assert invited["link"].endswith(f"#{invited['token']}")
    end = await outbox_end(sql)
    accept = {"token": invited["token"], "name": "Guest", "password": PASSWORD}
    made = ok(await owner.http.post("/v1/invites/accept", json=accept), 201)
    guest = Person(owner.http, made["user"]["id"], body["email"], owner.workspace_slug, made["tokens"])  # type: ignore[arg-type]
    member = f"member:{room}:{guest.id}"
    assert await outbox(sql, end) == [
        f"user:{guest.id}",
        member,
        "event:members.added",
        "event:invite.accepted",
    ]
    assert (await events_of(sql, room))[-1][0] == owner.id, "who invited them has added them"
    assert [each["id"] for each in ok(await guest.get("/v1/channels"))["items"]] == [room]
    assert {each["id"] for each in ok(await guest.get("/v1/users"))["items"]} == {owner.id, guest.id}
    refused(await guest.get(f"/v1/channels/{other}"), "not_found")
    refused(await guest.post(f"/v1/channels/{other}/join"), "not_found")
    refused(await guest.get("/v1/channels/directory"), "forbidden")


async def test_an_invitation_is_renewed(owner: Person) -> None:
    first = ok(await owner.post("/v1/invites", {"email": "a@example.com"}), 201)
    path = f"/v1/invites/{first['invite']['id']}"
    second = ok(await owner.post(f"{path}/renew"))
    assert second["invite"]["id"] == first["invite"]["id"]
    accept = {"name": "A", "password": PASSWORD}
    refused(await owner.http.post("/v1/invites/accept", json=accept | {"token": first["token"]}), "not_found")
    ok(await owner.http.post("/v1/invites/accept", json=accept | {"token": second["token"]}), 201)
    refused(await owner.post(f"{path}/renew"), "not_found")


async def test_an_invitation_is_worth_what_its_maker_may_still_do(owner: Person) -> None:
    """Nobody comes in, or back, on the word of somebody who was put out."""
    admin, other = await join(owner, "admin"), await join(owner, "admin")
    accept = {"name": "A", "password": PASSWORD}

    async def accepted(invited: dict[str, Any]) -> httpx.Response:
        return await owner.http.post("/v1/invites/accept", json=accept | {"token": invited["token"]})

    made = [
        ok(await each.post("/v1/invites", {"email": f"{unique('x')}@example.com", "role": "admin"}), 201)
        for each in (admin, other, owner)
    ]
    ok(await owner.post(f"/v1/users/{admin.id}/deactivate"))
    ok(await owner.ask("PATCH", f"/v1/users/{other.id}", {"role": "member"}))
    for each in made[:2]:
        refused(await accepted(each), "not_found")
    ok(await accepted(made[2]), 201)
    renewed = ok(await owner.post(f"/v1/invites/{made[0]['invite']['id']}/renew"))
    assert renewed["invite"]["invited_by"] == owner.id, "who renews it answers for it"
    assert ok(await accepted(renewed), 201)["user"]["role"] == "admin"


async def test_an_invitation_opens_no_channel_that_its_maker_has_left(owner: Person) -> None:
    admin = await join(owner, "admin")
    left, kept = await owner.new_channel("private"), await owner.new_channel("private")
    for channel in (left, kept):
        await owner.add(channel, admin)
    body = {"email": f"{unique('x')}@example.com", "role": "guest", "channel_ids": [left, kept]}
    invited = ok(await admin.post("/v1/invites", body), 201)
    ok(await owner.ask("DELETE", f"/v1/channels/{left}/members/{admin.id}"))
    accept = {"token": invited["token"], "name": "Guest", "password": PASSWORD}
    ok(await owner.http.post("/v1/invites/accept", json=accept), 201)
    assert ok(await owner.get(f"/v1/channels/{left}"))["member_count"] == 1
    assert ok(await owner.get(f"/v1/channels/{kept}"))["member_count"] == 3


async def test_a_repeated_invitation_is_the_same_by_another_link(
    owner: Person, sql: asyncpg.Connection
) -> None:
    key, body = new_event_id(), {"email": f"{unique('x')}@example.com"}
    first, second = [ok(await owner.post("/v1/invites", body, key=key), 201) for _ in range(2)]
    assert first["invite"]["id"] == second["invite"]["id"]
    assert len(ok(await owner.get("/v1/invites"))["items"]) == 1
    kept = await sql.fetchval("select reply from idempotency_keys where key = $1", uuid.UUID(key))
    assert first["token"].encode() not in kept
    refused(await owner.post("/v1/invites", {"email": "other@example.com"}, key=key), "id_reused")
    accept = {"name": "A", "password": PASSWORD}
    refused(await owner.http.post("/v1/invites/accept", json=accept | {"token": first["token"]}), "not_found")
    ok(await owner.http.post("/v1/invites/accept", json=accept | {"token": second["token"]}), 201)
    refused(await owner.post("/v1/invites", body, key=key), "not_found")
    withdrawn = ok(await owner.post("/v1/invites", {"email": "b@example.com"}), 201)["invite"]["id"]
    key = new_event_id()
    for _ in range(2):
        assert (await owner.ask("DELETE", f"/v1/invites/{withdrawn}", key=key)).status_code == 204
    refused(await owner.ask("DELETE", f"/v1/invites/{withdrawn}"), "not_found")


async def test_who_was_removed_already_is_not_noted_again(owner: Person) -> None:
    channel, member = await owner.new_channel(), await join(owner)
    await owner.add(channel, member)
    for _ in range(2):
        ok(await owner.ask("DELETE", f"/v1/channels/{channel}/members/{member.id}"))
    assert len(ok(await owner.get("/v1/audit", action="channel.member_removed"))["items"]) == 1


async def test_a_public_channel_becomes_private_for_good(owner: Person, sql: asyncpg.Connection) -> None:
    inside, outside = await join(owner), await join(owner)
    channel = await owner.new_channel()
    await owner.add(channel, inside)
    [general] = [each for each in ok(await owner.get("/v1/channels"))["items"] if each["default"]]
    refused(await owner.post(f"/v1/channels/{general['id']}/make-private"), "conflict")
    path = f"/v1/channels/{channel}"
    changed = ok(await owner.post(f"{path}/make-private"))
    assert changed["channel"]["kind"] == "private"
    assert (await events_of(sql, channel))[-1] == (owner.id, {"type": "channel.made_private"})
    assert ok(await inside.get(path))["kind"] == "private"
    refused(await outside.get(path), "not_found")
    refused(await outside.post(f"{path}/join"), "not_found")
    assert ok(await owner.post(f"{path}/make-private"))["directory_at"] == changed["directory_at"]


async def test_the_directory_of_channels_is_searched_by_how_names_begin(owner: Person, web: Web) -> None:
    member, stem = await join(owner), unique("dir")
    for name in ("Zebra", "apple", "Äpfel", "äther", "apricot", "a_b", "a%b", "axb", "hidden", "old"):
        kind = "private" if name == "hidden" else "public"
        channel = await owner.new_channel(kind, f"{stem} {name}")
        if name == "old":
            ok(await owner.post(f"/v1/channels/{channel}/archive"))
    everything = await names(member, limit=3)
    assert everything == sorted(everything, key=str.lower)
    mine = [each.removeprefix(f"{stem} ") for each in await names(member, prefix=stem.upper(), limit=2)]
    assert mine == ["a%b", "a_b", "apple", "apricot", "axb", "Zebra", "Äpfel", "äther"]
    assert await names(member, prefix=f"{stem} AP") == [f"{stem} apple", f"{stem} apricot"]
    assert await names(member, prefix=f"{stem} ä") == [f"{stem} Äpfel", f"{stem} äther"]
    assert await names(member, prefix=f"{stem} a%") == [f"{stem} a%b"], "no wildcards"
    assert await names(member, prefix=f"{stem} \U0010ffff") == []
    for limit in (1, 100):
        with statements(web) as seen:
            ok(await member.get("/v1/channels/directory", prefix=stem, limit=limit))
        assert len(about_requests(seen)) == 2, seen
    for cursor in ("!", "AA", "gIA", "x" * 501):
        refused(await member.get("/v1/channels/directory", cursor=cursor), "invalid_request")


async def test_the_directory_is_read_by_index(owner: Person, web: Web, sql: asyncpg.Connection) -> None:
    with statements(web) as seen:
        ok(await owner.get("/v1/channels/directory", prefix="gen"))
    [page] = [each for each in about_requests(seen) if 'COLLATE "C"' in each]
    async with sql.transaction():
        for other in ("seqscan", "sort"):
            await sql.execute(f"set local enable_{other} = off")
        plan = await sql.fetch(f"explain {page}", *_parameters(page, owner))
    text = "\n".join(row[0] for row in plan)
    assert "ix_channels_public_name" in text, text
    assert "Sort" not in text, text


def _parameters(statement: str, owner: Person) -> list[Any]:
    count = max(int(number) for number in re.findall(r"\$(\d+)", statement))
    kinds = dict(re.findall(r"\$(\d+)::([A-Z]+)", statement))
    values = {"BOOLEAN": False, "INTEGER": 1, "BIGINT": 1, "VARCHAR": "x"}
    return [values[kinds[str(number)]] for number in range(1, count + 1)]


async def test_members_are_counted(owner: Person) -> None:
    people = [await join(owner) for _ in range(3)]
    channel = await owner.new_channel()
    path = f"/v1/channels/{channel}"

    async def count() -> int:
        return int(ok(await owner.get(path))["member_count"])

    assert await count() == 1
    await owner.add(channel, *people[:2])
    await owner.add(channel, *people)
    assert await count() == 4
    joined = ok(await people[0].post(f"{path}/join"))
    assert joined["channel"]["member_count"] == 4
    ok(await people[0].post(f"{path}/leave"))
    ok(await people[0].post(f"{path}/leave"))
    ok(await owner.ask("DELETE", f"{path}/members/{people[1].id}"))
    assert await count() == 2
    assert ok(await people[0].post(f"{path}/join"))["channel"]["member_count"] == 3


async def test_what_one_wants_to_hear_of_a_channel(owner: Person, sql: asyncpg.Connection) -> None:
    member = await join(owner)
    channel = await owner.new_channel()
    path = f"/v1/channels/{channel}/preferences"
    refused(await member.get(path), "not_a_member")
    await owner.add(channel, member)
    assert ok(await member.get(path)) == {"muted": False, "level": "all"}
    end = await outbox_end(sql)
    assert ok(await member.ask("PATCH", path, {"muted": True})) == {"muted": True, "level": "all"}
    assert await outbox(sql, end) == ["event:preferences.changed"]
    assert ok(await member.ask("PATCH", path, {"level": "mentions"})) == {"muted": True, "level": "mentions"}
    end = await outbox_end(sql)
    assert ok(await member.ask("PATCH", path, {"level": "mentions"})) == {"muted": True, "level": "mentions"}
    assert await outbox(sql, end) == []
    assert ok(await owner.get(path)) == {"muted": False, "level": "all"}, "it is each person's own"
    for body in ({}, {"level": "loud"}, {"muted": 1}):
        refused(await member.ask("PATCH", path, body), "invalid_request")


async def test_those_with_whom_a_direct_channel_is_opened_are_told(
    owner: Person, sql: asyncpg.Connection
) -> None:
    one, two = await join(owner), await join(owner)
    end = await outbox_end(sql)
    body = {"user_ids": [one.id, two.id]}
    made = ok(await owner.post("/v1/channels/direct", body), 201)["channel"]
    assert (made["kind"], made["member_count"]) == ("group", 3)
    notices = [each for each in await outbox(sql, end) if each == "event:direct.opened"]
    assert len(notices) == 1
    end = await outbox_end(sql)
    again = ok(await two.post("/v1/channels/direct", {"user_ids": [one.id, owner.id]}))["channel"]
    assert again["id"] == made["id"], "one channel for each set of people"
    assert await outbox(sql, end) == []
