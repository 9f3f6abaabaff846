"""User groups: a handle for people who are mentioned together."""

from __future__ import annotations

import asyncio

import asyncpg

from services.contract.directory import GroupRecord
from services.contract.ids import new_event_id
from services.database.directory_state import current_records
from tests.system.web_app.conftest import Web
from tests.system.web_app.people import Person, join, ok, refused
from tests.system.web_app.records import outbox, outbox_end


async def record(web: Web, group_id: str) -> GroupRecord:
    """What channel servers are told of it now."""
    async with web.parts.database.reading() as db:
        found = (await current_records(db, [f"group:{group_id}"]))[f"group:{group_id}"]
    assert isinstance(found, GroupRecord)
    return found


async def test_a_group_from_its_making_to_its_end(owner: Person, web: Web, sql: asyncpg.Connection) -> None:
    one, two = await join(owner), await join(owner)
    body = {"handle": "engineers", "name": "Engineers", "user_ids": [one.id, one.id]}
    end = await outbox_end(sql)
    key = new_event_id()
    made = ok(await owner.post("/v1/groups", body, key=key), 201)
    assert ok(await owner.post("/v1/groups", body, key=key), 201) == made
    group_id = made["group"]["id"]
    path = f"/v1/groups/{group_id}"
    assert await outbox(sql, end) == [f"group:{group_id}"]
    assert made["group"]["member_count"] == 1
    assert (await record(web, group_id)).user_ids == [one.id]

    changed = ok(await owner.post(f"{path}/members", {"user_ids": [one.id, two.id]}))
    assert changed["group"]["member_count"] == 2
    told = await record(web, group_id)
    assert told.user_ids == sorted([one.id, two.id])
    assert changed["directory_at"] == f"group:{group_id}@{told.version}"
    shown = ok(await one.get(path))
    assert shown["user_ids"] == sorted([one.id, two.id])
    assert ok(await one.get("/v1/groups"))["items"] == [changed["group"]]

    assert ok(await owner.ask("DELETE", f"{path}/members/{one.id}"))["group"]["member_count"] == 1
    refused(await owner.ask("DELETE", f"{path}/members/{one.id}"), "not_found")
    renamed = ok(await owner.ask("PATCH", path, {"handle": "keepers", "description": "Keep the engine"}))
    assert (renamed["group"]["handle"], renamed["group"]["name"]) == ("keepers", "Engineers")
    assert (await record(web, group_id)).handle == "keepers"

    assert (await owner.ask("DELETE", path)).status_code == 204
    refused(await owner.get(path), "not_found")
    assert not (await record(web, group_id)).active
    assert ok(await owner.get("/v1/groups"))["items"] == []
    ok(await owner.post("/v1/groups", body | {"handle": "keepers"}), 201)


async def test_a_handle_is_taken_once(owner: Person) -> None:
    body = {"handle": "engineers", "name": "Engineers"}
    answers = await asyncio.gather(*(owner.post("/v1/groups", body) for _ in range(5)))
    assert sorted(each.status_code for each in answers) == [201, 409, 409, 409, 409]
    other = ok(await owner.post("/v1/groups", body | {"handle": "others"}), 201)["group"]
    refused(await owner.ask("PATCH", f"/v1/groups/{other['id']}", {"handle": "engineers"}), "name_taken")
    for handle in ("x", "Engineers", "-x", "a b", "x" * 41):
        refused(await owner.post("/v1/groups", body | {"handle": handle}), "invalid_request")


async def test_only_active_people_of_the_workspace_are_put_in(owner: Person) -> None:
    gone = await join(owner)
    ok(await owner.post(f"/v1/users/{gone.id}/deactivate"))
    body = {"handle": "engineers", "name": "Engineers", "user_ids": [owner.id, gone.id]}
    refused(await owner.post("/v1/groups", body), "not_found")
    assert ok(await owner.get("/v1/groups"))["items"] == []


async def test_a_group_has_at_most_a_thousand_people(owner: Person, sql: asyncpg.Connection) -> None:
    group = ok(await owner.post("/v1/groups", {"handle": "crowd", "name": "Crowd"}), 201)["group"]["id"]
    workspace = ok(await owner.get("/v1/workspace"))["id"]
    await sql.execute(
        "insert into users (id, workspace_id, email, name, password_hash, role, version)"
        " select 'usr_' || md5($1 || n::text), $1, n || '@example.com', 'n', 'x', 'member', nextval('row_version')"
        " from generate_series(1, 1000) as n",
        workspace,
    )
    rows = await sql.fetch("select id from users where workspace_id = $1 and name = 'n'", workspace)
    path = f"/v1/groups/{group}/members"
    filled = ok(await owner.post(path, {"user_ids": [row["id"] for row in rows]}))
    assert filled["group"]["member_count"] == 1000
    refused(await owner.post(path, {"user_ids": [owner.id]}), "conflict")
    assert len(ok(await owner.get(f"/v1/groups/{group}"))["user_ids"]) == 1000


async def test_people_who_come_at_once_are_all_counted(owner: Person) -> None:
    people = [await join(owner) for _ in range(5)]
    group = ok(await owner.post("/v1/groups", {"handle": "crowd", "name": "Crowd"}), 201)["group"]["id"]
    path = f"/v1/groups/{group}/members"
    answers = await asyncio.gather(*(owner.post(path, {"user_ids": [each.id]}) for each in people))
    assert sorted(ok(each)["group"]["member_count"] for each in answers) == [1, 2, 3, 4, 5]
