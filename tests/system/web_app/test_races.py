"""Two at the same moment: one wins, the other is told so, and nothing is done or told twice."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence

import asyncpg
import httpx
import pytest

from services.contract.events import MessageEdited, MessagePinned, MessagePosted
from services.contract.ids import new_event_id
from tests.stack.waiting import until
from tests.system.web_app.conftest import Web
from tests.system.web_app.people import PASSWORD, Person, join, log_in, ok, refused, sign_up, unique
from tests.system.web_app.records import events_of, outbox, outbox_end, play
from web_app.scheduled.sender import post_due


def sorted_codes(answers: Sequence[httpx.Response]) -> list[str]:
    """Each answer's problem code, or its status when it is a success."""
    return sorted(str(each.status_code) if each.is_success else each.json()["code"] for each in answers)


async def test_one_of_many_gets_the_slug(web: Web) -> None:
    body = {
        "workspace_slug": unique("team"),
        "workspace_name": "T",
        "name": "N",
        "email": "a@example.com",
        "password": PASSWORD,
    }
    answers = await asyncio.gather(*(web.http.post("/v1/workspaces", json=body) for _ in range(8)))
    assert sorted_codes(answers) == ["201", *["name_taken"] * 7]


async def test_one_of_many_gets_the_channels_name(owner: Person) -> None:
    body = {"kind": "public", "name": unique("room")}
    answers = await asyncio.gather(*(owner.post("/v1/channels", body) for _ in range(8)))
    assert sorted_codes(answers) == ["201", *["name_taken"] * 7]


async def test_renaming_two_channels_alike(owner: Person) -> None:
    name = unique("room")
    channels = [await owner.new_channel() for _ in range(6)]
    answers = await asyncio.gather(
        *(owner.ask("PATCH", f"/v1/channels/{each}", {"name": name}) for each in channels)
    )
    assert sorted_codes(answers) == ["200", *["name_taken"] * 5]


async def test_one_direct_channel_comes_of_many_wishes(owner: Person, sql: asyncpg.Connection) -> None:
    member = await join(owner)
    answers = await asyncio.gather(
        *(owner.post("/v1/channels/direct", {"user_ids": [member.id]}) for _ in range(5)),
        *(member.post("/v1/channels/direct", {"user_ids": [owner.id]}) for _ in range(5)),
    )
    assert sorted(each.status_code for each in answers) == [*[200] * 9, 201]
    [channel] = {each.json()["channel"]["id"] for each in answers}
    assert [event["type"] for _, event in await events_of(sql, channel)] == [
        "channel.created",
        "members.added",
    ]


async def test_joining_at_once_is_told_once_each_and_in_the_order_of_versions(
    owner: Person, sql: asyncpg.Connection
) -> None:
    channel = await owner.new_channel()
    people = [await join(owner) for _ in range(4)]
    path = f"/v1/channels/{channel}"
    answers = await asyncio.gather(
        *(person.post(f"{path}/join") for person in people for _ in range(3)),
        *(owner.post(f"{path}/members", {"user_ids": [each.id for each in people]}) for _ in range(3)),
    )
    assert sorted_codes(answers) == ["200"] * 15
    added = [event for _, event in await events_of(sql, channel) if event["type"] == "members.added"][1:]
    assert sorted(user_id for event in added for user_id in event["user_ids"]) == sorted(p.id for p in people)
    versions = [event["version"] for event in added]
    assert versions == sorted(set(versions))


async def test_coming_and_going_at_once_ends_where_the_last_event_says(
    owner: Person, sql: asyncpg.Connection
) -> None:
    channel, member = await owner.new_channel(), await join(owner)
    path = f"/v1/channels/{channel}"
    steps = ["join", "leave"] * 8
    await member.post(f"{path}/join")
    answers = await asyncio.gather(*(member.post(f"{path}/{step}") for step in steps))
    assert sorted_codes(answers) == ["200"] * 16
    events = [event for _, event in await events_of(sql, channel)][2:]
    versions = [event["version"] for event in events]
    assert versions == sorted(set(versions))
    kinds = [event["type"] for event in events]
    assert all(one != other for one, other in itertools.pairwise(kinds))
    row = await sql.fetchrow(
        "select member, version from memberships where channel_id = $1 and user_id = $2", channel, member.id
    )
    assert row is not None
    assert (row["member"], row["version"]) == (kinds[-1] == "members.added", versions[-1])


async def test_somebody_removed_can_no_longer_add_others(owner: Person, sql: asyncpg.Connection) -> None:
    """The membership counts as it is once the channel's lock is had, not as it was when waiting began."""
    channel, member, third = await owner.new_channel("private"), await join(owner), await join(owner)
    await owner.add(channel, member)
    async with sql.transaction():
        await sql.execute("select 1 from channels where id = $1 for update", channel)
        await sql.execute(
            "update memberships set member = false, version = nextval('row_version')"
            " where channel_id = $1 and user_id = $2", channel, member.id,
        )  # fmt: skip
        adding = asyncio.create_task(member.post(f"/v1/channels/{channel}/members", {"user_ids": [third.id]}))
        await _waits_for_a_lock(sql)
    refused(await adding, "not_found")


