"""The current state of messages, from the bodies of their events."""

from __future__ import annotations

import pytest

from services.contract.events import (
    ChannelTopicSet,
    MembersAdded,
    MessagePosted,
    encode_event,
)
from services.contract.ids import new_entity_id, new_event_id
from services.projection import KNOWN_KINDS, Message, Numbered, Unprojectable, read, step, target

AT = Numbered(new_entity_id("ch"), 7, new_event_id(), new_entity_id("usr"), 1_000)


def test_a_posted_message_is_its_own_first_state() -> None:
    kind, event = read(encode_event(MessagePosted(text="hello")))
    assert event is not None
    assert kind == "message.posted"
    assert target(AT, event) == AT.seq
    assert step(None, AT, event) == Message(AT.channel, 7, AT.id, AT.sender, 1_000, "hello")


@pytest.mark.parametrize(
    "event",
    [ChannelTopicSet(topic="t"), MembersAdded(user_ids=[AT.sender], version=1)],
    ids=lambda e: type(e).__name__,
)
def test_other_events_change_no_message(event: ChannelTopicSet | MembersAdded) -> None:
    _, read_back = read(encode_event(event))
    assert read_back == event
    assert target(AT, read_back) is None
    state = Message(AT.channel, 7, AT.id, AT.sender, 1_000, "hello")
    assert step(state, AT, read_back) == state


def test_a_kind_of_a_newer_release_is_no_fault() -> None:
    assert read(b'{"type":"message.pinned","seq":4}') == ("message.pinned", None)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (None, "unreadable"),
        (b"", "unreadable"),
        (b"\xff\xfe", "unreadable"),
        (b'{"no":"type"}', "unreadable"),
        (b'{"type":7}', "unreadable"),
        (b'{"type":"message.posted","text":"a","x":"\xff"}', "unreadable"),
        (b'{"x":' + b"[" * 10_000 + b"]" * 10_000 + b',"type":"message.posted","text":"a"}', "unreadable"),
        (b'{"type":"message.posted"}', "message.posted"),
        (b'{"type":"message.posted","text":7}', "message.posted"),
        (b'{"type":"message.posted","text":""}', "message.posted"),
        (b'{"type":"message.posted","text":"a\\u0000b"}', "message.posted"),
        (b'{"type":"members.added","user_ids":[],"version":1}', "members.added"),
    ],
)
def test_what_cannot_be_projected_says_under_which_kind_it_is_shown(body: bytes | None, kind: str) -> None:
    with pytest.raises(Unprojectable) as raised:
        read(body)
    assert raised.value.kind == kind


def test_the_known_kinds_are_the_tags_of_the_contract() -> None:
    assert {"message.posted", "members.added", "channel.created"} <= KNOWN_KINDS
    assert "unreadable" not in KNOWN_KINDS
