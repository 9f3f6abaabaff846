"""Connecting: who is let in, who is told to come back, and what `welcome` and a resume say."""

from __future__ import annotations

from typing import Any

import pytest

from channel_server.core.limits import Limits
from services.contract.codes import CLOSES
from services.contract.directory import KeyRecord, RevokedRecord
from services.contract.events import MembersAdded, MessagePosted
from tests.unit.channel_server.fakes import channel_id, user_id
from tests.unit.channel_server.world import GENERATION, PEM, World, types

ANN, BOB = user_id(1), user_id(2)
ROOM, OTHER = channel_id(1), channel_id(2)


@pytest.fixture
def world() -> World:
    made = World()
    made.user(ANN)
    made.user(BOB)
    made.member(ROOM, ANN)
    return made


def code(name: str) -> int:
    return CLOSES[name].code


def test_welcome_says_what_a_client_needs(world: World) -> None:
    world.append(ROOM, ANN, MessagePosted(text="1"))
    (welcome,) = world.client(ANN).connects()
    assert welcome["heads"] == {ROOM: 1}
    assert welcome["epoch"] == GENERATION.epoch
    assert welcome["nodes"] == ["ws://other"]
    assert welcome["heartbeat_ms"] == 25_000
    assert 5_000 <= welcome["first_heartbeat_ms"] <= 25_000
    assert (welcome["user"], welcome["session"]) == (ANN, "ses_1")


def test_nothing_said_for_ten_seconds_ends_the_connection(world: World) -> None:
    client = world.client(ANN)
    world.passes(9.5)
    assert client.ended() is None
    world.passes(1)
    assert client.ended() == code("connect_timeout")


@pytest.mark.parametrize(
    ("claims", "close"),
    [
        ({"lifetime": -10}, "unauthenticated"),
        ({"workspace": "ws_" + "1" * 32}, "unauthenticated"),
    ],
)
def test_a_token_that_is_not_good_enough_is_refused_at_once(
    world: World, claims: dict[str, Any], close: str
) -> None:
    client = world.client(ANN)
    (error,) = client.connects(**claims)
    assert error["code"] == "unauthenticated"
    assert client.ended() == code(close)


def test_a_token_that_is_none_is_refused(world: World) -> None:
    client = world.client(ANN)
    client.says({"type": "connect", "token": "x.y.z"})
    assert client.ended() == code("unauthenticated")


def test_a_person_a_moment_ahead_of_the_directory_connects_all_the_same(world: World) -> None:
    carol = user_id(3)
    client = world.client(carol)
    assert client.connects() == []
    world.passes(1)
    world.user(carol)
    assert types(client.hears()) == ["welcome"]


def test_what_may_be_news_is_waited_for_but_not_for_long_and_never_refused_for_good(world: World) -> None:
    """The relay may be down for longer than anybody waits: a new person, a new key, a reactivated account."""
    world.user(BOB, active=False)
    nobody, unsigned, reactivated = world.client(user_id(9)), world.client(ANN), world.client(BOB, "ses_new")
    assert nobody.connects() == reactivated.connects() == []
    assert unsigned.connects(kid="other") == []
    world.passes(4.5)
    assert nobody.ended() is unsigned.ended() is reactivated.ended() is None
    world.passes(1)
    for client in (nobody, unsigned, reactivated):
        assert [frame["code"] for frame in client.hears()] == ["not_yet"]
        assert client.ended() == code("not_ready")
    assert CLOSES["not_ready"].reconnect
    assert len(world.node.state.waits) == 0


@pytest.mark.parametrize(
    "claims",
    [{"lifetime": -10}, {"audience": "access"}, {"kid": "retired"}],
    ids=lambda claims: next(iter(claims)),
)
def test_what_no_news_can_mend_is_final_whatever_the_key(world: World, claims: dict[str, Any]) -> None:
    world.tell(KeyRecord(kid="retired", public_key=PEM, active=False, version=next(world.versions)))
    client = world.client(ANN)
    client.connects(**{"kid": "other", **claims})
    assert client.ended() == code("unauthenticated")


def test_a_known_keys_name_under_another_signature_is_final(world: World) -> None:
    head, body, _ = world.token(ANN, "ses_1").split(".")
    client = world.client(ANN)
    client.says({"type": "connect", "token": f"{head}.{body}.{'A' * 86}"})
    assert client.ended() == code("unauthenticated")


