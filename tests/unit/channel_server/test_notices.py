"""Promise: a notice reaches every device of whom it addresses, once, or a gap says what is lacking; nobody else sees it."""

from __future__ import annotations

import json
from typing import Any

from channel_server.core.limits import Limits
from services.contract.events import MessagePosted
from services.contract.notices import AnnouncementPosted, MentionMade, notices_channel
from tests.unit.channel_server.fakes import channel_id, user_id
from tests.unit.channel_server.world import SENDER, WORKSPACE, World, types

ANNA, OMAR, EVE = user_id(1), user_id(2), user_id(3)
ELSEWHERE = "ws_" + "d" * 32
ROOM = channel_id(1)


def the_world(limits: Limits | None = None, ring_bytes: int = 1 << 20) -> World:
    world = World(limits, ring_bytes)
    world.user(ANNA)
    world.user(OMAR)
    world.user(EVE, workspace=ELSEWHERE)
    return world


def text(number: int) -> AnnouncementPosted:
    return AnnouncementPosted(text=str(number), all=True)


def numbers(frames: list[dict[str, Any]]) -> list[int]:
    return [frame["seq"] for frame in frames if frame["type"] == "notice"]


def test_every_device_of_the_addressed_is_shown_it_and_nobody_else() -> None:
    world = the_world()
    phone, laptop = world.connected(ANNA, "ses_1"), world.connected(ANNA, "ses_2")
    omar, eve = world.connected(OMAR), world.connected(EVE, workspace=ELSEWHERE)
    world.notice(MentionMade(channel=ROOM, seq=4, user_ids=[ANNA]))
    expected = {"type": "mention.made", "channel": ROOM, "seq": 4}
    for device in (phone, laptop):
        (frame,) = device.hears()
        assert (frame["type"], frame["seq"], frame["sender"]) == ("notice", 1, SENDER)
        assert frame["notice"] == expected, "and not whom else it addresses"
    world.notice(text(2))
    assert numbers(omar.hears()) == [2]
    assert eve.hears() == []


def test_a_notice_to_somebody_of_another_workspace_is_shown_to_nobody() -> None:
    world = the_world()
    eve = world.connected(EVE, workspace=ELSEWHERE)
    world.notice(MentionMade(channel=ROOM, seq=4, user_ids=[EVE]), WORKSPACE)
    assert eve.hears() == []
    world.passes(1)
    back = world.client(EVE)
    answer = back.connects(notices=0, workspace=ELSEWHERE)
    assert types(answer) == ["welcome"]


def test_nobody_comes_at_the_stream_as_at_a_channel() -> None:
    world = the_world()
    stream = notices_channel(WORKSPACE)
    world.notice(MentionMade(channel=ROOM, seq=4, user_ids=[OMAR]))
    anna = world.connected(ANNA, resume={stream: 0})
    assert stream not in anna.frames[-1]["heads"]
    assert anna.sends(stream) == []
    world.passes(2)
    assert types(anna.hears()) == ["refused", "closed"]
    world.notice(text(2))
    assert types(anna.hears()) == ["notice"], "the one for everybody, as a notice"
    assert len(world.node.state.ring) == 0


def test_who_resumes_is_shown_what_it_missed_of_its_own() -> None:
    world = the_world()
    for number in range(1, 7):
        world.notice(text(number) if number % 2 else MentionMade(channel=ROOM, seq=1, user_ids=[OMAR]))
    anna = world.connected(ANNA, notices=1)
    assert anna.frames[0]["type"] == "welcome"
    assert anna.frames[0]["notices"] == 6
    assert numbers(anna.frames) == [3, 5]


