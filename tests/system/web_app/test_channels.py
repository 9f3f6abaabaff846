"""Channels and who is in them: every change is told once, in order, and what changes nothing is not told."""

from __future__ import annotations

import asyncpg
import pytest

from services.contract.ids import new_event_id
from tests.system.web_app.people import Person, join, ok, refused, sign_up, unique
from tests.system.web_app.records import events_of, outbox, outbox_end


async def test_a_new_channel_is_told_of_in_order(owner: Person, sql: asyncpg.Connection) -> None:
    before = await outbox_end(sql)
    name = unique("room")
    made = ok(await owner.post("/v1/channels", {"kind": "private", "name": name, "topic": "Tea"}), 201)
    channel = made["channel"]
    assert (channel["kind"], channel["name"], channel["topic"], channel["member"]) == (
        "private",
        name,
        "Tea",
        True,
    )
    member = f"member:{channel['id']}:{owner.id}"
    assert await outbox(sql, before) == [
        f"channel:{channel['id']}",
        member,
        "event:channel.created",
        "event:members.added",
        "event:channel.topic_set",
    ]
    version = await sql.fetchval("select version from memberships where channel_id = $1", channel["id"])
    assert made["directory_at"] == f"{member}@{version}"


async def test_a_name_is_taken_once_in_a_workspace_in_any_case(owner: Person) -> None:
    await owner.new_channel(name="Tearoom")
    refused(await owner.post("/v1/channels", {"kind": "private", "name": "tearoom"}), "name_taken")
    await (await sign_up(owner.http)).new_channel(name="tearoom")


async def test_renaming_and_topics(owner: Person, sql: asyncpg.Connection) -> None:
    channel = await owner.new_channel(name="old")
    await owner.new_channel(name="other")
    path = f"/v1/channels/{channel}"
    changed = ok(await owner.ask("PATCH", path, {"name": "new", "topic": "Tea"}))
    assert (changed["channel"]["name"], changed["channel"]["topic"]) == ("new", "Tea")
    ok(await owner.ask("PATCH", path, {"name": "new"}))
    ok(await owner.ask("PATCH", path, {"topic": ""}))
    assert [event for _, event in await events_of(sql, channel)][2:] == [
        {"type": "channel.renamed", "name": "new"},
        {"type": "channel.topic_set", "topic": "Tea"},
        {"type": "channel.topic_set", "topic": ""},
    ]
    refused(await owner.ask("PATCH", path, {"name": "OTHER"}), "name_taken")
    refused(await owner.ask("PATCH", path, {}), "invalid_request")
    assert ok(await owner.get(path))["name"] == "new"


async def test_archiving(owner: Person, sql: asyncpg.Connection) -> None:
    channel, member = await owner.new_channel(), await join(owner)
    path = f"/v1/channels/{channel}"
    before = await outbox_end(sql)
    archived = ok(await owner.post(f"{path}/archive"))
    assert archived["channel"]["archived"] is True
    version = await sql.fetchval("select version from channels where id = $1", channel)
    assert archived["directory_at"] == f"channel:{channel}@{version}"
    assert ok(await owner.post(f"{path}/archive"))["directory_at"] == archived["directory_at"]
    assert await outbox(sql, before) == [f"channel:{channel}", "event:channel.archived"]
    refused(await owner.ask("PATCH", path, {"topic": "x"}), "archived")
    refused(await member.post(f"{path}/join"), "archived")
    refused(await owner.post(f"{path}/members", {"user_ids": [member.id]}), "archived")
    refused(await owner.post(f"{path}/messages", {"text": "x"}), "archived")
    ok(await owner.get(f"{path}/events"))
    back = ok(await owner.post(f"{path}/unarchive"))
    assert back["channel"]["archived"] is False
    assert [event["type"] for _, event in await events_of(sql, channel)][-2:] == [
        "channel.archived",
        "channel.unarchived",
    ]


async def test_the_list_holds_ones_own_and_the_public_ones_in_pages(owner: Person) -> None:
    member, guest = await join(owner), await join(owner, "guest")
    public, private, shared = [await owner.new_channel(kind) for kind in ("public", "private", "private")]
    await owner.add(shared, member, guest)
    everything = ok(await member.get("/v1/channels"))["items"]
    assert [(each["id"], each["member"]) for each in everything][1:] == [(public, False), (shared, True)]
    assert everything[0]["name"] == "general"
    assert private not in {each["id"] for each in everything}
    first = ok(await member.get("/v1/channels", limit=2))
    second = ok(await member.get("/v1/channels", limit=2, cursor=first["next_cursor"]))
    assert first["items"] + second["items"] == everything
    assert second["next_cursor"] is None
    mine = ok(await member.get("/v1/channels", member="true"))["items"]
    assert [each["id"] for each in mine] == [everything[0]["id"], shared]
    assert [each["id"] for each in ok(await guest.get("/v1/channels"))["items"]] == [shared]


