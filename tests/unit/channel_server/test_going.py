"""One who leaves more channels than are left at once: they are gone at once, whatever they are still being taken out of."""

from __future__ import annotations

import json
from typing import cast

import pytest

from channel_server import clients
from channel_server.core.limits import Limits
from channel_server.websocket.connection import WebSocketConnection
from services.contract.events import MessagePosted
from services.contract.presence import TypingRecord, encode
from tests.unit.channel_server.fakes import FakeLink, channel_id, user_id
from tests.unit.channel_server.world import Client, World, types

ME, OTHER = user_id(1), user_id(2)
CHANNELS = [channel_id(number) for number in range(1, 7)]
FIRST, LAST = CHANNELS[0], CHANNELS[-1]


@pytest.fixture
def world() -> World:
    """I am in six channels, of which two are left at once; the other is in the first and in the last."""
    world = World(limits=Limits(channels_at_once=2))
    for user in (ME, OTHER):
        world.user(user)
    for channel in CHANNELS:
        world.member(channel, ME)
    for channel in (FIRST, LAST):
        world.member(channel, OTHER)
    world.current()
    return world


def leaving(world: World) -> Client:
    """Its WebSocket is gone, and it is out of two of its six channels."""
    client = world.connected(ME)
    world.node.disconnected(client.session)
    world.node.catch_up()
    assert world.node.state.delivery.leaving == 1
    return client


def inside(world: World) -> list[str]:
    """Channels in which somebody is still kept."""
    return [channel for channel in CHANNELS if world.node.state.delivery.has_audience(channel)]


def said(world: World, channel: str) -> None:
    """Somebody speaks, and it is shown; nobody is taken out of anything meanwhile."""
    settle, world.settle = world.settle, lambda: None  # type: ignore[method-assign]
    world.append(channel, OTHER, MessagePosted(text="x"))
    world.settle = settle  # type: ignore[method-assign]
    while world.node.show():
        pass


def test_it_is_taken_out_of_some_at_a_time(world: World) -> None:
    client = world.connected(ME)
    world.node.disconnected(client.session)
    assert world.node.has_laggards
    left = [len(inside(world))]
    while world.node.catch_up():
        left.append(len(inside(world)))
    assert [*left, len(inside(world))] == [6, 4, 2, 0]
    assert not world.node.has_laggards


def test_out_of_few_it_is_taken_at_once(world: World) -> None:
    client = world.connected(OTHER)
    world.node.disconnected(client.session)
    assert not inside(world)
    assert not world.node.has_laggards


def test_it_is_shown_nothing_more_and_others_are(world: World) -> None:
    other = world.connected(OTHER)
    client = leaving(world)
    shown = world.node.state.delivery.counts.deliveries
    for channel in (FIRST, LAST):
        said(world, channel)
        assert types(other.link.take()) == ["event"]
    world.node.state.company.typing_heard(LAST, encode(TypingRecord(user=OTHER)), world.clock.now)
    world.node.state.company.tick(world.clock.now, ())
    while world.node.show():
        pass
    assert types(other.link.take()) == ["typing"]
    assert world.node.state.delivery.leaving
    assert not client.link.take()
    assert world.node.state.delivery.counts.deliveries == shown + 2
    assert not world.node.state.company.typists.counts["dropped"], "nobody there was left out"
    world.settle()
    assert inside(world) == [FIRST, LAST]


def test_what_happens_to_its_memberships_meanwhile_is_no_concern_of_it(world: World) -> None:
    client = leaving(world)
    world.node.state.delivery.held = True
    said(world, LAST)
    for channel in (FIRST, LAST):
        for member in (False, True):
            world.member(channel, ME, member)
    world.node.drained(client.session)
    assert not client.session.lag
    world.current()
    world.settle()
    assert not client.link.take()
    assert not inside(world)