def test_deactivation_and_revocation_end_live_sessions_and_bar_new_ones(world: World) -> None:
    anns, bobs, others = world.connected(ANN), world.connected(BOB, "ses_b"), world.connected(BOB, "ses_c")
    world.user(ANN, active=False)
    world.revoke("ses_b")
    assert anns.ended() == code("deactivated")
    assert bobs.ended() == code("session_revoked")
    assert others.ended() is None
    world.revoke("ses_1")  # as a deactivation does
    late = world.client(ANN)
    late.connects()
    assert late.ended() == code("session_revoked")
    again = world.client(BOB, "ses_b")
    again.connects()
    assert again.ended() == code("session_revoked")


def test_a_revocation_outlives_every_token_and_then_goes(world: World) -> None:
    until = world.clock.wall_ms() + 10_000
    world.tell(RevokedRecord(session_id="ses_b", until_ms=until, version=next(world.versions)))
    world.passes(65)
    late = world.client(BOB, "ses_b")
    late.connects()
    assert late.ended() == code("session_revoked")
    world.passes(60)
    assert world.node.state.directory.sizes()["revoked"] == 0


def test_a_person_has_so_many_connections_and_no_more() -> None:
    world = World(Limits(connections_per_user=2))
    world.user(ANN)
    first, _ = world.connected(ANN), world.connected(ANN)
    third = world.client(ANN)
    third.connects()
    assert third.ended() == code("too_many_connections")
    world.node.disconnected(first.session)
    world.connected(ANN)


def test_connect_comes_first_and_once(world: World) -> None:
    client = world.client(ANN)
    client.sends(ROOM)
    assert client.ended() == code("protocol_violation")
    twice = world.connected(ANN)
    twice.connects()
    assert twice.ended() == code("protocol_violation")


def test_positions_of_another_epoch_are_reset_and_all_heads_come(world: World) -> None:
    world.append(ROOM, ANN, MessagePosted(text="1"))
    client = world.client(ANN)
    frames = client.says(
        {"type": "connect", "token": world.token(ANN, "s"), "resume": {"epoch": 6, "channels": {ROOM: 1}}}
    )
    assert types(frames) == ["reset", "welcome"]
    assert frames[1]["heads"] == {ROOM: 1}


def test_a_channel_named_by_who_is_no_member_is_closed_whether_or_not_it_exists(world: World) -> None:
    world.append(OTHER, BOB, MessagePosted(text="secret"))
    nowhere = channel_id(99)
    client = world.client(ANN)
    (welcome,) = client.connects(resume={OTHER: 0, nowhere: 5})
    assert welcome["heads"] == {ROOM: 0}
    world.passes(0.5)
    assert client.hears() == []
    world.passes(1)
    closed = sorted(client.hears(), key=lambda frame: frame["channel"])
    assert closed == [
        {"type": "closed", "channel": OTHER, "last_seq": 0},
        {"type": "closed", "channel": nowhere, "last_seq": 5},
    ]


def test_a_membership_that_comes_within_the_wait_makes_it_a_resume(world: World) -> None:
    for text in "123":
        world.append(OTHER, BOB, MessagePosted(text=text))
    client = world.client(ANN)
    client.connects(resume={OTHER: 1})
    world.passes(0.5)
    world.member(OTHER, ANN)
    assert [frame["seq"] for frame in client.hears()] == [2, 3]
    world.passes(2)
    assert client.hears() == []


def test_a_member_event_within_the_wait_opens_from_there_and_resumes_nothing(world: World) -> None:
    for text in "123":
        world.append(OTHER, BOB, MessagePosted(text=text))
    client = world.client(ANN)
    client.connects(resume={OTHER: 1})
    world.append(OTHER, BOB, MembersAdded(user_ids=[ANN], version=next(world.versions)))
    world.append(OTHER, BOB, MessagePosted(text="5"))
    frames = client.hears()
    assert types(frames) == ["closed", "opened", "event"]
    assert (frames[0]["last_seq"], frames[1]["head"], frames[2]["seq"]) == (1, 4, 5)


def test_who_is_ahead_of_this_node_is_shown_each_event_as_soon_as_it_is_new_to_them(world: World) -> None:
    world.append(ROOM, BOB, MessagePosted(text="1"))
    client = world.connected(ANN, resume={ROOM: 3})
    heard = []
    for text in "2345":
        world.append(ROOM, BOB, MessagePosted(text=text))
        heard.append([frame["seq"] for frame in client.hears()])
    assert heard == [[], [], [4], [5]]