async def test_adding_many_people_is_one_event_of_one_version(owner: Person, sql: asyncpg.Connection) -> None:
    channel = await owner.new_channel("private")
    people = sorted([(await join(owner)).id for _ in range(5)])
    before = await outbox_end(sql)
    added = ok(
        await owner.post(f"/v1/channels/{channel}/members", {"user_ids": [*people, owner.id, people[0]]})
    )
    assert added["added"] == people
    versions = await sql.fetch(
        "select distinct version from memberships where channel_id = $1 and user_id != $2", channel, owner.id
    )
    [version] = [row["version"] for row in versions]
    assert added["directory_at"] == f"member:{channel}:{people[-1]}@{version}"
    assert await outbox(sql, before) == [
        *(f"member:{channel}:{each}" for each in people),
        "event:members.added",
    ]
    assert (await events_of(sql, channel))[-1] == (
        owner.id,
        {"type": "members.added", "user_ids": people, "version": version},
    )
    again = ok(await owner.post(f"/v1/channels/{channel}/members", {"user_ids": people}))
    assert again == {"added": [], "directory_at": added["directory_at"]}
    assert len(await outbox(sql, before)) == len(people) + 1


async def test_a_thousand_people_are_added_in_one_event(owner: Person, sql: asyncpg.Connection) -> None:
    channel = await owner.new_channel()
    workspace = await sql.fetchval("select workspace_id from users where id = $1", owner.id)
    ids = [row["id"] for row in await sql.fetch(
        "insert into users (id, workspace_id, email, name, password_hash, role, version)"
        " select 'usr_' || md5($1 || n), $1, n || '@many.example', 'N', '', 'member', 1 from generate_series(1, 1000) n"
        " returning id", workspace,
    )]  # fmt: skip
    added = ok(await owner.post(f"/v1/channels/{channel}/members", {"user_ids": ids}))
    assert len(added["added"]) == 1000
    kinds = [event["type"] for _, event in await events_of(sql, channel)]
    assert kinds == ["channel.created", "members.added", "members.added"]
    too_many = {"user_ids": [*ids, owner.id]}
    refused(await owner.post(f"/v1/channels/{channel}/members", too_many), "invalid_request")


async def test_somebody_else_than_active_people_of_the_workspace_is_not_added(owner: Person) -> None:
    channel = await owner.new_channel()
    stranger, gone, member = await sign_up(owner.http), await join(owner), await join(owner)
    ok(await owner.post(f"/v1/users/{gone.id}/deactivate"))
    nobody = "usr_" + "0" * 32
    for each in (stranger.id, gone.id, nobody):
        answer = await owner.post(f"/v1/channels/{channel}/members", {"user_ids": [member.id, each]})
        assert each in refused(answer, "not_found")["detail"]
    assert member.id not in {
        each["user_id"] for each in ok(await owner.get(f"/v1/channels/{channel}/members"))["items"]
    }


async def test_join_leave_and_remove(owner: Person, sql: asyncpg.Connection) -> None:
    channel, member = await owner.new_channel(), await join(owner)
    path = f"/v1/channels/{channel}"
    key = f"member:{channel}:{member.id}"

    async def version() -> int:
        return int(
            await sql.fetchval(
                "select version from memberships where channel_id = $1 and user_id = $2", channel, member.id
            )
        )

    refused(await member.post(f"{path}/leave"), "not_a_member")
    joined = ok(await member.post(f"{path}/join"))
    assert (joined["channel"]["member"], joined["directory_at"]) == (True, f"{key}@{await version()}")
    first = await version()
    assert ok(await member.post(f"{path}/join")) == joined
    left = ok(await member.post(f"{path}/leave"))
    assert left["directory_at"] == f"{key}@{await version()}"
    second = await version()
    assert ok(await member.post(f"{path}/leave")) == left
    await owner.add(channel, member)
    third = await version()
    removed = ok(await owner.ask("DELETE", f"{path}/members/{member.id}"))
    assert removed["directory_at"] == f"{key}@{await version()}"
    fourth = await version()
    assert ok(await owner.ask("DELETE", f"{path}/members/{member.id}")) == removed
    assert first < second < third < fourth
    one = [member.id]
    assert (await events_of(sql, channel))[2:] == [
        (member.id, {"type": "members.added", "user_ids": one, "version": first}),
        (member.id, {"type": "members.removed", "user_ids": one, "version": second}),
        (owner.id, {"type": "members.added", "user_ids": one, "version": third}),
        (owner.id, {"type": "members.removed", "user_ids": one, "version": fourth}),
    ]
    refused(await owner.ask("DELETE", f"{path}/members/usr_{'0' * 32}"), "not_found")


async def test_members_are_listed_to_whoever_sees_the_channel(owner: Person) -> None:
    channel, member, outsider = await owner.new_channel("private"), await join(owner), await join(owner)
    await owner.add(channel, member)
    items = ok(await member.get(f"/v1/channels/{channel}/members"))["items"]
    assert [each["user_id"] for each in items] == [owner.id, member.id]
    page = ok(await member.get(f"/v1/channels/{channel}/members", limit=1))
    rest = ok(await member.get(f"/v1/channels/{channel}/members", limit=1, cursor=page["next_cursor"]))
    assert page["items"] + rest["items"] == items
    refused(await outsider.get(f"/v1/channels/{channel}/members"), "not_found")