def test_also_while_the_node_holds_everything_back(world: World) -> None:
    leaving(world)
    world.node.state.delivery.held = True
    assert world.node.has_laggards
    while world.node.catch_up():
        pass
    assert not inside(world)


def test_it_is_over_for_everybody_at_once(world: World) -> None:
    """Whoever is told of people, and whatever counts them."""
    client = world.connected(ME)
    world.gossip()
    registry = world.node.state.company.presence.registry
    assert registry.state(ME) == "active"
    world.node.disconnected(client.session)
    world.gossip()
    assert registry.state(ME) == "offline"
    assert not world.node.state.delivery.users
    assert not world.node.state.by_session
    assert not world.node.sessions


def test_who_comes_back_meanwhile_is_somebody_new(world: World) -> None:
    old = leaving(world)
    said(world, LAST)
    new = world.client(ME)
    new.session.received(
        json.dumps(
            {
                "type": "connect",
                "token": world.token(ME, "ses_1"),
                "resume": {"epoch": 7, "channels": {LAST: 0}},
            }
        )
    )
    while world.node.catch_up():
        said(world, FIRST)
    frames = new.hears()
    assert types(frames)[0] == "welcome"
    assert [frame["seq"] for frame in frames[1:] if frame["channel"] == LAST] == [1]
    said(world, LAST)
    assert [(frame["channel"], frame["seq"]) for frame in new.link.take()] == [(LAST, 2)]
    assert not old.link.take()
    assert not world.node.state.delivery.leaving
    assert inside(world) == CHANNELS
    world.gossip()
    (where,) = world.node.state.company.presence.registry.whereabouts(ME)
    assert where.session.since == new.session.since_ms


def test_who_has_come_into_some_leaves_no_more_than_those(world: World) -> None:
    """Or many who come and go at once would make more to do by going than they could by coming."""
    client = world.client(ME)
    client.session.received(json.dumps({"type": "connect", "token": world.token(ME, "ses_1")}))
    world.node.catch_up()
    assert len(inside(world)) == 2
    world.node.disconnected(client.session)
    assert not world.node.state.delivery.leaving
    assert not inside(world)


def test_as_many_are_left_as_are_come_into(world: World) -> None:
    """However many come and go, those on their way out are never more than once were here together."""
    for number in range(20):
        client = world.client(ME, f"ses_{number}")
        client.session.received(json.dumps({"type": "connect", "token": world.token(ME, f"ses_{number}")}))
        while client.session.joining is not None:
            world.node.catch_up()
        assert "welcome" in types(client.link.take())
        world.node.disconnected(client.session)
        assert world.node.state.delivery.leaving <= 1


def test_those_who_were_here_first_are_taken_out_first(world: World) -> None:
    one, two = world.connected(ME, "ses_1"), world.connected(ME, "ses_2")
    for client in (one, two):
        world.node.disconnected(client.session)
    counts = []
    while world.node.catch_up():
        counts.append(world.node.state.delivery.leaving)
    assert counts == [2, 2, 1, 1, 1]


def test_a_node_that_drains_says_goodbye_to_those_too(world: World) -> None:
    stayed = world.connected(ME, "ses_2")
    leaving(world)
    world.node.state.draining = True
    world.node.end_all("drained")
    assert stayed.ended()
    world.gossip()
    assert not world.node.state.company.presence.registry.online
    world.settle()
    assert not inside(world)


def test_who_is_gone_has_it_gone_on_with(world: World) -> None:
    """By the shell, at once."""
    woken: list[None] = []
    client = clients.Client(world.node, lambda: woken.append(None))
    connection = cast(WebSocketConnection, FakeLink())
    client.on_open(connection)
    client.on_message(
        connection, json.dumps({"type": "connect", "token": world.token(ME, "ses_1")}), is_text=True
    )
    world.settle()
    woken.clear()
    client.on_close(connection, 1001, "")
    assert woken
    assert inside(world) == CHANNELS
