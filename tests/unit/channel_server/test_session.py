"""A connection's conversation once it is there: what is taken, what is refused, when it ends."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channel_server.core.limits import Limits
from services.contract.codes import CLOSES
from services.contract.envelope import Envelope, digest_of, partition_of
from services.contract.events import Event, MembersAdded, MembersRemoved, MessagePosted, encode_event
from services.contract.frames import MAX_MESSAGE_BYTES, MAX_RESUME_CHANNELS
from services.contract.ids import born_ms, new_event_id
from services.eventlog.records import LogRecord
from tests.unit.channel_server.fakes import channel_id, user_id
from tests.unit.channel_server.world import GENERATION, SENDER, World, types

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


# --- heartbeats, bad frames ----------------------------------------------------------------------------------------


def test_silence_of_two_heartbeats_ends_the_connection(world: World) -> None:
    silent, alive = world.connected(ANN), world.connected(BOB)
    for _ in range(4):
        world.passes(12)
        assert types(alive.says({"type": "ping"})) == ["pong"]
    assert silent.ended() is None
    world.passes(3)
    assert silent.ended() == code("heartbeat_timeout")
    assert alive.ended() is None


@pytest.mark.parametrize(
    "message", ["", "[]", "{}", '{"type":"nonsense"}', '{"type":"send"}', "nö", '{"type":"ping"']
)
def test_what_cannot_be_read_is_an_error_and_too_much_of_it_the_end(world: World, message: str) -> None:
    client = world.connected(ANN)
    for _ in range(10):
        assert [frame["code"] for frame in client.says(message)] == ["bad_frame"]
    client.says(message)
    assert client.ended() == code("protocol_violation")


_words = st.sampled_from(
    ["type", "send", "connect", "ping", "channel", "id", "text", "resume", "epoch", ROOM, "x"]
)
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _words, st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(_words, inner)),
    max_leaves=20,
)


@given(st.lists(st.one_of(st.text(), _json.map(json.dumps)), max_size=20), st.booleans())
def test_no_message_is_more_than_a_bad_frame(messages: list[str], connected: bool) -> None:
    world = World()
    world.user(ANN)
    client = world.connected(ANN) if connected else world.client(ANN)
    for message in messages:
        client.says(message)
    assert client.ended() in (None, code("protocol_violation"))
    world.passes(1.5)


@pytest.mark.parametrize("start", ["[", '{"type":"send","id":', '{"x":', '{"type":"send","x":' + "[" * 20])
def test_a_message_nested_without_end_is_a_bad_frame(world: World, start: str) -> None:
    client = world.connected(ANN)
    (error,) = client.says((start * 60_000)[:60_000])
    assert error["code"] == "bad_frame"


def test_binary_is_not_this_protocol(world: World) -> None:
    client = world.connected(ANN)
    client.session.received(b"x")
    assert client.ended() == code("unsupported_data")


@pytest.mark.parametrize("text", ["", "x" * 12_001, "a\x00b", "\ud800"])
def test_a_text_that_breaks_the_limits_is_refused_by_its_id(world: World, text: str) -> None:
    client = world.connected(ANN)
    id = world.id()
    (refused,) = client.sends(ROOM, text, id)
    assert (refused["type"], refused["id"], refused["code"]) == ("refused", id, "invalid_request")
    assert world.log.appended == []


# --- sends ------------------------------------------------------------------------------------------------------------


def test_an_ack_comes_from_the_tail_and_from_nothing_else(world: World) -> None:
    client = world.connected(ANN)
    id = world.id()
    assert client.sends(ROOM, "hi", id) == []
    outgoing = world.log.appended[0][0]
    outgoing.confirmed = True
    assert client.hears() == []
    world.tail()
    event, ack = sorted(client.hears(), key=lambda frame: str(frame["type"]), reverse=True)
    assert ack == {"type": "ack", "channel": ROOM, "id": id, "seq": 1, "at": event["at"]}
    assert event["event"] == {"type": "message.posted", "text": "hi"}
    assert client.link.writes == 2, "welcome, then one write for event and ack"


def test_a_retry_of_what_is_stored_gets_the_number_it_has(world: World) -> None:
    client = world.connected(ANN)
    id = world.id()
    client.sends(ROOM, "hi", id)
    world.tail()
    first = client.hears()
    world.passes(1)
    client.sends(ROOM, "hi", id)
    world.tail()
    (again,) = client.hears()
    ack = next(frame for frame in first if frame["type"] == "ack")
    assert again == {**ack, "duplicate": True}
    client.sends(ROOM, "something else", id)
    world.tail()
    (reused,) = client.hears()
    assert reused["code"] == "id_reused"


def test_two_connections_with_one_id_share_an_append_and_are_both_answered(world: World) -> None:
    here, there = world.connected(ANN), world.connected(ANN)
    id = world.id()
    here.sends(ROOM, "hi", id)
    there.sends(ROOM, "hi", id)
    assert len(world.log.appended) == 1
    world.tail()
    for client in (here, there):
        assert sorted(types(client.hears())) == ["ack", "event"]


def test_another_nodes_copy_answers_only_if_it_is_the_same_message(world: World) -> None:
    client = world.connected(ANN)
    same, other = world.id(), world.id()
    client.sends(ROOM, "hi", same)
    client.sends(ROOM, "hi", other)
    world.append(ROOM, ANN, MessagePosted(text="hi"), same)
    assert [frame["seq"] for frame in client.hears() if frame["type"] == "ack"] == [1]
    world.append(ROOM, ANN, MessagePosted(text="not that"), other)
    assert types(client.hears()) == ["event"]
    world.tail()
    assert [frame.get("code") for frame in client.hears()] == ["id_reused"]


def test_expired_and_future_come_from_the_fold(world: World) -> None:
    client = world.connected(ANN)
    world.append(ROOM, BOB, MessagePosted(text="sets the clock"))
    client.hears()
    now = world.clock.wall_ms()
    (expired,) = client.sends(ROOM, "old", new_event_id(now - 121_000))
    assert (expired["code"], expired["head"], expired["now"]) == ("expired", 1, now)
    assert world.log.appended == [], "surely expired: not worth a record"
    assert client.sends(ROOM, "ahead", new_event_id(now + 61_000)) == []
    world.tail()
    (future,) = client.hears()
    assert (future["code"], future["now"]) == ("future", now)


def test_not_a_member_is_final_only_after_a_second(world: World) -> None:
    client = world.connected(BOB)
    assert client.sends(ROOM) == []
    world.passes(0.5)
    assert client.hears() == []
    world.passes(0.6)
    assert [frame["code"] for frame in client.hears()] == ["not_a_member"]

    client.sends(ROOM)
    world.passes(0.5)
    world.member(ROOM, BOB)
    assert len(world.log.appended) == 1


def test_sends_of_a_channel_stay_in_order_while_one_waits(world: World) -> None:
    client = world.connected(BOB)
    version = world.member(OTHER, BOB)
    token = f"member:{ROOM}:{BOB}@{version + 1}"
    ids = [world.id() for _ in range(4)]
    client.sends(ROOM, "0", ids[0], directory_at=token)
    client.sends(ROOM, "1", ids[1])
    client.sends(OTHER, "another channel does not wait", ids[2])
    world.passes(3)
    client.sends(ROOM, "3", ids[3])
    assert [outgoing.id for outgoing, _, _ in world.log.appended] == [ids[2]]
    assert world.member(ROOM, BOB) == version + 1
    assert [outgoing.id for outgoing, _, _ in world.log.appended] == [ids[2], ids[0], ids[1], ids[3]]
    assert world.node.state.parked == 0


def test_what_never_arrives_is_not_yet(world: World) -> None:
    client = world.connected(ANN)
    client.sends(ROOM, directory_at="channel:x@99")
    world.passes(4.5)
    assert client.hears() == []
    world.passes(1)
    (refused,) = client.hears()
    assert (refused["code"], refused["retry_after_ms"]) == ("not_yet", 1000)
    (invalid,) = client.sends(ROOM, directory_at="no position")
    assert invalid["code"] == "invalid_request"


def test_a_late_tail_refuses_and_a_full_log_too(world: World) -> None:
    client = world.connected(ANN)
    world.passes(1.5, events=False)
    assert [frame["code"] for frame in client.sends(ROOM)] == ["slow_down"]
    world.current()
    world.log.full = True
    assert [frame["code"] for frame in client.sends(ROOM)] == ["slow_down"]
    world.log.full = False
    assert client.sends(ROOM) == []
    assert len(world.node.state.sends) == 1


def test_a_failed_append_closes_those_who_wait_for_it_and_nobody_else(world: World) -> None:
    world.member(ROOM, BOB)
    waiting, confirmed, idle = world.connected(ANN), world.connected(ANN), world.connected(BOB)
    confirmed.sends(ROOM)
    world.log.appended[0][0].confirmed = True
    waiting.sends(ROOM)
    partitions = range(len(world.node.state.numbering.sequencers))
    concerned = world.node.state.numbering.partition_of(ROOM)
    assert not any(world.node.appends_failed(other) for other in partitions if other != concerned)
    assert world.node.appends_failed(concerned) == 1
    assert waiting.ended() == code("append_failed")
    assert (confirmed.ended(), idle.ended()) == (None, None)
    world.tail()
    assert "ack" in types(confirmed.hears())
    assert len(world.node.state.sends) == 0


def test_a_verdict_that_never_comes_is_told(world: World) -> None:
    client = world.connected(ANN)
    client.sends(ROOM)
    world.passes(16)
    assert [frame["code"] for frame in client.hears()] == ["log_unavailable"]
    assert len(world.node.state.sends) == 0


def test_so_many_sends_may_be_under_way() -> None:
    world = World(Limits(sends_per_connection=3))
    world.user(ANN)
    world.member(ROOM, ANN)
    client = world.connected(ANN)
    answers = [client.sends(ROOM) for _ in range(4)]
    assert [len(answer) for answer in answers] == [0, 0, 0, 1]
    assert answers[3][0]["code"] == "slow_down"
    world.tail()
    client.hears()
    assert client.sends(ROOM) == []


# --- members, freshness, ending -----------------------------------------------------------------------------------------


def test_member_events_take_effect_at_their_place(world: World) -> None:
    world.member(ROOM, BOB)
    bobs = world.connected(BOB)
    world.append(ROOM, ANN, MessagePosted(text="1"))
    world.append(ROOM, ANN, MembersRemoved(user_ids=[BOB], version=next(world.versions)))
    world.append(ROOM, ANN, MessagePosted(text="3"))
    frames = bobs.hears()
    assert types(frames) == ["event", "closed"]
    assert frames[1]["last_seq"] == 1
    world.append(ROOM, ANN, MembersAdded(user_ids=[BOB], version=next(world.versions)))
    world.append(ROOM, ANN, MessagePosted(text="5"))
    frames = bobs.hears()
    assert types(frames) == ["opened", "event"]
    assert (frames[0]["head"], frames[1]["seq"]) == (4, 5)


def test_an_older_member_event_does_not_undo_a_newer_directory(world: World) -> None:
    old = next(world.versions)
    world.member(ROOM, BOB)
    bobs = world.connected(BOB)
    world.append(ROOM, ANN, MembersRemoved(user_ids=[BOB], version=old))
    world.append(ROOM, ANN, MessagePosted(text="2"))
    assert [frame["seq"] for frame in bobs.hears()] == [1, 2]


def test_nothing_is_shown_while_the_directory_may_be_out_of_date(world: World) -> None:
    world.member(ROOM, BOB)
    bobs = world.connected(BOB)
    world.passes(2.5, directory=False)
    world.append(ROOM, ANN, MessagePosted(text="1"))
    newcomer = world.client(ANN)
    assert newcomer.connects(resume={ROOM: 0}) == []
    assert bobs.hears() == []
    assert bobs.ended() is None
    world.passes(0.5)
    assert [frame["seq"] for frame in bobs.hears()] == [1]
    assert types(newcomer.hears()) == ["welcome", "event"]


def test_who_was_removed_while_it_held_sees_nothing_of_what_was_held(world: World) -> None:
    world.member(ROOM, BOB)
    bobs = world.connected(BOB)
    world.append(ROOM, ANN, MessagePosted(text="1"))
    bobs.hears()
    world.passes(2.5, directory=False)
    world.append(ROOM, ANN, MessagePosted(text="2"))
    world.member(ROOM, BOB, member=False)
    world.passes(0.5)
    assert bobs.hears() == [{"type": "closed", "channel": ROOM, "last_seq": 1}]


def test_a_directory_that_stays_behind_closes_and_a_broken_log_does_not(world: World) -> None:
    client = world.connected(ANN)
    world.passes(20, events=False, directory=False)
    assert client.ended() is None
    world.passes(1)
    world.passes(16.5, directory=False)
    assert client.ended() is None
    world.passes(1, directory=False)
    assert client.ended() == code("directory_stale")


def test_a_lost_log_resets_and_closes_everybody(world: World) -> None:
    client = world.connected(ANN)
    world.node.log_lost()
    assert types(client.link.take())[-1] == "reset"
    assert client.ended() == code("log_lost")


def test_who_does_not_read_falls_behind_and_in_the_end_out() -> None:
    world = World(Limits(high_water=1000))
    world.user(ANN)
    world.user(BOB)
    world.member(ROOM, ANN)
    world.member(ROOM, BOB)
    slow, quick = world.connected(ANN), world.connected(BOB)
    slow.link.reads = False
    for _ in range(100):
        world.append(ROOM, BOB, MessagePosted(text="x" * 100))
    assert slow.link.unread < 2000
    assert len(quick.hears()) == 100 + 1 - 1
    world.passes(20)
    slow.says({"type": "ping"})
    assert slow.ended() is None
    world.passes(11)
    assert slow.ended() == code("too_slow")
    assert quick.ended() is None
    assert not world.node.state.delivery.behind


def test_answers_alone_cannot_fill_memory_without_end() -> None:
    world = World(
        Limits(high_water=100, hard_limit=3000, connection_rate=1e6, connection_burst=1e6, user_burst=1e6)
    )
    world.user(ANN)
    client = world.connected(ANN)
    client.link.reads = False
    for _ in range(500):
        client.session.received(json.dumps({"type": "ping"}))
    world.passes(0.25)
    assert client.ended() == code("too_slow")


def test_a_welcome_of_any_size_is_no_slowness_of_who_reads_it() -> None:
    """46,000 channels make one frame of two megabytes."""
    world = World(
        Limits(high_water=1000, hard_limit=3000, behind_timeout=10, connection_burst=1e6, user_burst=1e6)
    )
    world.user(ANN)
    for number in range(400):
        world.member(channel_id(number), ANN)
    client = world.client(ANN)
    client.link.reads = False
    client.session.received(json.dumps({"type": "connect", "token": world.token(ANN, "ses_1")}))
    world.settle()
    size = client.link.unread
    assert size > 5 * 3000
    # It reads at the pace at which anybody must read what the hard limit allows, and a little faster.
    while client.link.unread:
        if client.link.unread > 1000:
            client.session.received(json.dumps({"type": "ping"}))
        client.link.unread = max(0, client.link.unread - 3000 // 10 - 30)
        world.passes(1)
        assert client.ended() is None
    # From then on it is like anybody else.
    for _ in range(300):
        client.session.received(json.dumps({"type": "ping"}))
    assert 3000 < client.link.unread < size
    world.passes(0.25)
    assert client.ended() == code("too_slow")


def test_who_never_reads_the_welcome_is_ended_too() -> None:
    world = World(Limits(high_water=1000, hard_limit=10_000, behind_timeout=10))
    world.user(ANN)
    for number in range(400):
        world.member(channel_id(number), ANN)
    client = world.client(ANN)
    client.link.reads = False
    client.session.received(json.dumps({"type": "connect", "token": world.token(ANN, "ses_1")}))
    world.settle()
    world.passes(10 * (1 + client.link.unread / 10_000) - 1)
    assert client.ended() is None
    world.passes(2)
    assert client.ended() == code("too_slow")


def test_a_resume_may_name_as_many_channels_as_the_contract_says(world: World) -> None:
    def named(count: int) -> str:
        resume = {"epoch": (1 << 53) - 1, "channels": {channel_id(n): (1 << 53) - 1 for n in range(count)}}
        connect = {"type": "connect", "token": "t" * 4096, "resume": resume, "client": "\x7f" * 100}
        return json.dumps(connect)

    assert len(named(MAX_RESUME_CHANNELS)) <= MAX_MESSAGE_BYTES
    client = world.client(ANN)
    client.says(named(MAX_RESUME_CHANNELS))
    assert client.ended() == code("unauthenticated")
    client = world.client(ANN)
    client.says(named(MAX_RESUME_CHANNELS + 1))
    assert client.ended() == code("protocol_violation")


def test_nothing_is_kept_of_who_is_gone(world: World) -> None:
    clients = [world.connected(ANN) for _ in range(3)]
    clients[0].sends(OTHER)
    clients[1].sends(ROOM)
    for client in clients:
        world.node.disconnected(client.session)
    world.tail()
    world.passes(60)
    state = world.node.state
    assert (state.parked, len(state.waits), len(state.sends)) == (0, 0, 0)
    assert not world.node.sessions
    assert not state.by_session
    assert not state.user_buckets
    assert not state.delivery.of_user(ANN)


def test_a_partition_that_nothing_is_heard_of_holds_up_nobody_elses_sends(world: World) -> None:
    """A broker that says nothing leads some partitions; what goes to the others is taken and shown as ever."""
    of = world.node.state.numbering.partition_of
    elsewhere = next(each for each in map(channel_id, range(3, 100)) if of(each) != of(ROOM))
    world.member(elsewhere, ANN)
    client = world.connected(ANN)
    for _ in range(8):
        world.clock.now += 0.25
        world.node.proven(world.proofs(silent=[of(ROOM)]), world.clock.now)
        world.node.tick()
    assert [frame["code"] for frame in client.sends(ROOM)] == ["slow_down"]
    assert client.sends(elsewhere) == []
    world.tail()
    assert "ack" in types(client.hears())
    assert world.node.state.freshness.why_not_ready(world.clock.now) is None
    world.passes(2, events=False)
    assert world.node.state.freshness.why_not_ready(world.clock.now) is not None


def test_whoever_is_added_in_the_middle_of_a_batch_is_shown_what_follows_in_it(world: World) -> None:
    """Also when nobody here has heard the channel before: what comes before that event is then kept for nobody."""
    client = world.connected(BOB)
    partition, now = partition_of(OTHER, GENERATION.partitions), world.clock.wall_ms()
    events: list[Event] = [MessagePosted(text=text) for text in ("before", "after", "later")]
    events.insert(1, MembersAdded(user_ids=[BOB], version=5))
    batch = []
    for offset, event in enumerate(events):
        id, value = world.id(), encode_event(event)
        envelope = Envelope(OTHER, SENDER, id, now, born_ms(id))
        batch.append(LogRecord(partition, offset, now, envelope, value, digest_of(value)))
    world.node.records(partition, batch)
    opened, *shown = client.hears()
    assert (opened["type"], opened["channel"], opened["head"]) == ("opened", OTHER, 2)
    assert [(frame["seq"], frame["event"]["text"]) for frame in shown] == [(3, "after"), (4, "later")]