def test_pong_moves_an_idle_client_on_and_never_past_what_it_lacks() -> None:
    world = the_world(Limits(high_water=10))
    anna = world.connected(ANNA)
    assert anna.says({"type": "ping"}) == [{"type": "pong", "notices": 0}]
    world.notice(MentionMade(channel=ROOM, seq=4, user_ids=[OMAR]))
    assert anna.says({"type": "ping"}) == [{"type": "pong", "notices": 1}]
    anna.link.reads = False
    world.notice(text(2))
    anna.hears()
    for number in (3, 4):
        world.notice(text(number))
    assert anna.says({"type": "ping"}) == [{"type": "pong", "notices": 2}], "3 and 4 are still to come"
    anna.link.reads, anna.link.unread = True, 0
    world.node.drained(anna.session)
    assert numbers(anna.hears()) == [3, 4]
    assert anna.says({"type": "ping"}) == [{"type": "pong", "notices": 4}]


def test_a_ping_before_welcome_says_nothing_of_notices() -> None:
    world = the_world()
    assert world.client(ANNA).says({"type": "ping"}) == [{"type": "pong"}]


def test_when_memory_has_moved_past_its_place_the_gap_is_exact() -> None:
    world = the_world(ring_bytes=8 * 1000)
    for number in range(1, 11):
        world.notice(text(number))
    held = len(world.node.state.notices.ring)
    assert 0 < held < 9
    anna = world.connected(ANNA, notices=1)
    gap, *rest = [f for f in anna.frames if f["type"] != "welcome"]
    assert gap == {"type": "notices_gap", "from": 2, "to": 10 - held}
    assert numbers(rest) == list(range(11 - held, 11))


def test_a_slow_client_costs_no_copies_and_others_are_shown_at_once() -> None:
    world = the_world(Limits(high_water=10), ring_bytes=8 * 2000)
    slow, quick = world.connected(ANNA), world.connected(OMAR)
    slow.link.reads = False
    for number in range(1, 31):
        world.notice(text(number))
    assert numbers(quick.hears()) == list(range(1, 31))
    assert slow.link.writes <= 2
    assert slow.session.pending is None
    assert world.node.state.notices.ring.bytes <= 2000
    slow.link.reads, slow.link.unread = True, 0
    world.node.drained(slow.session)
    heard = slow.hears()
    (gap,) = [frame for frame in heard if frame["type"] == "notices_gap"]
    assert numbers(heard) == [*range(1, gap["from"]), *range(gap["to"] + 1, 31)]


def test_nothing_is_shown_while_the_directory_may_be_out_of_date() -> None:
    world = the_world()
    anna = world.connected(ANNA)
    world.passes(3, directory=False)
    world.notice(text(1))
    assert anna.hears() == []
    world.passes(1)
    assert numbers(anna.hears()) == [1]


def test_who_came_from_a_node_further_on_is_shown_nothing_twice() -> None:
    world = the_world()
    world.notice(text(1))
    anna = world.connected(ANNA, notices=3)
    world.notice(text(2))
    world.notice(text(3))
    assert anna.hears() == []
    world.notice(text(4))
    assert numbers(anna.hears()) == [4]


def test_what_cannot_be_read_is_numbered_and_shown_to_nobody() -> None:
    world = the_world()
    anna = world.connected(ANNA)
    for value in (b"no json", b'{"type":"x"}', json.dumps({"type": "later", "all": True}).encode()):
        world.append(notices_channel(WORKSPACE), SENDER, value)
    (frame,) = anna.hears()
    assert (frame["seq"], frame["notice"]) == (3, {"type": "later"})


def test_a_notice_that_came_before_the_workspace_was_known_is_there_for_who_resumes() -> None:
    world = World()
    world.notice(text(1))
    world.notice(text(2))
    world.user(ANNA)
    anna = world.connected(ANNA, notices=0)
    assert numbers(anna.frames) == [1, 2]


def test_channels_go_on_beside_it() -> None:
    world = the_world()
    world.member(ROOM, ANNA)
    anna = world.connected(ANNA)
    world.append(ROOM, OMAR, MessagePosted(text="x"))
    world.notice(text(1))
    assert types(anna.hears()) == ["event", "notice"]