async def test_there_is_one_direct_channel_for_each_set_of_people(
    owner: Person, sql: asyncpg.Connection
) -> None:
    member, third = await join(owner), await join(owner)
    made = ok(await owner.post("/v1/channels/direct", {"user_ids": [member.id]}), 201)
    channel = made["channel"]
    people = sorted([owner.id, member.id])
    assert (channel["kind"], channel["name"], channel["user_ids"]) == ("direct", "", people)
    assert made["directory_at"].startswith(f"member:{channel['id']}:{people[-1]}@")
    same = ok(await member.post("/v1/channels/direct", {"user_ids": [owner.id, member.id]}))
    assert same["channel"]["id"] == channel["id"]
    group = ok(await third.post("/v1/channels/direct", {"user_ids": [member.id, owner.id]}), 201)
    assert group["channel"]["kind"] == "group"
    again = ok(await owner.post("/v1/channels/direct", {"user_ids": [third.id, member.id]}))
    assert again["channel"]["id"] == group["channel"]["id"]
    start = {each["id"]: each["user_ids"] for each in ok(await owner.get("/v1/me/sync"))["channels"]}
    assert start[channel["id"]] == people
    assert start[group["channel"]["id"]] == sorted([*people, third.id])
    assert [start[each] for each in start.keys() - {channel["id"], group["channel"]["id"]}] == [None]
    assert [event["type"] for _, event in await events_of(sql, channel["id"])] == [
        "channel.created",
        "members.added",
    ]


async def test_direct_channels_are_what_their_people_are(owner: Person) -> None:
    member, third = await join(owner), await join(owner)
    channel = ok(await owner.post("/v1/channels/direct", {"user_ids": [member.id]}), 201)["channel"]["id"]
    path = f"/v1/channels/{channel}"
    refused(await owner.ask("PATCH", path, {"name": "x"}), "conflict")
    refused(await owner.post(f"{path}/archive"), "conflict")
    refused(await owner.post(f"{path}/members", {"user_ids": [third.id]}), "conflict")
    refused(await owner.post(f"{path}/leave"), "conflict")
    refused(await owner.ask("DELETE", f"{path}/members/{member.id}"), "conflict")
    refused(await third.post(f"{path}/join"), "not_found")
    refused(await third.get(path), "not_found")


@pytest.mark.parametrize("others", [0, 9])
async def test_direct_channels_have_bounds(owner: Person, others: int) -> None:
    ids = [f"usr_{n:032x}" for n in range(others)] + [owner.id]
    refused(await owner.post("/v1/channels/direct", {"user_ids": ids}), "invalid_request")


async def test_a_command_repeated_with_its_key_is_done_once(owner: Person, sql: asyncpg.Connection) -> None:
    key = new_event_id()
    body = {"kind": "public", "name": unique("once")}
    first = await owner.post("/v1/channels", body, key=key)
    before = await outbox_end(sql)
    again = await owner.post("/v1/channels", body, key=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert await outbox(sql, before) == []
    refused(await owner.post("/v1/channels", body | {"topic": "x"}, key=key), "id_reused")
    refused(await owner.post("/v1/channels", body), "name_taken")
    # Somebody else's key is somebody else's.
    member = await join(owner)
    ok(await member.post("/v1/channels", {"kind": "public", "name": unique("once")}, key=key), 201)


async def test_a_repeat_after_others_went_on_has_no_second_effect(
    owner: Person, sql: asyncpg.Connection
) -> None:
    channel, key = await owner.new_channel(), new_event_id()
    path = f"/v1/channels/{channel}"
    first = ok(await owner.ask("PATCH", path, {"topic": "one"}, key=key))
    ok(await owner.ask("PATCH", path, {"topic": "two"}))
    assert ok(await owner.ask("PATCH", path, {"topic": "one"}, key=key)) == first
    assert ok(await owner.get(path))["topic"] == "two"
    topics = [
        event["topic"] for _, event in await events_of(sql, channel) if event["type"] == "channel.topic_set"
    ]
    assert topics == ["one", "two"]


async def test_a_refused_command_leaves_its_key_unused(owner: Person) -> None:
    key = new_event_id()
    member = await join(owner)
    channel = await owner.new_channel("private")
    path = f"/v1/channels/{channel}/members"
    refused(await member.post(path, {"user_ids": [member.id]}, key=key), "not_found")
    await owner.add(channel, member)
    ok(await member.post(path, {"user_ids": [owner.id]}, key=key))


@pytest.mark.parametrize(
    "key", ["x", "0193a1b2-c3d4-4e5f-8a9b-0c1d2e3f4a5b", "0193A1B2-C3D4-7E5F-8A9B-0C1D2E3F4A5B"]
)
async def test_a_key_is_a_uuid_version_7_in_its_one_spelling(owner: Person, key: str) -> None:
    refused(await owner.post("/v1/channels", {"kind": "public", "name": "x"}, key=key), "invalid_request")
