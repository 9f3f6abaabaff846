"""Nobody reads or writes a channel that is not theirs by any frame of the WebSocket.

Generated from the list of client frames: whatever takes a channel or a person is sent with those of others. A frame
that has no example, or an id of a kind that is not at hand, fails here and must be taught.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Final, get_args

import httpx
import msgspec
import pytest
from msgspec.inspect import CollectionType, DictType, StrType, StructType, Type, UnionType, type_info

from channel_server.core import presence, typing
from services.contract.examples import CLIENT_FRAMES
from services.contract.frames import ClientFrame
from services.contract.ids import new_entity_id, new_event_id
from tests.stack.lockstep import Stack
from tests.stack.waiting import until
from tests.system.channel_server.cell import Client
from tests.system.security.visitors import welcomed
from tests.system.web_app.people import Person, join, ok, sign_up, unique

# These name nothing of anybody's.
WITHOUT_IDS: Final = {"activity", "away", "ping"}

ATTACKERS: Final = ("stranger", "outsider", "admin", "removed", "guest")
COLLEAGUES: Final = {"outsider", "admin", "removed"}
"""They may know who is there of their workspace; a guest only of those with whom they share a channel."""

SHOWN_WITHIN_S: Final = 1.5 * max(presence.SHOW_EVERY, typing.SHOW_EVERY)

Path = tuple[str | int, ...]
KEY: Final = "<key>"


def places(kind: Type, at: Path = ()) -> Iterator[tuple[Path, str]]:
    """Where ids stand in a value of this type, each with its prefix."""
    if isinstance(kind, StrType):
        matched = re.match(r"\^(\w+)_\[", kind.pattern or "")
        if matched:
            yield at, matched[1]
    elif isinstance(kind, StructType):
        for field in kind.fields:
            yield from places(field.type, (*at, field.encode_name))
    elif isinstance(kind, UnionType):
        for each in kind.types:
            yield from places(each, at)
    elif isinstance(kind, CollectionType):
        yield from places(kind.item_type, (*at, 0))
    elif isinstance(kind, DictType):
        yield from places(kind.key_type, (*at, KEY))
        yield from places(kind.value_type, (*at, ""))


def put(frame: Any, at: Path, value: str) -> Any:
    """The frame with this id in that place."""
    if not at:
        return value
    first, rest = at[0], at[1:]
    if first == KEY:
        return {value: next(iter(frame.values()))}
    if isinstance(first, int):
        return [put(frame[first], rest, value)]
    return {**frame, first: put(frame[first], rest, value)}


FRAMES: Final = {kind: type_info(kind) for kind in get_args(ClientFrame)}
EXAMPLES: Final = {type(each): json.loads(msgspec.json.encode(each)) for each in CLIENT_FRAMES}
ATTACKS: Final = [
    pytest.param(kind, at, prefix, id=f"{EXAMPLES[kind]['type']}.{'.'.join(map(str, at))}")
    for kind, info in FRAMES.items()
    for at, prefix in places(info)
]


def test_every_frame_is_generated_or_listed() -> None:
    assert set(EXAMPLES) == set(FRAMES), "a frame without an example"
    without = {EXAMPLES[kind]["type"] for kind, info in FRAMES.items() if not list(places(info))}
    assert without == WITHOUT_IDS
    assert len(ATTACKS) >= 2


@dataclass
class Scene:
    """`hidden`: channels by what they are; `insider` is in all of theirs, `attackers` in none."""

    insider: Person
    inside: Client
    hidden: dict[str, str]
    attackers: dict[str, tuple[Person, str]]
    """by what they are: the person and a channel of their own"""
    ids: dict[str, list[str]]


@pytest.fixture(scope="module")
async def http(fortress: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=fortress.web_url, timeout=30, trust_env=False) as made:
        yield made


@pytest.fixture(scope="module")
async def scene(fortress: Stack, http: httpx.AsyncClient) -> AsyncIterator[Scene]:
    owner, stranger = await sign_up(http), await sign_up(http)
    member, outsider, removed, admin, guest = [
        await join(owner, role) for role in ("member", "member", "member", "admin", "guest")
    ]
    hidden = {"private": await owner.new_channel("private"), "public": await owner.new_channel("public")}
    for channel in hidden.values():
        await owner.add(channel, member, removed)
    for kind, others in (("direct", [member]), ("group", [member, await join(owner)])):
        body = {"user_ids": [each.id for each in others]}
        hidden[kind] = ok(await owner.post("/v1/channels/direct", body), 201)["channel"]["id"]
    for kind, channel in hidden.items():
        for _ in range(3):
            ok(await owner.post(f"/v1/channels/{channel}/messages", {"text": f"{SECRET} of {kind}"}), 201)
        if kind in ("private", "public"):
            answer = await owner.ask("DELETE", f"/v1/channels/{channel}/members/{removed.id}")
            assert answer.is_success, answer.text
    attackers = {}
    for who, person in zip(ATTACKERS, (stranger, outsider, admin, removed, guest), strict=True):
        maker = outsider if person is guest else person
        attackers[who] = person, await maker.new_channel("private")
    await outsider.add(attackers["guest"][1], guest)
    await fortress.told()
    inside = await welcomed(fortress, owner)
    for channel in hidden.values():  # what was done to them so far has come once something later has
        await inside.opened(channel)
        await inside.shown(channel, (await inside.say(channel, "so far"))["seq"])
    yield Scene(owner, inside, hidden, attackers, {"ch": [*hidden.values()], "usr": [owner.id, member.id]})
    await inside.close()


POSITIONS: Final = (0, 1, 2, 1_000_000)

SECRET: Final = "text kept from strangers"


def told(client: Client, channel: str) -> list[dict[str, Any]]:
    """Every frame that names the channel or a secret, but for refusals and the end of a view that never was."""
    return [
        frame
        for frame in client.frames
        if (channel in json.dumps(frame) or SECRET in json.dumps(frame))
        and not (
            frame["type"] == "refused"
            and frame["code"] in ("not_a_member", "slow_down")
            and "head" not in frame
        )
        and frame["type"] != "closed"  # whose number is the one that was asked with: see below
    ]


@pytest.mark.parametrize("who", ATTACKERS)
@pytest.mark.parametrize(("kind", "at", "prefix"), ATTACKS)
async def test_no_frame_reaches_a_channel_of_others(
    fortress: Stack, scene: Scene, kind: type, at: Path, prefix: str, who: str
) -> None:
    person, own = scene.attackers[who]
    assert prefix in scene.ids, f"no id of the kind {prefix!r} is at hand"
    hidden = [
        channel for of, channel in scene.hidden.items() if who != "removed" or of in ("private", "public")
    ]
    targets = [(each, each) for each in hidden]
    if prefix != "ch":
        targets = [(hidden[0], each) for each in scene.ids[prefix]]
    for channel, value in targets:
        frame = put(EXAMPLES[kind], at, value)
        if "id" in frame:
            frame["id"] = new_event_id()
        if frame["type"] == "connect":
            views = [{"epoch": 1, "channels": {value: last}} for last in POSITIONS]
            clients = await asyncio.gather(*(welcomed(fortress, person, resume=view) for view in views))
        else:
            clients = [await welcomed(fortress, person)]
        await _nothing_comes(scene, clients, channel, own, frame, who)


async def _nothing_comes(
    scene: Scene, clients: list[Client], channel: str, own: str, frame: dict[str, Any], who: str
) -> None:
    """What is said there afterwards does not come, what is said in the attacker's own channel does."""
    before = len(scene.inside.by_type("event", channel=channel))
    try:
        if frame["type"] == "connect":
            for client, position in zip(clients, POSITIONS, strict=True):
                assert (await client.frame("closed", channel=channel))["last_seq"] == position
        elif "id" in frame:
            answer = await clients[0].ask(json.dumps(frame), frame["id"])
            assert answer["code"] == "not_a_member"
        elif frame["type"] == "watch":
            await _watches_colleagues_alone(scene, clients[0], frame, who)
        elif frame["type"] == "typing":
            await _types_at_home_alone(scene, clients[0], own, frame, who)
        else:
            pytest.fail(f"what {frame['type']} does where it is allowed must be taught")
        said = await scene.inside.say(channel, SECRET)
        assert said["type"] == "ack", said
        await scene.inside.shown(channel, said["seq"])
        for client in clients:
            answer = await client.say(own, unique("mine"))
            assert answer["type"] == "ack", answer
            await client.shown(own, answer["seq"])
            assert told(client, channel) == []
            assert channel not in client.by_type("welcome")[0]["heads"]
        shown = scene.inside.by_type("event", channel=channel)[before:]
        assert [each["sender"] for each in shown] == [scene.insider.id], "somebody else wrote there"
    finally:
        await asyncio.gather(*(client.close() for client in clients))


