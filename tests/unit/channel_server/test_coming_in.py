"""A newcomer with more channels than are joined at once: what may happen before it is in all of them."""

from __future__ import annotations

import json

import pytest

from channel_server.core.limits import Limits
from channel_server.core.session import Phase
from services.contract.events import MessagePosted
from tests.unit.channel_server.fakes import channel_id, user_id
from tests.unit.channel_server.world import Client, World, types

ME = user_id(1)
CHANNELS = [channel_id(number) for number in range(1, 7)]


@pytest.fixture
def world() -> World:
    world = World(limits=Limits(channels_at_once=2, slice=1))
    world.user(ME)
    for channel in CHANNELS:
        world.member(channel, ME)
    world.current()
    return world


def coming(world: World) -> Client:
    """It has said `connect` and is in two of its six channels."""
    client = Client(world, ME, "ses_1")
    client.session.received(json.dumps({"type": "connect", "token": world.token(ME, "ses_1")}))
    world.node.catch_up()
    assert client.session.joining is not None
    return client


def test_it_is_welcomed_once_it_is_in_all_of_them(world: World) -> None:
    client = coming(world)
    assert not client.link.take()
    assert world.node.has_laggards
    world.node.catch_up()
    assert not client.link.take()
    (welcome,) = client.hears()
    assert set(welcome["heads"]) == set(CHANNELS)
    assert client.session.phase is Phase.LIVE
    assert not world.node.has_laggards


def test_what_happens_meanwhile_is_shown_after_the_welcome(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = coming(world)
    with monkeypatch.context() as before_others_get_their_turn:
        before_others_get_their_turn.setattr(world, "settle", lambda: None)
        for channel in CHANNELS:
            world.append(channel, ME, MessagePosted(text="x"))
    while world.node.show():
        pass
    assert not client.link.take()
    frames = client.hears()
    assert types(frames)[0] == "welcome"
    heads = frames[0]["heads"]
    shown = {frame["channel"]: frame["seq"] for frame in frames[1:]}
    for channel in CHANNELS:
        assert heads[channel] == 1 or (heads[channel], shown[channel]) == (0, 1)
    assert set(heads.values()) == {0, 1}, "in some it was already, and in others not yet"


def test_a_channel_that_is_told_of_twice_is_come_into_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its membership is renewed before it was gone through, and somebody speaks there in between."""
    client = coming(world)
    last = CHANNELS[-1]
    world.member(last, ME)
    world.node.catch_up()
    world.node.catch_up()
    with monkeypatch.context() as before_it_is_shown:
        before_it_is_shown.setattr(world, "settle", lambda: None)
        world.append(last, ME, MessagePosted(text="x"))
    world.node.catch_up()
    frames = client.hears()
    seen = [frame["seq"] for frame in frames[1:] if frame.get("channel") == last]
    assert frames[0]["heads"][last] + len(seen) == 1


def test_it_can_be_ended_at_any_moment(world: World) -> None:
    client = coming(world)
    world.revoke("ses_1")
    world.settle()
    assert client.ended()
    assert not client.link.take()
    world.node.disconnected(client.session)
    assert not world.node.state.delivery.users
    assert not world.node.has_laggards


def test_who_is_not_up_yet_is_not_told_of(world: World) -> None:
    """Or it would be told of when another session of theirs changes, and nobody told when it goes before it was up."""
    other = world.connected(ME, "ses_2")
    world.gossip()
    client = coming(world)
    world.node.disconnected(other.session)
    world.gossip()
    world.node.disconnected(client.session)
    world.gossip()
    assert not world.node.state.company.presence.registry.online


def test_a_node_that_drains_sends_newcomers_away(world: World) -> None:
    client = coming(world)
    world.node.state.draining = True
    world.settle()
    assert client.ended()
    assert "welcome" not in types(client.link.take())


def test_a_node_that_holds_lets_newcomers_wait(world: World) -> None:
    client = coming(world)
    world.passes(world.node.state.limits.hold + 1, directory=False)
    assert not client.link.take()
    world.current()
    world.settle()
    assert types(client.link.take()) == ["welcome"]


def test_a_node_that_holds_for_long_sends_newcomers_away(world: World) -> None:
    client = coming(world)
    limits = world.node.state.limits
    world.passes(limits.hold + 1, directory=False)
    assert not client.ended()
    world.passes(limits.connect_timeout + 1, directory=False)
    assert client.ended()