async def test_a_key_used_twice_at_once_is_one_command(owner: Person, sql: asyncpg.Connection) -> None:
    key, body = new_event_id(), {"kind": "public", "name": unique("room")}
    before = await outbox_end(sql)
    answers = await asyncio.gather(*(owner.post("/v1/channels", body, key=key) for _ in range(6)))
    assert sorted_codes(answers) == ["201"] * 6
    assert len({each.text for each in answers}) == 1
    assert (await outbox(sql, before)).count("event:channel.created") == 1


async def test_processes_that_share_a_login_may_refresh_at_once(owner: Person) -> None:
    body = {"refresh_token": owner.tokens["refresh_token"]}
    answers = await asyncio.gather(*(owner.http.post("/v1/auth/refresh", json=body) for _ in range(4)))
    assert sorted_codes(answers) == ["200"] * 4
    fresh = [answer.json() for answer in answers]
    assert len({each["refresh_token"] for each in fresh}) == 4
    for each in fresh:
        owner.tokens = each
        ok(await owner.get("/v1/me"))


async def test_of_the_successors_of_one_refresh_token_one_goes_on(owner: Person) -> None:
    body = {"refresh_token": owner.tokens["refresh_token"]}
    answers = await asyncio.gather(*(owner.http.post("/v1/auth/refresh", json=body) for _ in range(2)))
    answers = await asyncio.gather(
        *(
            owner.http.post("/v1/auth/refresh", json={"refresh_token": each.json()["refresh_token"]})
            for each in answers
        )
    )
    assert sorted_codes(answers) == ["200", "refresh_reused"]
    owner.tokens = next(each.json() for each in answers if each.is_success)
    refused(await owner.get("/v1/me"), "unauthenticated")


async def test_an_invitation_accepted_twice_at_once_makes_one_account(owner: Person) -> None:
    invited = ok(await owner.post("/v1/invites", {"email": f"{unique('x')}@example.com"}), 201)
    body = {"token": invited["token"], "name": "X", "password": PASSWORD}
    answers = await asyncio.gather(*(owner.http.post("/v1/invites/accept", json=body) for _ in range(4)))
    assert sorted_codes(answers) == ["201", *["not_found"] * 3]


async def test_two_owners_cannot_deactivate_each_other(web: Web) -> None:
    for _ in range(5):
        first = await sign_up(web.http)
        second = await join(first, "owner")
        answers = await asyncio.gather(
            first.post(f"/v1/users/{second.id}/deactivate"), second.post(f"/v1/users/{first.id}/deactivate")
        )
        assert sorted(each.is_success for each in answers) == [False, True], [each.text for each in answers]


async def test_who_logs_in_while_being_deactivated_is_out(owner: Person, sql: asyncpg.Connection) -> None:
    member = await join(owner)
    body = {"workspace_slug": member.workspace_slug, "email": member.email, "password": PASSWORD}
    answers = await asyncio.gather(
        *(owner.http.post("/v1/auth/login", json=body) for _ in range(6)),
        owner.post(f"/v1/users/{member.id}/deactivate"),
    )
    assert answers[-1].is_success
    alive = await sql.fetchval(
        "select count(*) from sessions where user_id = $1 and revoked_at is null", member.id
    )
    assert alive == 0
    for each in answers[:-1]:
        if each.is_success:
            member.tokens = each.json()["tokens"]
            refused(await member.get("/v1/me"), "unauthenticated")


async def test_owners_who_make_each_other_members_at_once_leave_one(web: Web) -> None:
    for _ in range(5):
        first = await sign_up(web.http)
        second = await join(first, "owner")
        answers = await asyncio.gather(
            first.ask("PATCH", f"/v1/users/{second.id}", {"role": "member"}),
            second.ask("PATCH", f"/v1/users/{first.id}", {"role": "member"}),
        )
        assert sorted_codes(answers) == ["200", "forbidden"]


async def test_who_logs_in_with_the_old_password_while_it_is_changed_is_out(
    owner: Person, sql: asyncpg.Connection
) -> None:
    old = {"workspace_slug": owner.workspace_slug, "email": owner.email, "password": PASSWORD}
    new = {"current_password": PASSWORD, "new_password": "another long password"}
    answers = await asyncio.gather(
        *(owner.http.post("/v1/auth/login", json=old) for _ in range(6)),
        owner.post("/v1/auth/password", new),
    )
    assert answers[-1].status_code == 204
    alive = await sql.fetch("select id from sessions where user_id = $1 and revoked_at is null", owner.id)
    assert [row["id"] for row in alive] == [owner.session_id]