async def _watches_colleagues_alone(scene: Scene, client: Client, frame: dict[str, Any], who: str) -> None:
    """They are shown that they are there themselves, and of others only whom they may know."""
    me = scene.attackers[who][0].id
    [watched] = frame["users"]
    await client.socket.send(json.dumps(frame | {"users": [watched, me]}))

    def seen() -> set[str]:
        return {user for shown in client.by_type("presence") for user in shown["users"]}

    expected = {me, watched} if who in COLLEAGUES else {me}
    await until(lambda: seen() >= expected, what=f"the presence of {expected}")
    await asyncio.sleep(SHOWN_WITHIN_S)
    assert seen() == expected


async def _types_at_home_alone(
    scene: Scene, client: Client, own: str, frame: dict[str, Any], who: str
) -> None:
    """Of both who types in the same place who is inside is shown; to the attacker it is shown at home only."""
    me, insider = scene.attackers[who][0].id, scene.insider.id
    before = len(scene.inside.by_type("typing"))

    def typists(of: Client, after: int = 0) -> set[tuple[str, str]]:
        return {(shown["channel"], user) for shown in of.by_type("typing")[after:] for user in shown["users"]}

    async def shown() -> bool:
        await client.socket.send(json.dumps(frame))  # again and again: one word of it may be dropped
        await client.socket.send(json.dumps(frame | {"channel": own}))
        await scene.inside.socket.send(json.dumps(frame))
        return (own, me) in typists(client) and (frame["channel"], insider) in typists(scene.inside, before)

    await until(shown, what="both are shown typing where they may", every=0.5)
    await asyncio.sleep(SHOWN_WITHIN_S)
    assert me not in {user for _, user in typists(scene.inside)}
    assert {channel for channel, _ in typists(client)} == {own}


async def test_a_channel_that_is_hidden_and_none_at_all_are_answered_the_same(
    fortress: Stack, scene: Scene
) -> None:
    person, _ = scene.attackers["outsider"]
    client = await welcomed(fortress, person)
    answers = []
    for channel in (scene.hidden["private"], new_entity_id("ch")):
        answer = await client.say(channel, "is anybody there?")
        answers.append({name: value for name, value in answer.items() if name not in ("channel", "id")})
    assert answers[0] == answers[1]
    await client.close()


async def test_nobody_sends_as_somebody_else(fortress: Stack, scene: Scene) -> None:
    """Fields that a frame does not have are ignored, whatever they are called."""
    person, own = scene.attackers["stranger"]
    client = await welcomed(fortress, person, user=scene.insider.id, session=scene.insider.session_id)
    assert client.by_type("welcome")[0]["user"] == person.id
    answer = await client.say(
        own, "x", sender=scene.insider.id, user=scene.insider.id, seq=1, at=1, epoch=9, event={"type": "x"}
    )
    await client.shown(own, answer["seq"])
    assert client.by_type("event", seq=answer["seq"])[0]["sender"] == person.id
    await client.close()
