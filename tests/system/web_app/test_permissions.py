"""Who may do what, as web_app/permissions.py says: every operation of the API, asked by every kind of person.

Generated from that table and the API's own description, so that an operation that is added is judged here by itself.
People stand inside or outside of a public and a private channel, in a workspace that leaves much to its members and
in one that leaves nothing to them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import asyncpg
import pytest

from services.contract.ids import new_entity_id, new_event_id
from services.contract.tokens import Claims
from tests.stack.servers import Database
from tests.system.security.slots import Operation, operations
from tests.system.web_app.conftest import Web
from tests.system.web_app.people import Person, log_in, ok, refused, sign_up, unique
from tests.system.web_app.records import store_messages
from web_app.main import build_api
from web_app.messages.states import permalink
from web_app.permissions import EXTENSION, ROLES, TABLE, lacking

OPERATIONS: Final = operations()
GUARDED: Final = sorted(name for name, each in OPERATIONS.items() if not each.public)
ACTIONS: Final[dict[str, str]] = {
    each["operationId"]: each[EXTENSION]
    for item in build_api().openapi()["paths"].values()
    for each in item.values()
}
REFUSALS: Final = {"forbidden", "not_a_member", "not_found", "unauthenticated"}

MARKING: Final = ("mark_read", "mark_unread", "mark_thread_read", "mark_thread_unread")
# Where the description's example would ask for more than the action itself.
BODIES: Final[dict[str, dict[str, Any]]] = {
    "create_invite": {"email": "somebody@example.com", "role": "guest"},
    # There are two messages: for later ones they would wait.
    **{name: {"seq": 1, "head": 2} for name in MARKING},
}
QUERIES: Final[dict[str, dict[str, str]]] = {"list_connections": {"node": "node-1"}}
# After these the next person stands before another channel.
CHANGE_WHO_SEES: Final = {"make_channel_private"}
PLACES: Final = ("outside", "inside", "maker")
# Lists show to everybody what is theirs to see.
FILTERED: Final = {"seen", "inside", "shares"}


class Case(NamedTuple):
    role: str
    place: str
    channel: str

    def facts(self, open_to_members: bool) -> set[str]:
        """What is true of this person, in the words of the table."""
        inside = self.place != "outside"
        held = {
            "inside": inside,
            "seen": inside or (self.channel == "public" and self.role != "guest"),
            "maker": self.place == "maker",
            "author": self.place == "maker",
            "shares": inside,
            "lesser": self.role != "guest",  # it is about an ordinary member
            "posting": open_to_members,
            "adding": open_to_members,
            "setting": open_to_members,
        }
        return {word for word, holds in held.items() if holds}


def cases() -> Iterator[Case]:
    for channel in ("public", "private"):
        for role in ROLES:
            for place in PLACES:
                if place != "maker" or role == "member":
                    yield Case(role, place, channel)


@dataclass
class Scene:
    """A workspace in which things can be done to `subject`, an ordinary member who is in both channels."""

    root: Person
    subject: Person
    open_to_members: bool
    people: dict[tuple[str, str], Person] = field(default_factory=dict)
    channels: dict[str, str] = field(default_factory=dict)

    async def ask(self, case: Case, name: str) -> str | None:
        """The code of the answer; None for a success."""
        operation = OPERATIONS[name]
        person = self.people[case.role, case.place]
        values = {}
        for place, prefix in operation.ids.items():
            values[place] = await self._id(prefix, case, person)
        path, query, body = operation.request(values)
        query |= QUERIES.get(name, {})
        answer = await person.ask(operation.method, path, BODIES.get(name, body), **query)
        assert answer.status_code < 500, (name, case, answer.text)
        return None if answer.is_success else str(answer.json()["code"])

    async def _id(self, prefix: str, case: Case, person: Person) -> str:
        if prefix == "grp":
            body = {"handle": unique("group"), "name": "Group", "user_ids": [self.subject.id]}
            return str(ok(await self.root.post("/v1/groups", body), 201)["group"]["id"])
        if prefix == "inv":
            body = {"email": f"{unique('new')}@example.com", "role": "member"}
            return str(ok(await self.root.post("/v1/invites", body), 201)["invite"]["id"])
        if prefix == "sch":
            room = await self.root.new_channel()
            await self.root.add(room, person)
            later = {"text": "x", "send_at": round(time.time() * 1000) + 86_400_000}
            return str(ok(await person.post(f"/v1/channels/{room}/scheduled", later), 201)["id"])
        if prefix == "p":
            return permalink(self.channels[case.channel], 1)
        found = {"ch": self.channels[case.channel], "usr": self.subject.id, "ses": person.session_id}
        return found[prefix]


async def accounts(web: Web, sql: asyncpg.Connection, root: Person, roles: list[str]) -> list[Person]:
    """People of these roles, logged in, straight into the database: by the front door it takes long."""
    workspace = await sql.fetchval("select workspace_id from users where id = $1", root.id)
    users = [new_entity_id("usr") for _ in roles]
    sessions = [new_entity_id("ses") for _ in roles]
    await sql.execute(
        "insert into users (id, workspace_id, email, name, password_hash, role, version)"
        " select id, $1, id || '@example.com', id, 'x', role, nextval('row_version')"
        " from unnest($2::text[], $3::text[]) as w(id, role)",
        workspace,
        users,
        roles,
    )
    await sql.execute(
        "insert into sessions (id, user_id, device, version) select id, user_id, '', nextval('row_version')"
        " from unnest($1::text[], $2::text[]) as w(id, user_id)",
        sessions,
        users,
    )
    now = int(time.time())
    people = []
    for user, session in zip(users, sessions, strict=True):
        token = web.parts.keys.sign("access", Claims(user, workspace, session, now + 600), now=now)
        tokens = {"access_token": token, "session_id": session}
        people.append(Person(web.http, user, f"{user}@example.com", root.workspace_slug, tokens))
    return people


async def scene(web: Web, sql: asyncpg.Connection, open_to_members: bool) -> Scene:
    root = await sign_up(web.http)
    who = [("member", "maker"), *((role, place) for role in ROLES for place in ("outside", "inside"))]
    subject, *people = await accounts(web, sql, root, ["member", *(role for role, _ in who)])
    here = Scene(root, subject, open_to_members, dict(zip(who, people, strict=True)))
    maker = here.people["member", "maker"]
    for kind in ("public", "private"):
        channel = here.channels[kind] = await maker.new_channel(kind)
        await maker.add(channel, subject, root, *(here.people[role, "inside"] for role in ROLES))
        await store_messages(sql, channel, maker.id, 2)
        if not open_to_members:
            closed = {"posting": "admins", "adding": "admins"}
            ok(await root.ask("PATCH", f"/v1/channels/{channel}/settings", closed))
    leave_to = "members" if open_to_members else "admins"
    settings = ("who_may_create_channels", "who_may_invite", "who_may_manage_groups")
    ok(await root.ask("PATCH", "/v1/workspace", dict.fromkeys(settings, leave_to)))
    return here


@pytest.fixture(scope="module")
async def scenes(web: Web, web_database: Database) -> dict[bool, Scene]:
    """For what changes nothing: by whether it leaves much to members."""
    sql = await web_database.connect()
    try:
        return {open_to_members: await scene(web, sql, open_to_members) for open_to_members in (True, False)}
    finally:
        await sql.close()


def what_is_lacking(operation: Operation, case: Case, open_to_members: bool) -> str | None:
    word = lacking(ACTIONS[operation.name], case.role, case.facts(open_to_members))
    return None if word in FILTERED and not operation.ids else word


def depends_on_settings(name: str) -> bool:
    words = {word for role in ROLES for word in TABLE[ACTIONS[name]].of(role)}
    return bool(words & {"posting", "adding", "setting"})


@pytest.mark.parametrize("name", GUARDED)
async def test_who_may_not(scenes: dict[bool, Scene], name: str) -> None:
    operation = OPERATIONS[name]
    for open_to_members in (True, False) if depends_on_settings(name) else (True,):
        for case in cases():
            if what_is_lacking(operation, case, open_to_members) is not None:
                code = await scenes[open_to_members].ask(case, name)
                assert code in REFUSALS, (name, case, open_to_members, code)


@pytest.mark.parametrize("name", GUARDED)
async def test_who_may(web: Web, sql: asyncpg.Connection, scenes: dict[bool, Scene], name: str) -> None:
    """Whoever may is not refused: it succeeds, or something else than their permission is in the way."""
    operation = OPERATIONS[name]
    for open_to_members in (True, False) if depends_on_settings(name) else (True,):
        allowed = [each for each in cases() if what_is_lacking(operation, each, open_to_members) is None]
        if not any(prefix == "ch" for prefix in operation.ids.values()):
            allowed = [each for each in allowed if each.channel == "private"]
        here = scenes[open_to_members]
        if operation.method != "GET":
            here = await scene(web, sql, open_to_members)
        assert allowed, "somebody may"
        for case in allowed:
            if name in CHANGE_WHO_SEES:
                here = await scene(web, sql, open_to_members)
            code = await here.ask(case, name)
            assert code not in REFUSALS, (name, case, open_to_members, code)


@pytest.mark.parametrize("name", GUARDED)
async def test_nobody_without_a_living_session(scenes: dict[bool, Scene], name: str) -> None:
    here = scenes[True]
    operation = OPERATIONS[name]
    path, query, body = operation.request(
        {
            place: f"{prefix}_{'0' * 32}{'_1' if prefix == 'p' else ''}"
            for place, prefix in operation.ids.items()
        }
    )
    ended = await log_in(here.root)
    assert (await ended.post("/v1/auth/logout")).status_code == 204
    refused(await ended.ask(operation.method, path, body, **query), "unauthenticated")
    refused(await here.root.http.request(operation.method, path, json=body, params=query), "unauthenticated")


@pytest.mark.parametrize("name", [each for each in GUARDED if ("path", "channel_id") in OPERATIONS[each].ids])
async def test_a_channel_that_is_hidden_and_none_at_all_look_the_same(
    scenes: dict[bool, Scene], name: str
) -> None:
    here = scenes[True]
    operation = OPERATIONS[name]
    values = {place: here.subject.id for place, prefix in operation.ids.items() if prefix == "usr"}
    for role in ("owner", "member", "guest"):
        person = here.people[role, "outside"]
        if role == "owner" and not {"seen", "no"} & set(TABLE[ACTIONS[name]].of(role)):
            continue
        answers = []
        for channel in (here.channels["private"], "ch_" + "0" * 32):
            path, query, body = operation.request(values | {("path", "channel_id"): channel})
            answer = await person.ask(operation.method, path, body, **query)
            said = answer.json() if answer.content else {}
            said.pop("request_id", None)
            answers.append((answer.status_code, said))
        assert answers[0] == answers[1], role


async def test_a_guest_inside_may_talk_and_read_and_no_more(scenes: dict[bool, Scene]) -> None:
    here = scenes[True]
    guest = here.people["guest", "inside"]
    channel = f"/v1/channels/{here.channels['private']}"
    ok(await guest.post(f"{channel}/messages", {"text": "hello", "client_msg_id": new_event_id()}), 201)
    ok(await guest.get(f"{channel}/events"))
    ok(await guest.get(f"{channel}/members"))
    refused(await guest.ask("PATCH", channel, {"topic": "x"}), "forbidden")
    refused(await guest.post(f"{channel}/members", {"user_ids": [guest.id]}), "forbidden")
    refused(await guest.post(f"{channel}/archive"), "forbidden")
    listed = ok(await guest.get("/v1/channels"))["items"]
    assert {each["id"] for each in listed} == set(here.channels.values())


async def test_guests_see_whom_they_share_a_channel_with(scenes: dict[bool, Scene]) -> None:
    here = scenes[True]
    inside, outside = here.people["guest", "inside"], here.people["guest", "outside"]
    shown = {each["id"] for each in ok(await inside.get("/v1/users", limit=200))["items"]}
    assert {here.subject.id, inside.id} <= shown
    assert not shown & {here.people[role, "outside"].id for role in ROLES}
    assert [each["id"] for each in ok(await outside.get("/v1/users"))["items"]] == [outside.id]
    refused(await outside.get(f"/v1/users/{here.subject.id}"), "not_found")
    refused(await outside.post("/v1/channels/direct", {"user_ids": [here.subject.id]}), "not_found")
