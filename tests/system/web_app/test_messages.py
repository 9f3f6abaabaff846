"""What is done to messages, and what is shown of them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import asyncpg
import msgspec
import pytest

from services.contract.events import (
    MessageDeleted,
    MessageEdited,
    MessagePinned,
    MessagePosted,
    ReactionAdded,
)
from services.contract.ids import new_event_id
from services.projection import MAX_EMOJI
from tests.stack.waiting import until
from tests.system.web_app.conftest import NewWeb, Web, addresses
from tests.system.web_app.nodes import Log, Node
from tests.system.web_app.people import Person, join, ok, refused
from tests.system.web_app.records import events_of, outbox_end, play, set_head, store_messages
from tests.system.web_app.test_statements import about_requests, statements
from web_app.messages.states import permalink
from web_app.scheduled.sender import post_due


@pytest.fixture
async def channel(owner: Person) -> str:
    return await owner.new_channel("private")


def told(log: Log) -> dict[str, Any]:
    """The last event that was handed to a channel server."""
    return dict(msgspec.json.decode(log.bodies[-1][0].event))


def at(channel: str, seq: int = 1) -> str:
    return f"/v1/channels/{channel}/messages/{seq}"


# --- commands -------------------------------------------------------------------------------------------------------


async def test_each_command_is_one_event_and_one_statement(
    web: Web, owner: Person, channel: str, sql: asyncpg.Connection, log: Log
) -> None:
    await play(
        sql, channel, [(owner.id, MessagePosted(text="root")), (owner.id, MessagePosted(text="x", thread=1))]
    )
    for method, path, body, event in (
        ("PATCH", at(channel, 2), {"text": "y"}, {"type": "message.edited", "target": 2, "text": "y"}),
        ("DELETE", at(channel, 2), None, {"type": "message.deleted", "target": 2, "thread": 1}),
        ("PUT", at(channel) + "/reactions/👍", None, {"type": "reaction.added", "target": 1, "emoji": "👍"}),
        ("DELETE", at(channel) + "/reactions/:a:", None, {"type": "reaction.removed", "target": 1, "emoji": ":a:"}),
        ("PUT", at(channel) + "/pin", None, {"type": "message.pinned", "target": 1}),
        ("DELETE", at(channel) + "/pin", None, {"type": "message.unpinned", "target": 1}),
    ):  # fmt: skip
        key = new_event_id()
        with statements(web) as seen:
            first = ok(await owner.ask(method, path, body, key=key))
        assert len(about_requests(seen)) == 1, (path, seen)
        assert told(log) == event
        again = ok(await owner.ask(method, path, body, key=key))
        assert (again["seq"], again["duplicate"], again["id"]) == (first["seq"], True, key)


async def test_a_reply_names_a_message_that_is_no_reply(
    owner: Person, channel: str, sql: asyncpg.Connection, log: Log
) -> None:
    await play(
        sql, channel, [(owner.id, MessagePosted(text="root")), (owner.id, MessagePosted(text="x", thread=1))]
    )
    await set_head(sql, channel, 5)
    path = f"/v1/channels/{channel}/messages"
    ok(await owner.post(path, {"text": "y", "thread": 1, "also_to_channel": True}), 201)
    assert told(log) == {"type": "message.posted", "text": "y", "thread": 1, "also_to_channel": True}
    refused(await owner.post(path, {"text": "y", "thread": 2}), "invalid_request")
    refused(await owner.post(path, {"text": "y", "thread": 4}), "not_found")
    refused(await owner.post(path, {"text": "y", "also_to_channel": True}), "invalid_request")


async def test_who_may_edit_and_delete_and_for_how_long(
    owner: Person, channel: str, sql: asyncpg.Connection
) -> None:
    author, other, admin = await join(owner), await join(owner), await join(owner, "admin")
    await owner.add(channel, author, other, admin)
    await play(sql, channel, [(author.id, MessagePosted(text="x"))])
    path = at(channel)
    for person in (other, admin, owner):
        refused(await person.ask("PATCH", path, {"text": "y"}), "forbidden")
    refused(await other.ask("DELETE", path), "forbidden")
    ok(await author.ask("PATCH", path, {"text": "y"}))
    ok(await author.ask("DELETE", path))
    ok(await owner.ask("PATCH", "/v1/workspace", {"edit_window_s": 60, "delete_window_s": 60, "max_text": 3}))
    refused(await author.ask("PATCH", path, {"text": "y"}), "forbidden")
    refused(await author.ask("DELETE", path), "forbidden")
    ok(await admin.ask("DELETE", path))
    await sql.execute(
        "update messages set at_ms = $2 where channel_id = $1", channel, int(time.time() * 1000) - 30_000
    )
    ok(await author.ask("PATCH", path, {"text": "yes"}))
    refused(await author.ask("PATCH", path, {"text": "long"}), "too_large")
    ok(await author.ask("DELETE", path))
    ok(await owner.post(f"/v1/channels/{channel}/archive"))
    refused(await author.ask("DELETE", path), "archived")


async def test_who_says_too_much_in_a_short_time_is_slowed_down(
    owner: Person, channel: str, new_web: NewWeb, shared_node: Node, sql: asyncpg.Connection
) -> None:
    """Whatever it is, and also a repeat; other people, reading, and read markers are not concerned."""
    await store_messages(sql, channel, owner.id, 1)
    other = await join(owner)
    await owner.add(channel, other)
    web = await new_web(nodes=addresses(shared_node), web_message_limit="3/hour", web_marker_limit="1/hour")
    mine, theirs = (replace(each, http=web.http) for each in (owner, other))
    path = f"/v1/channels/{channel}"
    ok(await mine.post(f"{path}/messages", {"text": "x"}), 201)
    ok(await mine.ask("PUT", f"{at(channel)}/reactions/👍"))
    ok(await mine.ask("PATCH", at(channel), {"text": "y"}))
    for answer in (
        await mine.post(f"{path}/messages", {"text": "x"}),
        await mine.ask("DELETE", at(channel)),
        await mine.post(f"{path}/leave"),
    ):
        problem = refused(answer, "slow_down")
        assert 0 < int(answer.headers["retry-after"]) <= 3600
        assert problem["retry_after_ms"] > 0
    ok(await mine.get(f"{path}/messages"))
    ok(await mine.ask("PUT", f"{path}/read", {"seq": 1}))
    refused(await mine.ask("PUT", f"{path}/read", {"seq": 1}), "slow_down")
    ok(await theirs.post(f"{path}/messages", {"text": "x"}), 201)


@pytest.mark.parametrize("place", ["", "/threads/1"])
async def test_reading_goes_forward_only_and_marking_unread_puts_the_marker_where_it_is_asked(
    owner: Person, channel: str, log: Log, sql: asyncpg.Connection, place: str
) -> None:
    """Said in the notice: two devices may be judged by the same stored marker, and the later notice must take nothing back."""
    await store_messages(sql, channel, owner.id, 3)
    path = f"/v1/channels/{channel}{place}"
    ok(await owner.ask("PUT", f"{path}/read", {"seq": 3}))
    assert (told(log)["seq"], told(log).get("forward")) == (3, True)
    ok(await owner.ask("PUT", f"{path}/unread", {"seq": 3}))
    assert (told(log)["seq"], told(log).get("forward", False)) == (2, False)


async def test_nothing_can_be_done_to_what_was_deleted_but_a_repeat_is_answered(
    owner: Person, channel: str, sql: asyncpg.Connection
) -> None:
    await play(sql, channel, [(owner.id, MessagePosted(text="x")), (owner.id, MessageDeleted(target=1))])
    done = await sql.fetchval("select event_id::text from events where channel_id = $1 and seq = 2", channel)
    refused(await owner.ask("DELETE", at(channel)), "conflict")
    repeated = ok(await owner.ask("DELETE", at(channel), key=done))
    assert (repeated["seq"], repeated["duplicate"]) == (2, True)
    refused(await owner.ask("PUT", at(channel) + "/pin", key=done), "id_reused")
    refused(await owner.ask("PATCH", at(channel), {"text": "y"}), "conflict")
    refused(await owner.ask("PUT", at(channel) + "/reactions/👍"), "conflict")
    refused(await owner.ask("PUT", at(channel, 2) + "/pin"), "not_found")


async def test_more_reactions_than_there_may_be_are_refused(
    owner: Person, channel: str, sql: asyncpg.Connection
) -> None:
    reactions = [(owner.id, ReactionAdded(target=1, emoji=f":e{n}:")) for n in range(MAX_EMOJI)]
    await play(sql, channel, [(owner.id, MessagePosted(text="x")), *reactions])
    refused(await owner.ask("PUT", at(channel) + "/reactions/👍"), "conflict")
    ok(await owner.ask("PUT", at(channel) + "/reactions/:e7:"))
    ok(await owner.ask("DELETE", at(channel) + "/reactions/👍"))
    refused(await owner.ask("PUT", at(channel) + "/reactions/a%20b"), "invalid_request")


# --- what is shown --------------------------------------------------------------------------------------------------


async def test_a_page_shows_the_whole_state(owner: Person, channel: str, sql: asyncpg.Connection) -> None:
    other = await join(owner)
    await owner.add(channel, other)
    await play(
        sql,
        channel,
        [
            (owner.id, MessagePosted(text=f"*hi* <@{other.id}>")),
            (other.id, MessagePosted(text="reply", thread=1)),
            (other.id, MessagePosted(text="gone", thread=1)),
            (other.id, MessageDeleted(target=3, thread=1)),
            (owner.id, MessageEdited(target=1, text=f"**hi** <@{other.id}>")),
            (other.id, ReactionAdded(target=1, emoji="👍")),
            (owner.id, MessagePinned(target=1)),
            (owner.id, MessagePosted(text="plain")),
        ],
    )
    path = f"/v1/channels/{channel}/messages"
    root, reply, gone, plain = ok(await owner.get(path, structured=True))["messages"]
    assert root["text"] == f"**hi** <@{other.id}>"
    assert root["content"] == [
        {
            "type": "paragraph",
            "children": [
                {"type": "strong", "children": [{"type": "text", "text": "hi"}]},
                {"type": "text", "text": " "},
                {"type": "user", "user": other.id},
            ],
        }
    ]
    assert root["reactions"] == [{"emoji": "👍", "users": [other.id]}]
    assert (root["edits"], root["edited_at"], root["pinned_by"]) == (1, 1_005, owner.id)
    assert (root["replies"], root["last_reply"], root["participants"]) == (1, 3, [other.id])
    assert root["mentions"] == [other.id]
    assert (reply["thread"], gone["deleted"], gone["text"]) == (1, True, "")
    assert plain.keys() == {"seq", "id", "sender", "at", "text", "content"}
    assert [each["seq"] for each in ok(await owner.get(path, top_level=True))["messages"]] == [1, 8]
    pins = ok(await owner.get(f"/v1/channels/{channel}/pins"))
    assert [each["seq"] for each in pins["messages"]] == [1]
    events = ok(await owner.get(f"/v1/channels/{channel}/events"))["events"]
    assert "gone" not in str(events)
    link = permalink(channel, 1)
    shown = ok(await other.get(f"/v1/permalinks/{link}"))
    assert shown == ok(await other.get(at(channel)))
    assert (shown["permalink"], shown["message"]["seq"]) == (link, 1)
    refused(await (await join(owner)).get(f"/v1/permalinks/{link}"), "not_found")
    refused(await owner.get("/v1/permalinks/p_0_1"), "invalid_request")


async def test_threads_are_paged_and_the_unread_are_listed(
    web: Web, owner: Person, channel: str, sql: asyncpg.Connection
) -> None:
    other = await join(owner)
    await owner.add(channel, other)
    roots = [(owner.id, MessagePosted(text=f"root {n}")) for n in range(1, 4)]
    replies = [(other.id, MessagePosted(text="reply", thread=1 + n % 3)) for n in range(9)]
    await play(sql, channel, [*roots, *replies])
    thread = f"/v1/channels/{channel}/threads/1"
    page = ok(await owner.get(thread, limit=2, after=0))
    assert ([each["seq"] for each in page["messages"]], page["has_more_after"]) == ([4, 7], True)
    assert page["root"]["replies"] == 3
    assert page["following"] is False
    for root, read in ((1, 12), (2, 5), (3, 0)):
        await sql.execute(
            "insert into thread_follows (user_id, channel_id, root, auto, moved, head)"
            " values ($1, $2, $3, true, $4, 12)",
            owner.id, channel, root, read,
        )  # fmt: skip
    first = ok(await owner.get("/v1/me/threads", limit=1))
    assert [(each["root"]["seq"], each["unread"]) for each in first["items"]] == [(3, 3)]
    for limit in (1, 100):
        with statements(web) as seen:
            rest = ok(await owner.get("/v1/me/threads", limit=limit, cursor=first["next_cursor"]))
        assert len(about_requests(seen)) == 2
        assert [(each["root"]["seq"], each["unread"]) for each in rest["items"]] == [(2, 2)]
    every = ok(await owner.get("/v1/me/threads", unread=False))["items"]
    assert [each["root"]["seq"] for each in every] == [3, 2, 1]
    assert ok(await owner.get(thread))["following"] is True
    refused(await owner.get("/v1/me/threads", cursor="x"), "invalid_request")


async def test_a_thread_whose_new_replies_are_gone_or_ones_own_has_nothing_unread(
    owner: Person, channel: str, sql: asyncpg.Connection
) -> None:
    other = await join(owner)
    await owner.add(channel, other)
    await play(
        sql,
        channel,
        [
            (owner.id, MessagePosted(text="root")),
            (other.id, MessagePosted(text="reply", thread=1)),
            (other.id, MessagePosted(text="oops", thread=1)),
        ],
    )
    await sql.execute(
        "insert into thread_follows (user_id, channel_id, root, auto, moved, head) values ($1, $2, 1, true, 2, 3)",
        owner.id, channel,
    )  # fmt: skip

    async def unread() -> tuple[int, int]:
        listed = ok(await owner.get("/v1/me/threads"))["items"]
        return ok(await owner.get("/v1/me/sync"))["threads_unread"], len(listed)

    assert await unread() == (1, 1)
    await play(sql, channel, [(other.id, MessageDeleted(target=3, thread=1))], first=4)
    assert await unread() == (0, 0)
    await play(sql, channel, [(owner.id, MessagePosted(text="mine", thread=1))], first=5)
    assert await unread() == (0, 0)


async def test_what_a_message_said_is_for_its_author_and_admins(
    owner: Person, channel: str, sql: asyncpg.Connection
) -> None:
    author, other = await join(owner), await join(owner)
    await owner.add(channel, author, other)
    await play(
        sql,
        channel,
        [
            (author.id, MessagePosted(text="one")),
            (author.id, MessageEdited(target=1, text="two")),
            (author.id, MessageEdited(target=1, text="three")),
        ],
    )
    path = at(channel) + "/versions"
    for person in (author, owner):
        page = ok(await person.get(path))
        assert [each["text"] for each in page["versions"]] == ["one", "two", "three"]
    page = ok(await owner.get(path, after=1, limit=1))
    assert ([each["text"] for each in page["versions"]], page["has_more_after"]) == (["two"], True)
    refused(await other.get(path), "forbidden")
    await play(sql, channel, [(author.id, MessageDeleted(target=1))], first=4)
    refused(await owner.get(path), "not_found")


async def test_saved_messages_are_ones_own_and_of_channels_that_one_is_in(
    web: Web, owner: Person, channel: str, sql: asyncpg.Connection
) -> None:
    other = await join(owner)
    await owner.add(channel, other)
    await store_messages(sql, channel, owner.id, 5)
    for seq in (2, 4, 3):
        path = f"/v1/me/saved/{channel}/{seq}"
        assert (await other.ask("PUT", path, {"note": "later"})).status_code == 204
    first = ok(await other.get("/v1/me/saved", limit=2))
    assert [each["message"]["seq"] for each in first["items"]] == [3, 4]
    for limit in (1, 100):
        with statements(web) as seen:
            rest = ok(await other.get("/v1/me/saved", limit=limit, cursor=first["next_cursor"]))
        assert len(about_requests(seen)) == 2
        assert [each["message"]["seq"] for each in rest["items"]] == [2]
    assert (await other.ask("PUT", f"/v1/me/saved/{channel}/2", {"note": "now"})).status_code == 204
    assert ok(await other.get("/v1/me/saved", cursor=first["next_cursor"]))["items"][0]["note"] == "now"
    assert ok(await owner.get("/v1/me/saved"))["items"] == []
    refused(await other.ask("PUT", f"/v1/me/saved/{channel}/99", {}), "not_yet")
    for _ in range(2):
        assert (await other.ask("DELETE", f"/v1/me/saved/{channel}/3")).status_code == 204
    await owner.ask("DELETE", f"/v1/channels/{channel}/members/{other.id}")
    assert ok(await other.get("/v1/me/saved"))["items"] == []
    assert (await other.ask("DELETE", f"/v1/me/saved/{channel}/2")).status_code == 204, (
        "one's own, also from outside"
    )
    left = await sql.fetch("select seq from saved_messages where user_id = $1 order by seq", other.id)
    assert [row["seq"] for row in left] == [4]


# --- later ----------------------------------------------------------------------------------------------------------


def soon(ms: int = 86_400_000) -> int:
    return int(time.time() * 1000) + ms


async def test_a_scheduled_message_can_be_made_once_changed_and_taken_back(
    owner: Person, channel: str
) -> None:
    path, key = f"/v1/channels/{channel}/scheduled", new_event_id()
    wanted = {"text": "later", "send_at": soon()}
    made = ok(await owner.post(path, wanted, key=key), 201)
    assert ok(await owner.post(path, wanted, key=key), 201) == made
    assert ok(await owner.get("/v1/me/scheduled"))["items"] == [made]
    mine = f"/v1/me/scheduled/{made['id']}"
    assert ok(await owner.ask("PATCH", mine, {"text": "better"})) == made | {"text": "better"}
    assert ok(await (await join(owner)).get("/v1/me/scheduled"))["items"] == []
    assert (await owner.ask("DELETE", mine)).status_code == 204
    refused(await owner.ask("DELETE", mine), "not_found")
    refused(await owner.post(path, wanted | {"send_at": soon(400 * 86_400_000)}), "invalid_request")
    refused(await owner.post(path, {"text": "x"}), "invalid_request")
    refused(await (await join(owner)).post(path, wanted), "not_a_member")
    for _ in range(2):
        gone = ok(await owner.post(path, wanted), 201)
    key = new_event_id()
    for _ in range(2):
        assert (await owner.ask("DELETE", f"/v1/me/scheduled/{gone['id']}", key=key)).status_code == 204


async def test_a_scheduled_reply_to_what_is_not_stored_yet_may_be_tried_again(
    owner: Person, channel: str, sql: asyncpg.Connection
) -> None:
    path, wanted = f"/v1/channels/{channel}/scheduled", {"text": "later", "send_at": soon(), "thread": 1}
    refused(await owner.post(path, wanted), "not_yet")
    await play(sql, channel, [(owner.id, MessagePosted(text="root"))])
    assert ok(await owner.post(path, wanted), 201)["thread"] == 1


async def test_what_is_due_goes_into_the_outbox_once_however_many_work_on_it(
    web: Web, owner: Person, channel: str, sql: asyncpg.Connection
) -> None:
    other, bystander, leaver = await join(owner), await join(owner), await join(owner)
    await owner.add(channel, other, bystander, leaver)
    text = f"<!here> <@{other.id}>"
    made = ok(await owner.post(f"/v1/channels/{channel}/scheduled", {"text": text, "send_at": soon()}), 201)
    gone = ok(await leaver.post(f"/v1/channels/{channel}/scheduled", {"text": "x", "send_at": soon()}), 201)
    ok(await leaver.post(f"/v1/channels/{channel}/leave"))
    before = await outbox_end(sql)
    ids = [made["id"], gone["id"]]
    async with web.parts.database.transaction() as first, web.parts.database.transaction() as second:
        # Made due only here, so that the worker of the running web app does not come first.
        await first.exec_driver_sql(
            "update scheduled_messages set send_at = now() - interval '1 s' where id = any($1)", (ids,)
        )
        assert await post_due(first) == 2
        assert await post_due(second) == 0
    rows = await sql.fetch(
        "select sender_id, body, mentions from outbox where channel_id = $1 and position > $2",
        channel,
        before,
    )
    said = [(row["sender_id"], msgspec.json.decode(row["body"]), row["mentions"]) for row in rows]
    posted = [each for each in said if each[1]["type"] == "message.posted"]
    assert posted == [(owner.id, {"type": "message.posted", "text": text}, [bystander.id])]
    assert ok(await owner.get("/v1/me/scheduled"))["items"] == []
    [left] = ok(await leaver.get("/v1/me/scheduled"))["items"]
    assert left["failed"] == "not_a_member"


async def test_the_worker_posts_what_is_due(owner: Person, channel: str, sql: asyncpg.Connection) -> None:
    made = ok(await owner.post(f"/v1/channels/{channel}/scheduled", {"text": "now", "send_at": 0}), 201)

    async def posted() -> bool:
        waiting = ok(await owner.get("/v1/me/scheduled"))["items"]
        return made["id"] not in [each["id"] for each in waiting]

    await until(posted, what="it is posted")
    events = [event for _, event in await events_of(sql, channel) if event["type"] == "message.posted"]
    assert events == [{"type": "message.posted", "text": "now"}]
