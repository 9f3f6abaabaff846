"""Nobody touches another workspace, or a channel that is not theirs, by any operation of the REST API.

Generated from the API's description: whatever takes an id is called with every kind of id of somebody else's, alone
and mixed with one's own. The answer must be a refusal, must tell nothing, and what is theirs must be as it was.
"""

from __future__ import annotations

import time
from typing import Any, Final

import asyncpg
import httpx
import pytest

from services.contract.ids import new_event_id
from services.contract.tokens import Claims
from tests.system.security.sides import SECRET_NAME, Side, everything_of, side, well_asked
from tests.system.security.slots import Operation, fillings, operations
from tests.system.web_app.conftest import Web
from tests.system.web_app.people import Person, join, ok, refused, unique

# These ask for no access token: what they trust is a password or a random token of 256 bits (test_auth, test_users).
PUBLIC: Final = {"sign_up", "log_in", "refresh_tokens", "accept_invite"}

OPERATIONS: Final = operations()
# These take no id, so there is nothing of others to name: that each shows and does only one's own is tested below.
WITHOUT_IDS: Final = {name for name, each in OPERATIONS.items() if not each.ids and not each.public}
WRITING: Final = sorted(name for name in WITHOUT_IDS if OPERATIONS[name].method != "GET")
GENERATED: Final = sorted(set(OPERATIONS) - WITHOUT_IDS - PUBLIC)


def test_every_operation_is_generated_or_listed() -> None:
    assert {name for name, each in OPERATIONS.items() if each.public} == PUBLIC
    named = [name for name, each in OPERATIONS.items() if "{" in each.path]
    assert set(named) <= set(GENERATED), "what an address names is an id of a known kind"
    assert len(GENERATED) >= 30
    assert len(WITHOUT_IDS) >= 20
    assert len(WRITING) >= 10


@pytest.fixture(scope="module")
async def theirs(web: Web, web_database: Any) -> Side:
    connection = await web_database.connect()
    try:
        return await side(web, connection)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
async def ours(web: Web, web_database: Any) -> Side:
    connection = await web_database.connect()
    try:
        return await side(web, connection)
    finally:
        await connection.close()


async def attack(
    sql: asyncpg.Connection, attacker: Person, operation: Operation, own: Side, victim: Side
) -> int:
    """Call an operation with every mixture of ids; gives how many calls that were."""
    own_ids = {kind: values[0] for kind, values in own.ids.items()}
    touched = {kind: values for kind, values in victim.ids.items() if kind != "ws"}
    before = await everything_of(sql, (each for values in touched.values() for each in values))
    calls = 0
    for values in fillings(operation, own_ids, victim.ids):
        path, query, body = operation.request(values)
        for key in (None, new_event_id()):
            answer = await attacker.http.request(
                operation.method,
                path,
                params=query,
                json=body,
                headers=attacker.headers | ({"idempotency-key": key} if key and not _has_id(body) else {}),
            )
            said = f"{operation.method} {path} {body}: {answer.status_code} {answer.text}"
            if any(place[0] == "query" for place in operation.ids) and answer.status_code == 200:
                assert answer.json() == {"items": [], "next_cursor": None}, (
                    said
                )  # a filter that finds nothing
            else:
                assert answer.status_code in (403, 404), said
                assert answer.json()["code"] in ("forbidden", "not_found", "not_a_member"), said
            assert victim.reveals(answer, values.values()) == [], said
            calls += 1
    assert await everything_of(sql, (each for values in touched.values() for each in values)) == before
    return calls


def _has_id(body: dict[str, Any] | None) -> bool:
    return body is not None and "client_msg_id" in body


@pytest.mark.parametrize("operation", GENERATED)
async def test_nothing_of_another_workspace_can_be_touched(
    sql: asyncpg.Connection, ours: Side, theirs: Side, operation: str
) -> None:
    """By its owner, who may do the most at home."""
    assert await attack(sql, ours.owner, OPERATIONS[operation], ours, theirs) > 0


@pytest.fixture(scope="module")
async def outsiders(theirs: Side) -> dict[str, Person]:
    """People of the same workspace who are in none of its private channels; one of them is an admin."""
    return {role: await join(theirs.owner, role) for role in ("member", "admin", "guest")}


@pytest.mark.parametrize("role", ["member", "admin", "guest"])
@pytest.mark.parametrize(
    "operation",
    [name for name in GENERATED if set(OPERATIONS[name].ids.values()) & {"ch"}],
)
async def test_private_direct_and_group_channels_are_closed_to_everybody_else_in_the_workspace(
    sql: asyncpg.Connection, theirs: Side, outsiders: dict[str, Person], role: str, operation: str
) -> None:
    attacker = outsiders[role]
    hidden = Side(
        theirs.owner,
        theirs.member,
        {"ch": theirs.ids["ch"][1:], "usr": [attacker.id]},
        [f"{theirs.words[0]}!"],
    )
    own = Side(attacker, attacker, {"ch": [theirs.ids["ch"][1]], "usr": [attacker.id]}, [])
    assert await attack(sql, attacker, OPERATIONS[operation], own, hidden) > 0


