"""Who may post, and when a refusal is final: what is stored already is acknowledged, whatever has changed since."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channel_server.core.limits import Limits
from services.contract.codes import ERRORS
from services.contract.directory import ChannelRecord, MemberRecord, directory_at
from services.contract.envelope import digest_of
from services.contract.events import MessagePosted, encode_event
from services.contract.ids import new_event_id
from tests.unit.channel_server.fakes import channel_id, user_id
from tests.unit.channel_server.world import WORKSPACE, Client, World

ANN, BOB = user_id(1), user_id(2)
ROOM, OTHER = channel_id(1), channel_id(2)

changes = pytest.mark.parametrize("change", ["archived", "not_a_member"])


def channel(world: World, archived: bool = False) -> ChannelRecord:
    version = next(world.versions)
    return ChannelRecord(id=ROOM, workspace_id=WORKSPACE, kind="private", archived=archived, version=version)


def member(world: World, user: str, is_member: bool = True) -> MemberRecord:
    return MemberRecord(channel_id=ROOM, user_id=user, member=is_member, version=next(world.versions))


def new_world(limits: Limits | None = None) -> World:
    world = World(limits)
    world.user(ANN)
    world.user(BOB)
    world.tell(channel(world), member(world, ANN), member(world, BOB))
    return world


@pytest.fixture
def world() -> World:
    return new_world()


def forbid(world: World, change: str) -> None:
    world.tell(channel(world, archived=True) if change == "archived" else member(world, ANN, False))


def answers(client: Client) -> list[dict[str, Any]]:
    """What it has been answered to its sends since the last time."""
    client.hears()
    heard, client.frames = client.frames, []
    return [frame for frame in heard if frame["type"] in ("ack", "refused")]


# --- what is stored already ------------------------------------------------------------------------------------------


@changes
def test_a_copy_of_what_is_stored_gets_its_number_though_it_may_not_be_posted_any_more(
    world: World, change: str
) -> None:
    client, id = world.connected(ANN), world.id()
    client.sends(ROOM, "hi", id)
    world.tail()
    (ack,) = answers(client)
    forbid(world, change)
    answers(client)
    world.passes(0.5)
    client.session.received(json.dumps({"type": "send", "channel": ROOM, "id": id, "text": "hi"}))
    # At once, and not with the next batch: there may be none for a long time.
    assert client.link.take() == [{**ack, "duplicate": True}]
    assert world.log.appended == []


@changes
def test_another_body_or_another_sender_is_told_nothing_of_it(world: World, change: str) -> None:
    world.append(ROOM, BOB, MessagePosted(text="hi"), bobs := world.id())
    world.append(ROOM, ANN, MessagePosted(text="hi"), anns := world.id())
    client = world.connected(ANN)
    forbid(world, change)
    client.hears()
    for text, id in (("hi", bobs), ("ho", anns)):
        client.sends(ROOM, text, id)
        world.passes(1.5)
        assert [frame["code"] for frame in answers(client)] == [change]


@changes
def test_a_copy_of_what_is_under_way_shares_its_verdict(world: World, change: str) -> None:
    first, second, id = world.connected(ANN), world.connected(ANN), world.id()
    first.sends(ROOM, "hi", id)
    forbid(world, change)
    second.sends(ROOM, "hi", id)
    world.passes(3)
    assert answers(second) == []
    world.tail()
    assert [frame["seq"] for frame in answers(second)] == [1]
    assert (second.session.unacknowledged, len(world.node.state.sends)) == (0, 0)


def test_what_may_lie_beyond_the_window_of_an_archived_channel_is_looked_for_in_history(world: World) -> None:
    world.append(ROOM, BOB, MessagePosted(text="sets the clock"))
    client = world.connected(ANN)
    old = new_event_id(world.clock.wall_ms() - 121_000)
    forbid(world, "archived")
    client.sends(ROOM, "old", old)
    (refused,) = answers(client)
    assert (refused["code"], refused["head"]) == ("expired", 1)
    forbid(world, "not_a_member")
    client.sends(ROOM, "old", old)
    world.passes(1.5)
    (refused,) = answers(client)
    assert (refused["code"], refused.get("head")) == ("not_a_member", None)


@given(
    change=st.sampled_from(["archived", "not_a_member"]),
    stored=st.booleans(),
    appended=st.floats(-2, 0),
    unseen=st.floats(0, 3),
    lag=st.floats(0, 2),
)
def test_a_refusal_is_final_only_if_nothing_of_the_message_can_stand_in_the_log(
    change: str, stored: bool, appended: float, unseen: float, lag: float
) -> None:
    """`appended`: when the first copy was, before the second came at 0. `unseen`: how long this node's tail lacks it.
    `lag`: the age of the tail's proofs."""
    world = new_world()
    client, id = world.connected(ANN), world.id()
    forbid(world, change)
    client.hears()
    came = world.clock.now = world.clock.now + 5
    heard: list[dict[str, Any]] = []
    for tick in range(40):
        world.clock.now = now = came + tick * 0.1
        seen = now >= came + appended + unseen
        if stored and seen:
            world.append(ROOM, ANN, MessagePosted(text="hi"), id)
        proven = now - lag if seen or not stored else min(now - lag, came + appended - 0.01)
        proofs = {
            partition: max(proven, before)
            for partition, before in world.node.state.freshness.events_proven.items()
        }
        world.node.proven(proofs, now)
        world.node.tick()
        if tick == 0:
            client.sends(ROOM, "hi", id)
        heard += answers(client)
    (answer,) = heard
    if answer["type"] == "refused" and not ERRORS[answer["code"]].retry:
        assert not stored
        assert answer["code"] == change
    elif answer["type"] == "ack":
        assert (stored, answer["seq"]) == (True, 1)
    else:
        assert answer["code"] == "slow_down"
        assert lag + max(appended + unseen, 0) > 0.5, "a tail that is current proves it in time"
    assert (world.node.state.parked, len(world.node.state.waits) - 1) == (0, 0)


