"""The heartbeat, dead connections, and what the clock of the server is used for."""

from __future__ import annotations

import random

from client.effects import Leave
from client.session import WELCOME_S, Session
from services.contract import frames
from services.contract.ids import born_ms

C = "ch_" + "c" * 32


def welcomed(now: float = 100.0) -> Session:
    session = Session(rng=random.Random(1))
    session.connecting("token", "test", now)
    session.received(
        frames.Welcome(
            session="ses_1",
            user="usr_1",
            epoch=1,
            server_time=1_700_000_000_000,
            heartbeat_ms=10_000,
            first_heartbeat_ms=3_000,
            heads={C: 0},
            nodes=["ws://other"],
        ),
        now,
    )
    return session


def test_pings_at_the_pace_that_the_server_dictates() -> None:
    session = welcomed()
    assert session.next_due(100.0) == 103.0
    assert session.heartbeat(102.9) is None
    assert session.heartbeat(103.0) == frames.Ping()
    assert session.heartbeat(103.1) is None
    assert session.heartbeat(113.0) == frames.Ping()


def test_silence_of_two_heartbeats_is_death() -> None:
    session = welcomed()
    session.received(frames.Pong(), 105.0)
    assert session.given_up(124.9) is None
    assert isinstance(session.given_up(125.0), Leave)


def test_silence_says_nothing_while_nothing_is_read() -> None:
    session = welcomed()
    session.post(C, "hello")
    session.sendable(100.0)
    session.paused()
    assert session.given_up(1000.0) is None
    session.reading(1000.0)
    assert session.given_up(1001.0) is None
    assert isinstance(session.given_up(1020.0), Leave)


def test_a_node_that_does_not_welcome_is_given_up() -> None:
    session = Session(rng=random.Random(1))
    session.connecting("token", "test", 50.0)
    assert session.next_due(50.0) == 50.0 + WELCOME_S
    assert session.given_up(50.0 + WELCOME_S - 0.1) is None
    assert isinstance(session.given_up(50.0 + WELCOME_S), Leave)


def test_a_send_without_a_verdict_ends_the_connection() -> None:
    session = welcomed()
    session.post(C, "hello")
    session.sendable(100.0)
    session.received(frames.Pong(), 114.0)
    assert session.given_up(114.9) is None
    assert isinstance(session.given_up(115.0), Leave)


def test_nothing_is_sent_before_the_welcome() -> None:
    session = Session(rng=random.Random(1))
    session.post(C, "hello")
    session.connecting("token", "test", 1.0)
    assert session.sendable(1.0) == []


def test_ids_are_born_by_the_servers_clock() -> None:
    session = welcomed(now=100.0)
    session.post(C, "hello")
    (outgoing,) = session.sendable(160.0)
    assert born_ms(outgoing.frame.id) == 1_700_000_060_000


def test_a_node_about_to_leave_is_left_as_planned() -> None:
    session = welcomed()
    (leave,) = session.received(frames.Reconnect(after_ms=5000, nodes=["ws://third"]), 101.0)
    assert leave == Leave("the node is about to leave", True, ("ws://third",), 5000)
    assert session.nodes == ("ws://third",)


def test_events_before_the_welcome_end_the_connection() -> None:
    session = Session(rng=random.Random(1))
    session.connecting("token", "test", 1.0)
    assert isinstance(session.received(frames.Opened(channel=C, head=0), 1.0)[0], Leave)