@pytest.mark.parametrize(
    "operation",
    [name for name in sorted(WITHOUT_IDS) if OPERATIONS[name].method == "GET"],
)
async def test_lists_show_ones_own_workspace_only(ours: Side, theirs: Side, operation: str) -> None:
    """Also when the page is to begin at somebody else's id."""
    wanted = OPERATIONS[operation]
    starts = [None, *(each for values in theirs.ids.values() for each in values)]
    for start in starts:
        answer = await ours.owner.get(wanted.path, **{"cursor": start, **wanted.required})
        assert theirs.reveals(answer, [start] if start else []) == [], answer.text
        assert answer.status_code in (200, 422), answer.text
        if start is None:
            assert answer.status_code == 200, answer.text


@pytest.fixture
async def short_lived(web: Web, sql: asyncpg.Connection) -> Side:
    """A workspace to do everything to. Its member is an owner too, so that either may leave it."""
    made = await side(web, sql)
    ok(await made.owner.ask("PATCH", f"/v1/users/{made.member.id}", {"role": "owner"}))
    return made


@pytest.mark.parametrize("operation", WRITING)
async def test_what_names_nothing_is_done_to_ones_own_workspace_only(
    sql: asyncpg.Connection, short_lived: Side, theirs: Side, operation: str
) -> None:
    """By its owner, and it is done."""
    wanted = OPERATIONS[operation]
    before = await everything_of(sql, theirs.everything)
    path, query, body = await well_asked(short_lived, wanted)
    answer = await short_lived.owner.ask(wanted.method, path, body, **query)
    assert answer.is_success, answer.text
    assert theirs.reveals(answer, []) == [], answer.text
    assert await everything_of(sql, theirs.everything) == before


async def test_a_workspace_is_not_deleted_by_another_ones_slug(
    sql: asyncpg.Connection, short_lived: Side, theirs: Side
) -> None:
    both = [*short_lived.everything, *theirs.everything]
    before = await everything_of(sql, both)
    answer = await short_lived.owner.post("/v1/workspace/delete", {"slug": theirs.owner.workspace_slug})
    refused(answer, "conflict")
    assert theirs.reveals(answer, [theirs.owner.workspace_slug]) == [], answer.text
    assert await everything_of(sql, both) == before


async def test_the_channel_list_shows_no_channel_that_is_hidden(
    theirs: Side, outsiders: dict[str, Person]
) -> None:
    hidden = theirs.ids["ch"][1:]
    for role, person in outsiders.items():
        for member in (None, "true", "false"):
            listed = await person.get("/v1/channels", member=member, limit=200)
            assert not [each for each in hidden if each in listed.text], (role, member)
            shown = theirs.ids["ch"][0] in listed.text
            assert shown == (role != "guest" and member != "true"), (role, member)


async def test_somebody_elses_idempotency_key_gives_no_answer_of_theirs(ours: Side, theirs: Side) -> None:
    key = new_event_id()
    body = {"kind": "private", "name": unique(SECRET_NAME)}
    made = ok(await theirs.owner.post("/v1/channels", body, key=key), 201)
    again = ok(await theirs.owner.post("/v1/channels", body, key=key), 201)
    assert again["channel"]["id"] == made["channel"]["id"]
    for attacker in (ours.owner, theirs.member):
        mine = ok(await attacker.post("/v1/channels", body | {"name": unique("own")}, key=key), 201)
        assert mine["channel"]["id"] != made["channel"]["id"]
        assert body["name"] not in str(mine)


async def test_an_access_token_speaks_for_one_workspace_only(web: Web, ours: Side, theirs: Side) -> None:
    """Signed by us, but with the workspace, the person or the session of others in it."""
    ws, usr, ses = "ws", "usr", "ses"
    now = int(time.time())
    good = Claims(ours.ids[usr][0], ours.ids[ws][0], ours.ids[ses][0], now + 60)

    async def asked(claims: Claims) -> httpx.Response:
        token = web.parts.keys.sign("access", claims, now=now)
        return await web.http.get("/v1/me", headers={"authorization": f"Bearer {token}"})

    ok(await asked(good))
    for changed in (
        good._replace(workspace_id=theirs.ids[ws][0]),
        good._replace(user_id=theirs.ids[usr][0]),
        good._replace(session_id=theirs.ids[ses][0]),
        good._replace(user_id=theirs.ids[usr][0], workspace_id=theirs.ids[ws][0]),
    ):
        refused(await asked(changed), "unauthenticated")