def test_the_window_knows_a_copy_by_its_body(world: World) -> None:
    id, body = world.id(), encode_event(MessagePosted(text="hi"))
    world.append(ROOM, ANN, body, id)
    fold = world.node.state.numbering.of(ROOM)
    verdict = fold.copy_of(ROOM, ANN, id, digest_of(body))
    assert verdict is not None
    assert verdict.seq == 1
    assert fold.copy_of(ROOM, ANN, id, digest_of(b"else")) is None
    assert fold.copy_of(ROOM, BOB, id, digest_of(body)) is None
    assert fold.copy_of(OTHER, ANN, id, digest_of(body)) is None


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_the_wait_for_the_membership_begins_when_the_position_has_come(world: World) -> None:
    carol = user_id(3)
    world.user(carol)
    client = world.connected(carol)
    first, second = channel(world), channel(world)
    for record in (first, second):
        client.sends(ROOM, directory_at=directory_at(record.key, record.version))
    world.passes(4)
    world.tell(second)
    world.passes(0.75)
    assert (answers(client), world.log.appended) == ([], [])
    world.tell(member(world, carol))
    assert len(world.log.appended) == 2


def test_the_wait_for_the_membership_is_no_longer_for_that(world: World) -> None:
    carol = user_id(3)
    world.user(carol)
    client = world.connected(carol)
    record = channel(world)
    for _ in range(20):
        client.sends(ROOM, directory_at=directory_at(record.key, record.version))
    world.passes(4)
    world.tell(record)
    world.passes(0.75)
    assert answers(client) == []
    world.passes(0.5)
    # All of them: those behind the first did not wait their turn to begin to wait.
    assert [frame["code"] for frame in answers(client)] == ["not_a_member"] * 20


def test_who_waits_for_a_position_goes_on_at_that_record_of_a_batch(world: World) -> None:
    client = world.connected(ANN)
    record = channel(world)
    client.sends(ROOM, directory_at=directory_at(record.key, record.version))
    world.passes(4.5)
    world.tell(record, channel(world, archived=True))
    assert len(world.log.appended) == 1


def test_a_membership_later_in_the_batch_than_the_position_is_not_missed_at_the_last_moment(
    world: World,
) -> None:
    carol = user_id(3)
    world.user(carol)
    client = world.connected(carol)
    record = channel(world)
    client.sends(ROOM, directory_at=directory_at(record.key, record.version))
    world.passes(4.75)
    world.tell(record, member(world, carol))
    assert answers(client) == []
    assert len(world.log.appended) == 1
