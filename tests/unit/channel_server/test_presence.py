"""Promise: presence and typing are right, are shown to nobody whom they do not concern, and cost no more than their bounds."""

from __future__ import annotations

import json

import pytest

from channel_server.core.company import IDLE, MOST_FLEETING
from channel_server.core.limits import Limits
from channel_server.core.presence import MOST_SHOWN
from channel_server.core.registry import Registry
from channel_server.core.typing import FORGET_AFTER, MOST_NAMED
from services.contract.directory import UserRecord, WorkspaceRecord
from services.contract.frames import MAX_WATCHED
from tests.unit.channel_server.fakes import channel_id, user_id
from tests.unit.channel_server.world import WORKSPACE, Client, World, types

ANNA, OMAR, EVE = user_id(1), user_id(2), user_id(3)
ELSEWHERE = "ws_" + "d" * 32
ROOM = channel_id(1)


def the_world(limits: Limits | None = None) -> World:
    world = World(limits)
    world.user(ANNA)
    world.user(OMAR)
    world.user(EVE, workspace=ELSEWHERE)
    return world


def passes(world: World, seconds: float) -> None:
    """Time passes, and what the node tells comes back."""
    for _ in range(round(seconds / 0.25)):
        world.passes(0.25)
        world.gossip()
    world.settle()


def presence(client: Client) -> dict[str, str]:
    """The newest that it was shown of everybody."""
    client.hears()
    return {
        user: state
        for frame in client.frames
        if frame["type"] == "presence"
        for user, state in frame["users"].items()
    }


def test_active_away_and_offline_over_several_devices() -> None:
    world = the_world()
    anna = world.connected(ANNA)
    anna.says({"type": "watch", "users": [OMAR]})
    passes(world, 1)
    assert presence(anna) == {OMAR: "offline"}
    phone, laptop = world.connected(OMAR, "ses_1"), world.connected(OMAR, "ses_2")
    passes(world, 2)
    assert presence(anna)[OMAR] == "active"
    phone.says({"type": "activity", "active": False})
    passes(world, 2)
    assert presence(anna)[OMAR] == "active", "at the laptop still"
    laptop.says({"type": "activity", "active": False})
    passes(world, 2)
    assert presence(anna)[OMAR] == "away"
    phone.says({"type": "typing", "channel": ROOM})
    passes(world, 2)
    assert presence(anna)[OMAR] == "active", "who types is there"
    phone.says({"type": "away", "away": True})
    passes(world, 2)
    assert presence(anna)[OMAR] == "away", "says so themselves"
    phone.says({"type": "away", "away": False})
    for device in (phone, laptop):
        world.node.disconnected(device.session)
    passes(world, 2)
    assert presence(anna)[OMAR] == "offline"


def test_who_only_breathes_is_away_after_a_while() -> None:
    world = the_world()
    anna, omar = world.connected(ANNA), world.connected(OMAR)
    anna.says({"type": "watch", "users": [OMAR]})
    for _ in range(round(IDLE / 20) + 2):
        world.clock.now += 20
        world.current()
        anna.says({"type": "ping"})
        omar.says({"type": "ping"})
        world.node.tick()
        world.gossip()
    passes(world, 2)
    assert presence(anna)[OMAR] == "away"


def test_watching_ends_at_the_workspace_and_for_guests_at_their_channels() -> None:
    world = the_world()
    guest = user_id(7)
    world.tell(UserRecord(id=guest, workspace_id=WORKSPACE, name="", active=True, version=999, role="guest"))
    world.member(ROOM, guest)
    world.member(ROOM, ANNA)
    world.connected(EVE, workspace=ELSEWHERE)
    anna, visitor = world.connected(ANNA), world.connected(guest)
    anna.says({"type": "watch", "users": [EVE, OMAR]})
    visitor.says({"type": "watch", "users": [ANNA, OMAR]})
    passes(world, 2)
    assert presence(anna) == {OMAR: "offline"}
    assert presence(visitor) == {ANNA: "active"}
    assert world.node.state.company.presence.counts["unwatchable"] == 2
    world.member(ROOM, guest, member=False)
    anna.says({"type": "activity", "active": False})
    passes(world, 2)
    assert presence(visitor) == {ANNA: "active"}, "that they were, and nothing since"


