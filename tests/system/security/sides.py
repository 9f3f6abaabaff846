"""Workspaces with something of everything in them: what others try to reach, and what is good to ask for there."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import httpx

from services.contract.ids import new_event_id
from tests.system.security.slots import Operation
from tests.system.web_app.conftest import Web
from tests.system.web_app.people import PASSWORD, Person, join, ok, sign_up, unique
from tests.system.web_app.records import store_messages
from web_app.messages.states import permalink

SECRET_NAME: Final = "kept from strangers"

MESSAGES: Final = 3
"""In each channel."""


@dataclass
class Side:
    """A workspace: its people, and by kind the ids that outsiders will name."""

    owner: Person
    member: Person
    ids: dict[str, list[str]]
    words: list[str]

    @property
    def everything(self) -> list[str]:
        """All its ids."""
        return [each for ids in self.ids.values() for each in ids]

    def reveals(self, answer: httpx.Response, asked: Iterable[str]) -> list[str]:
        """What an answer says of this workspace beyond what was asked with."""
        known = set(asked)
        found = [each for ids in self.ids.values() for each in ids if each in answer.text]
        # What is numbered is not that whose number only begins alike.
        found += [word for word in self.words if re.search(rf"{re.escape(word)}(?!\d)", answer.text)]
        return [word for word in found if word not in known]


async def side(web: Web, sql: asyncpg.Connection) -> Side:
    owner = await sign_up(web.http)
    member, third = await asyncio.gather(join(owner), join(owner))
    name = unique(SECRET_NAME)
    public = await owner.new_channel("public", name)
    private = await owner.new_channel("private", f"{name}!")
    direct = ok(await owner.post("/v1/channels/direct", {"user_ids": [member.id]}), 201)["channel"]["id"]
    group = ok(await owner.post("/v1/channels/direct", {"user_ids": [member.id, third.id]}), 201)["channel"][
        "id"
    ]
    for channel in (public, private):
        await owner.add(channel, member)
    for channel in (public, private, direct, group):
        await store_messages(sql, channel, owner.id, MESSAGES)
    invited = ok(
        await owner.post("/v1/invites", {"email": f"{unique('guest')}@example.com", "role": "guest"}), 201
    )
    handle = unique("kept-from-strangers")
    group_body = {"handle": handle, "name": name, "user_ids": [member.id]}
    user_group = ok(await owner.post("/v1/groups", group_body), 201)["group"]["id"]
    later = {"text": name, "send_at": round(time.time() * 1000) + 86_400_000}
    scheduled = ok(await owner.post(f"/v1/channels/{private}/scheduled", later), 201)["id"]
    ids = {
        "grp": [user_group],
        "sch": [scheduled],
        "p": [permalink(private, 1)],
        "ch": [public, private, direct, group],
        "usr": [owner.id, member.id],
        "ses": [owner.session_id, member.session_id],
        "inv": [invited["invite"]["id"]],
        "ws": [ok(await owner.get("/v1/me"))["workspace"]["id"]],
    }
    return Side(owner, member, ids, [name, handle, owner.workspace_slug, invited["invite"]["email"]])


async def everything_of(sql: asyncpg.Connection, ids: Iterable[str]) -> dict[str, list[str]]:
    """All rows of all tables that name one of these ids, also those that say what is to be published."""
    named = [f"%{each}%" for each in ids]
    tables = await sql.fetch("select tablename from pg_tables where schemaname = 'public' order by 1")
    return {
        table: [
            row[0]
            for row in await sql.fetch(
                f'select t::text from "{table}" t where t::text like any($1) order by 1', named
            )
        ]
        for (table,) in tables
    }


async def well_asked(side: Side, operation: Operation) -> tuple[str, dict[str, str], dict[str, Any] | None]:
    """(path, query, body) with which the owner of this workspace succeeds, whatever was asked before."""
    own = {kind: values[0] for kind, values in side.ids.items()} | {"usr": side.member.id}
    path, query, body = operation.request({place: own[prefix] for place, prefix in operation.ids.items()})
    return path, query, None if body is None else body | await _fitting(side, operation.name)


async def _fitting(side: Side, operation: str) -> dict[str, Any]:
    """What an example cannot know, and names that are not taken yet."""
    slug, later = side.owner.workspace_slug, time.time() + 86_400
    match operation:
        case "sign_up":
            return {"workspace_slug": unique("another")}
        case "log_in":
            return {"workspace_slug": slug, "email": side.owner.email, "password": PASSWORD}
        case "refresh_tokens":
            return {"refresh_token": side.owner.tokens["refresh_token"]}
        case "accept_invite":
            wanted = {"email": f"{unique('new')}@example.com", "role": "member"}
            return {"token": ok(await side.owner.post("/v1/invites", wanted), 201)["token"]}
        case "create_invite":
            return {"email": f"{unique('new')}@example.com"}
        case "change_password":
            return {"current_password": PASSWORD}
        case "delete_workspace":
            return {"slug": slug}
        case "create_channel":
            return {"name": unique("room")}
        case "create_group" | "change_group":
            return {"handle": unique("group")}
        case "post_message":
            return {"client_msg_id": new_event_id()}
        case "schedule_message" | "change_scheduled":
            return {"send_at": round(later * 1000)}
        case "snooze":
            return {"until": dt.datetime.fromtimestamp(later, dt.UTC).isoformat()}
        case "mark_read" | "mark_unread" | "mark_thread_read" | "mark_thread_unread":
            return {"seq": 1, "head": MESSAGES}
    return {}
