"""From a record's value to a typed event."""

from __future__ import annotations

import pytest

from services.contract import examples
from services.contract.events import Event, encode_event
from services.projection import KNOWN_KINDS, Unprojectable, read


@pytest.mark.parametrize("event", examples.EVENTS, ids=lambda event: type(event).__name__)
def test_every_kind_of_the_contract_is_read(event: Event) -> None:
    assert read(encode_event(event)) == (type(event).__struct_config__.tag, event)


def test_a_kind_of_a_newer_release_is_no_fault() -> None:
    assert read(b'{"type":"message.rated","seq":4}') == ("message.rated", None)


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