def test_watch_replaces_and_is_bounded_and_forgotten() -> None:
    world = the_world()
    anna = world.connected(ANNA)
    anna.says({"type": "watch", "users": [OMAR]})
    anna.says({"type": "watch", "users": []})
    omar = world.connected(OMAR)
    passes(world, 2)
    assert presence(anna) == {}
    too_many = [user_id(n) for n in range(MAX_WATCHED + 1)]
    (error,) = anna.says({"type": "watch", "users": too_many})
    assert (error["type"], error["code"]) == ("error", "bad_frame")
    anna.says({"type": "watch", "users": [OMAR]})
    world.node.disconnected(anna.session)
    world.node.disconnected(omar.session)
    passes(world, 2)
    found = world.node.state.company.presence
    assert (found.watchers, len(found._watched), len(found._due)) == (0, 0, 0)


def test_the_last_word_about_being_away_holds_however_quickly_it_follows() -> None:
    """What was said before may be on its way still."""
    world = the_world()
    presence_of = world.node.state.company.presence
    omar = world.connected(OMAR)
    on_their_way = []
    for away in (True, False):
        omar.says({"type": "away", "away": away})
        on_their_way += presence_of.tell(world.clock.now, world.clock.wall_ms())
    for record in on_their_way:
        presence_of.heard(record.key, record.value, world.clock.now)
    assert presence_of.registry.state(OMAR) == "active"


def test_a_topic_that_was_made_anew_is_told_of_everybody_who_is_connected() -> None:
    world = the_world()
    anna = world.connected(ANNA)
    anna.says({"type": "watch", "users": [OMAR]})
    world.connected(OMAR, "ses_1")
    passes(world, 2)
    assert presence(anna) == {OMAR: "active"}
    found = world.node.state.company.presence
    found.adopt(Registry(found.registry.incarnation))
    passes(world, 2)
    assert [where.session.session for where in found.registry.whereabouts(OMAR)] == ["ses_1"]
    assert presence(anna) == {OMAR: "active"}


def test_typing_that_nobody_can_write_takes_no_memory() -> None:
    world = World(Limits(connection_burst=1e9, user_burst=1e9))
    for user in (ANNA, OMAR):
        world.user(user)
        world.member(ROOM, user)
    anna, omar = world.connected(ANNA), world.connected(OMAR)
    for thread in range(1, MOST_FLEETING + 100):
        anna.session.received(json.dumps({"type": "typing", "channel": ROOM, "thread": thread}))
    company = world.node.state.company
    assert len(company.take_fleeting()) == MOST_FLEETING
    assert company.typists.counts["crowded"] == 99
    omar.says({"type": "typing", "channel": ROOM})
    assert len(company.take_fleeting()) == 1


def test_nothing_about_people_before_welcome() -> None:
    for frame in ({"type": "watch", "users": []}, {"type": "typing", "channel": ROOM}):
        client = the_world().client(ANNA)
        client.says(frame)
        assert client.ended() == 4004


def test_typing_is_shown_to_the_channel_and_to_nobody_else() -> None:
    world = the_world()
    for user in (ANNA, OMAR):
        world.member(ROOM, user)
    anna, omar, eve = world.connected(ANNA), world.connected(OMAR), world.connected(EVE, workspace=ELSEWHERE)
    eve.says({"type": "typing", "channel": ROOM})
    passes(world, 1)
    assert types(anna.hears()) == [], "she is not in it"
    omar.says({"type": "typing", "channel": ROOM, "thread": 7})
    passes(world, 1)
    assert anna.hears() == [{"type": "typing", "channel": ROOM, "users": [OMAR], "thread": 7}]
    assert eve.hears() == []
    passes(world, FORGET_AFTER + 2)
    assert anna.hears() == [], "and is not said again by itself"
    assert not world.node.state.company.typists._typing


def test_typing_is_off_in_large_channels() -> None:
    world = the_world()
    world.tell(WorkspaceRecord(id=WORKSPACE, active=True, version=1, typing_limit=2))
    for user in (ANNA, OMAR, user_id(8)):
        world.member(ROOM, user)
    anna, omar = world.connected(ANNA), world.connected(OMAR)
    omar.says({"type": "typing", "channel": ROOM})
    passes(world, 1)
    assert anna.hears() == []
    assert world.node.state.company.typists.counts["too_many_members"] == 1
    world.member(ROOM, user_id(8), member=False)
    omar.says({"type": "typing", "channel": ROOM})
    passes(world, 1)
    assert "typing" in types(anna.hears())


