"""Threads, mentions and redaction on a node."""

from __future__ import annotations

import json
from typing import Any

import pytest

from channel_server.core.compose import event_frame
from channel_server.core.mentions import resolve
from channel_server.core.redaction import Redaction
from channel_server.core.ring import Ring
from services.contract.directory import GroupRecord
from services.contract.events import MessageDeleted, MessageEdited, MessagePosted, encode_event, read_event
from services.contract.mentions import MAX_MENTIONS
from tests.unit.channel_server.fakes import channel_id, user_id
from tests.unit.channel_server.world import WORKSPACE, World

CHANNEL = channel_id(1)
ANNA, OMAR, ZOE, OUTSIDER = (user_id(n) for n in range(1, 5))
GROUP = "grp_" + "1" * 32


@pytest.fixture
def world() -> World:
    made = World()
    for user in (ANNA, OMAR, ZOE, OUTSIDER):
        made.user(user)
    for user in (ANNA, OMAR, ZOE):
        made.member(CHANNEL, user)
    return made


def group(world: World, *users: str, workspace: str = WORKSPACE, active: bool = True) -> None:
    world.tell(
        GroupRecord(
            id=GROUP,
            workspace_id=workspace,
            handle="team",
            user_ids=list(users),
            active=active,
            version=next(world.versions),
        )
    )


def events(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [frame for frame in frames if frame["type"] == "event"]


def test_a_reply_says_of_what_it_is_one(world: World) -> None:
    anna, omar = world.connected(ANNA), world.connected(OMAR)
    anna.sends(CHANNEL, "root")
    world.tail()
    omar.sends(CHANNEL, "reply", thread=1, also_to_channel=True)
    world.tail()
    (_, reply) = events(anna.hears())
    assert reply["event"] == {"type": "message.posted", "text": "reply", "thread": 1, "also_to_channel": True}


@pytest.mark.parametrize(
    "wrong", [{"thread": 0}, {"thread": "1"}, {"thread": 1 << 53}, {"also_to_channel": 1}]
)
def test_a_thread_that_is_no_number_is_refused(world: World, wrong: dict[str, Any]) -> None:
    anna = world.connected(ANNA)
    (answer,) = anna.sends(CHANNEL, "x", **wrong)
    assert answer["type"] in ("error", "refused")
    assert world.log.appended == []


# --- mentions -----------------------------------------------------------------------------------------------------


def test_here_is_who_is_connected_and_comes_with_the_event(world: World) -> None:
    anna, omar = world.connected(ANNA), world.connected(OMAR)
    world.connected(OUTSIDER)
    world.gossip()
    anna.sends(CHANNEL, "<!here> lunch?")
    world.tail()
    (event,) = events(omar.hears())
    assert event["mentions"] == [OMAR]
    anna.sends(CHANNEL, "no")
    world.tail()
    (event,) = events(omar.hears())
    assert "mentions" not in event


def test_who_is_here_can_be_asked_of_somebody_else(world: World) -> None:
    world.node.state.here = lambda channel: [ZOE] if channel == CHANNEL else []
    anna = world.connected(ANNA)
    anna.sends(CHANNEL, "<!here>")
    assert [outgoing.mentions for outgoing, _, _ in world.log.appended] == [(ZOE,)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"<!group:{GROUP}>", (OMAR, ZOE)),
        (f"<!group:{GROUP}> <@{OMAR}>", (ZOE,)),
        (f"`<!group:{GROUP}>`", ()),
        (f"<!group:{GROUP[:-1]}2>", ()),
        ("<!channel>", ()),
        ("plain", ()),
    ],
)
def test_a_group_is_its_people_who_are_in_the_channel(
    world: World, text: str, found: tuple[str, ...]
) -> None:
    group(world, ANNA, OMAR, ZOE, OUTSIDER)
    state = world.node.state
    assert resolve(state.directory, state.here, CHANNEL, ANNA, MessagePosted(text=text)) == found
    assert resolve(state.directory, state.here, CHANNEL, ANNA, MessageEdited(target=1, text=text)) == found


def test_a_group_of_elsewhere_or_that_is_gone_is_nobody(world: World) -> None:
    state = world.node.state
    event = MessagePosted(text=f"<!group:{GROUP}>")
    group(world, OMAR, workspace="ws_" + "e" * 32)
    assert resolve(state.directory, state.here, CHANNEL, ANNA, event) == ()
    group(world, OMAR, active=False)
    assert resolve(state.directory, state.here, CHANNEL, ANNA, event) == ()


