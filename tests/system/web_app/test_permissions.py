"""Who may do what: every operation of the API, asked by every kind of person.

The table below names each operation once; a test compares it with the API's own description, so that an operation
that is added must be judged here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.system.web_app.conftest import Web
from tests.system.web_app.people import PASSWORD, Person, join, log_in, ok, refused, sign_up, unique
from web_app.main import build_api

METHODS: Final = ("get", "post", "patch", "delete", "put")
PUBLIC: Final = {"sign_up", "log_in", "refresh_tokens", "accept_invite"}


@dataclass
class Scene:
    """A workspace with a channel of each kind. The owner made the channels; `member` and `guest_inside` are in them.

    `outsider`, `guest` and `admin` are in none of them; `stranger` owns another workspace; `subject` is a member
    whom things are done to.
    """

    people: dict[str, Person]
    public: str
    private: str
    subject: Person

    def path(self, template: str) -> str:
        return (
            template.replace("{channel_id}", self.private)
            .replace("{user_id}", self.subject.id)
            .replace("{session_id}", self.subject.session_id)
            .replace("{invite_id}", "inv_" + "0" * 32)
        )


async def scene(web: Web) -> Scene:
    owner = await sign_up(web.http)
    stranger, admin, member, guest, outsider, subject = await asyncio.gather(
        sign_up(web.http), *(join(owner, role) for role in ("admin", "member", "guest", "member", "member"))
    )
    people = {
        "owner": owner,
        "stranger": stranger,
        "admin": admin,
        "member": member,
        "guest": guest,
        "outsider": outsider,
    }
    public, private = await owner.new_channel("public"), await owner.new_channel("private")
    for channel in (public, private):
        await owner.add(channel, member, subject)
    return Scene(people, public, private, subject)


@pytest.fixture(scope="module")
async def unchanged_scene(web: Web) -> Scene:
    """For those who are refused everything."""
    return await scene(web)


YES: Final = "yes"
# What each operation needs as a body; those that need none are not named.
BODIES: Final[dict[str, Callable[[Scene], dict[str, Any]]]] = {
    "create_channel": lambda s: {"kind": "public", "name": unique("room")},
    "open_direct_channel": lambda s: {"user_ids": [s.subject.id]},
    "change_channel": lambda s: {"topic": unique("topic")},
    "add_members": lambda s: {"user_ids": [s.subject.id]},
    "change_password": lambda s: {"current_password": PASSWORD, "new_password": PASSWORD},
    "change_user": lambda s: {"role": "member"},
    "create_invite": lambda s: {"email": f"{unique('new')}@example.com", "role": "guest"},
    "post_message": lambda s: {"text": "hello"},
}
HIDDEN: Final = "not_found"
# For a private channel: outsider and admin are not in it; the guest is not in it either.
EVERYBODY: Final = dict.fromkeys(("stranger", "guest", "outsider", "member", "admin", "owner"), YES)
ADMINS: Final = dict.fromkeys(("guest", "outsider", "member"), "forbidden") | {"admin": YES, "owner": YES}
MEMBERS: Final = dict.fromkeys(("stranger", "guest", "outsider", "admin"), HIDDEN) | {
    "member": YES,
    "owner": YES,
}
READERS: Final = MEMBERS | dict.fromkeys(("stranger", "guest", "outsider", "admin"), "not_a_member")
IN_CHARGE: Final = MEMBERS | {"member": "forbidden"}

EXPECTED: Final[dict[str, dict[str, str]]] = {
    "log_out": EVERYBODY,
    "list_sessions": EVERYBODY,
    "change_password": EVERYBODY,
    "revoke_session": dict.fromkeys(EVERYBODY, HIDDEN),  # another person's
    "get_me": EVERYBODY,
    "list_users": EVERYBODY,
    "create_invite": ADMINS | {"stranger": YES},  # into their own workspace
    "list_invites": ADMINS | {"stranger": YES},  # of their own workspace
    "withdraw_invite": ADMINS | dict.fromkeys(("stranger", "admin", "owner"), HIDDEN),  # there is none
    "change_user": ADMINS | {"stranger": HIDDEN},
    "deactivate_user": ADMINS | {"stranger": HIDDEN},
    "reactivate_user": ADMINS | {"stranger": HIDDEN},
    "create_channel": EVERYBODY | {"guest": "forbidden"},
    "open_direct_channel": EVERYBODY | {"stranger": HIDDEN},
    "list_channels": EVERYBODY,
    "get_channel": MEMBERS,
    "change_channel": MEMBERS,
    "archive_channel": IN_CHARGE,
    "unarchive_channel": IN_CHARGE,
    "list_members": MEMBERS,
    "add_members": MEMBERS,
    "remove_member": IN_CHARGE,
    "join_channel": MEMBERS,
    "leave_channel": READERS,
    "post_message": READERS,
    "list_events": READERS,
    "list_messages": READERS,
    "get_realtime": EVERYBODY,
}


def operations() -> dict[str, tuple[str, str]]:
    """operationId -> (method, path)."""
    paths: dict[str, Any] = build_api().openapi()["paths"]
    return {
        operation["operationId"]: (method.upper(), path)
        for path, item in paths.items()
        for method, operation in item.items()
        if method in METHODS
    }


def test_every_operation_is_judged_here() -> None:
    assert set(operations()) == set(EXPECTED) | PUBLIC


@pytest.mark.parametrize("operation", sorted(EXPECTED))
async def test_who_may(web: Web, operation: str) -> None:
    method, template = operations()[operation]
    expected = EXPECTED[operation]
    assert set(expected) == set(EVERYBODY)
    here = await scene(web)
    # The refused first: what the others do must not be why.
    for who, outcome in sorted(expected.items(), key=lambda each: each[1] == YES):
        await _judge(here, here.people[who], operation, method, here.path(template), outcome, who)


@pytest.mark.parametrize("operation", sorted(EXPECTED))
async def test_nobody_without_a_living_session(web: Web, operation: str, owner: Person) -> None:
    method, template = operations()[operation]
    here = Scene({}, "ch_" + "0" * 32, "ch_" + "0" * 32, owner)
    body = BODIES[operation](here) if operation in BODIES else None
    refused(await web.http.request(method, here.path(template), json=body), "unauthenticated")
    ended = await log_in(owner)
    assert (await ended.post("/v1/auth/logout")).status_code == 204
    refused(await ended.ask(method, here.path(template), body), "unauthenticated")


@pytest.mark.parametrize(
    "operation", sorted(name for name, (_, path) in operations().items() if "{channel_id}" in path)
)
async def test_a_channel_that_is_hidden_and_none_at_all_look_the_same(
    unchanged_scene: Scene, operation: str
) -> None:
    here = unchanged_scene
    method, template = operations()[operation]
    body = BODIES[operation](here) if operation in BODIES else None
    nothing = here.path(template).replace(here.private, "ch_" + "0" * 32)
    for who in ("outsider", "stranger", "guest"):
        person = here.people[who]
        hidden = (await person.ask(method, here.path(template), body)).json()
        missing = (await person.ask(method, nothing, body)).json()
        for answer in (hidden, missing):
            answer.pop("request_id")
        assert hidden == missing, who


@pytest.mark.parametrize(
    ("operation", "allowed"),
    [
        ("get_channel", {"outsider", "member", "admin", "owner"}),
        ("list_members", {"outsider", "member", "admin", "owner"}),
        ("join_channel", {"outsider", "member", "admin", "owner"}),
        ("archive_channel", {"admin", "owner"}),
        ("remove_member", {"admin", "owner"}),
        ("change_channel", {"member", "owner"}),
        ("add_members", {"member", "owner"}),
        ("list_events", {"member", "owner"}),
        ("list_messages", {"member", "owner"}),
        ("post_message", {"member", "owner"}),
    ],
)
async def test_public_channels_may_be_seen_and_joined_by_all_but_guests_and_read_by_members(
    web: Web, operation: str, allowed: set[str]
) -> None:
    method, template = operations()[operation]
    here = await scene(web)
    for who in sorted(here.people, key=lambda each: each in allowed):
        path = here.path(template).replace(here.private, here.public)
        body = BODIES[operation](here) if operation in BODIES else None
        answer = await here.people[who].ask(method, path, body)
        assert answer.is_success == (who in allowed), (who, answer.text)
        assert answer.status_code < 500


async def test_a_guest_inside_may_talk_and_read_and_no_more(web: Web) -> None:
    here = await scene(web)
    guest = here.people["guest"]
    await here.people["owner"].add(here.private, guest)
    channel = f"/v1/channels/{here.private}"
    ok(await guest.post(f"{channel}/messages", {"text": "hello"}), 201)
    ok(await guest.get(f"{channel}/events"))
    ok(await guest.get(f"{channel}/members"))
    refused(await guest.ask("PATCH", channel, {"topic": "x"}), "forbidden")
    refused(await guest.post(f"{channel}/members", {"user_ids": [guest.id]}), "forbidden")
    refused(await guest.post(f"{channel}/archive"), "forbidden")
    ok(await guest.post(f"{channel}/leave"))


async def _judge(
    here: Scene, person: Person, operation: str, method: str, path: str, outcome: str, who: str
) -> None:
    body = BODIES[operation](here) if operation in BODIES else None
    answer = await person.ask(method, path, body)
    if outcome == YES:
        assert answer.is_success, (operation, who, answer.text)
    else:
        refused(answer, outcome)