def test_a_slow_client_is_shown_no_typing_and_the_newest_presence_later() -> None:
    world = the_world(Limits(high_water=10))
    for user in (ANNA, OMAR):
        world.member(ROOM, user)
    anna, omar = world.connected(ANNA), world.connected(OMAR)
    anna.link.reads = False
    anna.says({"type": "watch", "users": [OMAR]})
    passes(world, 1)
    anna.hears()
    assert anna.session.pending is None
    omar.says({"type": "typing", "channel": ROOM})
    omar.says({"type": "activity", "active": False})
    passes(world, 3)
    assert anna.hears() == []
    counts = world.node.state.company
    assert counts.typists.counts["dropped"] >= 1
    assert counts.presence.counts["held_back"] >= 1
    anna.link.reads, anna.link.unread = True, 0
    world.node.drained(anna.session)
    passes(world, 2)
    assert presence(anna)[OMAR] == "away"
    assert "typing" not in types(anna.frames)


@pytest.mark.parametrize("people", [1000])
def test_in_a_channel_of_a_thousand_the_cost_stays_bounded(people: int) -> None:
    """Everybody watches 200 others; all flip their presence and type all the time, for four seconds. What is counted:
    records, frames, bytes."""
    seconds, watching = 4, 200
    world = World(Limits(connection_burst=1e9, user_burst=1e9))
    world.tell(WorkspaceRecord(id=WORKSPACE, active=True, version=1, typing_limit=people))
    ids = [user_id(n) for n in range(people)]
    for user in ids:
        world.user(user)
        world.member(ROOM, user)
    clients = [world.connected(user) for user in ids]
    for place, client in enumerate(clients):
        watched = [ids[(place + n) % people] for n in range(1, watching + 1)]
        client.session.received(json.dumps({"type": "watch", "users": watched}))
    passes(world, 4)  # everybody has been shown everybody
    for client in clients:
        client.link.written.clear()
        client.link.writes = 0
    company = world.node.state.company
    for each in (company.presence.counts, company.typists.counts):
        each.clear()
    said = records = 0
    typing = json.dumps({"type": "typing", "channel": ROOM})
    activity = [json.dumps({"type": "activity", "active": active}) for active in (False, True)]
    for step in range(4 * seconds):
        for client in clients:
            client.session.received(typing)
            client.session.received(activity[step % 2])
            said += 2
        world.passes(0.25)
        records += world.gossip()
    told, shown = company.presence.counts, company.typists.counts
    assert said == 32_000
    # A record a person and moment of telling (here 4 a second), and one typing record in two seconds.
    assert records <= people * 4 * seconds + people * seconds / 2 + seconds
    assert shown["records"] <= people * (seconds / 2 + 1)
    assert shown["frames"] <= people * (seconds + 1), "one a connection and second"
    assert told["frames"] <= people * (seconds + 1), "one a connection and second"
    assert told["states"] <= told["frames"] * MOST_SHOWN
    assert shown["coalesced"] > 5_000
    state_bytes, name_bytes = 60, 40
    bound = (seconds + 1) * (MOST_SHOWN * state_bytes + MOST_NAMED * name_bytes + 300)
    most = max(len(client.link.written) for client in clients)
    assert most <= bound, (most, bound)
    assert max(client.link.writes for client in clients) <= 4 * seconds + 4


def test_whom_the_node_has_not_heard_of_is_watched_once_it_has() -> None:
    """Somebody who has just joined may be asked for before the directory tells of them."""
    world = the_world()
    joins, elsewhere = user_id(8), user_id(9)
    anna, omar = world.connected(ANNA), world.connected(OMAR)
    anna.says({"type": "watch", "users": [joins, elsewhere]})
    omar.says({"type": "watch", "users": [joins]})
    omar.says({"type": "watch", "users": [ANNA]})
    passes(world, 2)
    assert presence(anna) == {}
    world.user(joins)
    world.user(elsewhere, workspace=ELSEWHERE)
    world.connected(joins)
    passes(world, 2)
    assert presence(anna) == {joins: "active"}
    assert presence(omar) == {ANNA: "active"}
    anna.says({"type": "watch", "users": []})
    omar.says({"type": "watch", "users": []})
    assert not world.node.state.company.presence._unheard
    assert not world.node.state.company.presence._watched