async def test_an_invitation_is_either_accepted_or_withdrawn(owner: Person, sql: asyncpg.Connection) -> None:
    for _ in range(5):
        email = f"{unique('x')}@example.com"
        invited = ok(await owner.post("/v1/invites", {"email": email}), 201)
        body = {"token": invited["token"], "name": "X", "password": PASSWORD}
        answers = await asyncio.gather(
            owner.http.post("/v1/invites/accept", json=body),
            owner.ask("DELETE", f"/v1/invites/{invited['invite']['id']}"),
        )
        assert sorted_codes(answers) in (["201", "not_found"], ["204", "not_found"])
        there = await sql.fetchval("select count(*) from users where email = $1", email)
        assert there == answers[0].is_success


async def test_a_pages_states_and_its_head_are_of_one_moment(owner: Person, sql: asyncpg.Connection) -> None:
    """Or whoever applies the events after the head to them would count an edit or a reply twice."""
    channel = await owner.new_channel()
    path = f"/v1/channels/{channel}"
    await play(sql, channel, [(owner.id, MessagePosted(text="x")), (owner.id, MessagePinned(target=1))])
    for seq, view in ((3, "messages"), (4, "pins"), (5, "threads/1")):
        async with sql.transaction():
            await sql.execute("lock table messages in access exclusive mode")
            asked = asyncio.create_task(owner.get(f"{path}/{view}"))
            await _waits_for_a_lock(sql)
            await play(sql, channel, [(owner.id, MessageEdited(target=1, text=f"{seq}"))], first=seq)
        page = ok(await asked)
        [message] = [page["root"]] if "root" in page else page["messages"]
        assert (page["head"], message["edits"], message["text"]) == (seq, seq - 2, str(seq)), view


async def test_who_lost_the_role_while_waiting_changes_no_settings(
    owner: Person, sql: asyncpg.Connection
) -> None:
    admin = await join(owner, "admin")
    workspace = ok(await owner.get("/v1/workspace"))["id"]
    async with sql.transaction():
        await sql.execute("select 1 from workspaces where id = $1 for no key update", workspace)
        await sql.execute("update users set role = 'member' where id = $1", admin.id)
        changing = asyncio.create_task(admin.ask("PATCH", "/v1/workspace", {"name": "Mine"}))
        await _waits_for_a_lock(sql)
    refused(await changing, "forbidden")


@pytest.mark.parametrize(
    ("meanwhile", "code"),
    [
        ("update channels set archived_at = now() where id = $1", "archived"),
        ("update memberships set member = false where channel_id = $1", "not_a_member"),
    ],
)
async def test_what_is_due_is_judged_when_nobody_can_leave_or_archive_any_more(
    web: Web, owner: Person, sql: asyncpg.Connection, meanwhile: str, code: str
) -> None:
    channel = await owner.new_channel()
    wanted = {"text": "later", "send_at": int(time.time() * 1000) + 86_400_000}
    made = ok(await owner.post(f"/v1/channels/{channel}/scheduled", wanted), 201)

    async def post() -> int:
        async with web.parts.database.transaction() as db:
            # Made due only here, so that the worker of the running web app does not come first.
            await db.exec_driver_sql(
                "update scheduled_messages set send_at = now() - interval '1 s' where id = $1", (made["id"],)
            )
            return await post_due(db)

    async with sql.transaction():
        await sql.execute("select 1 from channels where id = $1 for update", channel)
        posting = asyncio.create_task(post())
        await _waits_for_a_lock(sql)
        await sql.execute(meanwhile, channel)
    assert await posting == 1
    assert "message.posted" not in [event["type"] for _, event in await events_of(sql, channel)]
    [left] = ok(await owner.get("/v1/me/scheduled"))["items"]
    assert left["failed"] == code


async def test_different_channels_do_not_wait_for_each_other(owner: Person, sql: asyncpg.Connection) -> None:
    locked, free, member = await owner.new_channel(), await owner.new_channel(), await join(owner)
    other = await log_in(owner)
    async with sql.transaction():
        await sql.execute("select 1 from channels where id = $1 for update", locked)
        waiting = asyncio.create_task(owner.post(f"/v1/channels/{locked}/members", {"user_ids": [member.id]}))
        await _waits_for_a_lock(sql)
        await other.add(free, member)
        assert not waiting.done()
    ok(await waiting)


async def _waits_for_a_lock(sql: asyncpg.Connection) -> None:
    async def somebody() -> int:
        return int(
            await sql.fetchval(
                "select count(*) from pg_stat_activity"
                " where datname = current_database() and wait_event_type = 'Lock'"
            )
        )

    await until(somebody, what="somebody waits for a lock", every=0.01)