def test_more_than_the_bound_are_cut(world: World) -> None:
    crowd = [user_id(n) for n in range(100, 100 + MAX_MENTIONS + 5)]
    event = MessagePosted(text="<!here>")
    assert len(resolve(world.node.state.directory, lambda _: crowd, CHANNEL, ANNA, event)) == MAX_MENTIONS


# --- redaction ----------------------------------------------------------------------------------------------------


def test_what_was_deleted_is_replayed_to_nobody(world: World) -> None:
    world.append(CHANNEL, ANNA, MessagePosted(text="secret one"), mentions=[OMAR])
    world.append(CHANNEL, ANNA, MessagePosted(text="stays"))
    world.append(CHANNEL, ANNA, MessageEdited(target=1, text="secret two"))
    world.append(CHANNEL, ANNA, MessageDeleted(target=1))
    world.append(CHANNEL, ANNA, MessageEdited(target=1, text="secret three"))
    client = world.client(OMAR)
    shown = events(client.connects(resume={CHANNEL: 0}))
    assert [event["seq"] for event in shown] == [1, 2, 3, 4, 5]
    assert "secret" not in json.dumps(shown)
    assert [event["event"] for event in shown] == [
        {"type": "message.redacted", "was": "message.posted"},
        {"type": "message.posted", "text": "stays"},
        {"type": "message.redacted", "was": "message.edited", "target": 1},
        {"type": "message.deleted", "target": 1},
        {"type": "message.redacted", "was": "message.edited", "target": 1},
    ]
    assert (shown[0]["sender"], "mentions" in shown[0]) == (ANNA, False)


def test_an_edit_that_came_too_late_is_not_shown_live_either(world: World) -> None:
    omar = world.connected(OMAR)
    world.append(CHANNEL, ANNA, MessagePosted(text="one"))
    world.append(CHANNEL, ANNA, MessageDeleted(target=1))
    world.append(CHANNEL, ANNA, MessageEdited(target=1, text="secret"))
    shown = events(omar.hears())
    assert shown[0]["event"]["text"] == "one"
    assert "secret" not in json.dumps(shown)


def test_an_edit_that_was_under_way_is_not_shown_when_the_ring_holds_its_message_no_more() -> None:
    world = World(ring_bytes=4_000)
    for user in (ANNA, OMAR):
        world.user(user)
        world.member(CHANNEL, user)
    omar = world.connected(OMAR)
    world.append(CHANNEL, ANNA, MessagePosted(text="one"))
    world.append(CHANNEL, ANNA, MessageDeleted(target=1))
    while world.node.state.ring.get(CHANNEL, 2) is not None:
        world.append(CHANNEL, ANNA, MessagePosted(text="x" * 500))
    omar.hears()
    world.append(CHANNEL, ANNA, MessageEdited(target=1, text="secret"))
    (edit,) = events(omar.hears())
    assert edit["event"] == {"type": "message.redacted", "was": "message.edited", "target": 1}


def test_only_messages_and_edits_are_redacted(world: World) -> None:
    world.append(CHANNEL, ANNA, b'{"type":"channel.topic_set","topic":"t"}')
    world.append(CHANNEL, ANNA, MessageDeleted(target=1))
    world.append(CHANNEL, ANNA, MessageDeleted(target=3))
    world.append(CHANNEL, ANNA, MessagePosted(text="later"))
    shown = events(world.client(OMAR).connects(resume={CHANNEL: 0}))
    assert shown[0]["event"]["topic"] == "t"
    assert shown[3]["event"]["text"] == "later"


def test_what_the_ring_forgets_is_forgotten_and_its_bytes_are_right() -> None:
    ring = Ring(4_000)
    redaction = Redaction(ring, deletions=10)
    for seq in range(1, 500):
        event = (
            MessagePosted(text="x" * 50)
            if seq % 3 == 1
            else MessageEdited(target=seq - 1, text="y" * 50)
            if seq % 3 == 2
            else MessageDeleted(target=seq - 2)
        )
        ring.add(CHANNEL, seq, event_frame(CHANNEL, seq, "0" * 36, ANNA, 1, encode_event(event)))
        redaction.note(CHANNEL, seq, read_event(encode_event(event)))  # type: ignore[arg-type]
    assert len(redaction._order) <= len(ring) + 1
    assert len(redaction._edits) <= len(ring) + 1
    assert len(redaction._deleted) <= max(10, len(ring)) + 1
    oldest = ring.oldest(CHANNEL)
    assert oldest is not None
    held = [ring.get(CHANNEL, seq) for seq in range(oldest, 500)]
    assert ring.bytes == sum(len(frame) + 64 for frame in held if frame is not None)
    assert b"yyy" not in b"".join(frame for frame in held if frame is not None)
