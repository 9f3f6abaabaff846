"""What is shown of each channel, and what never is."""

from __future__ import annotations

from collections.abc import Iterable

from client.effects import Effect, FillGap, Lacks, Leave, Show
from client.model import Closed, Gap, MessageEvent, Opened, RawEvent, Reset
from client.streams import HELD_EVENTS, RESUME_BYTES, Streams
from services.contract import frames
from tests.unit.client.server_model import OTHER, Stored, event_frame, raw_event

C = "ch_" + "c" * 32
D = "ch_" + "d" * 32


def welcome(heads: dict[str, int], epoch: int = 1) -> frames.Welcome:
    return frames.Welcome(
        session="ses",
        user="usr",
        epoch=epoch,
        server_time=0,
        heartbeat_ms=1000,
        first_heartbeat_ms=1000,
        heads=heads,
        nodes=[],
    )


def stored(seq: int) -> Stored:
    return Stored(seq, f"00000000-0000-7000-8000-{seq:012d}", OTHER, seq, f"text {seq}")


def live(seq: int, channel: str = C) -> frames.EventFrame:
    return event_frame(channel, stored(seq))


def page(*seqs: int) -> list[RawEvent]:
    return [raw_event(stored(seq)) for seq in seqs]


def shown(effects: Iterable[Effect]) -> list[object]:
    """Seqs of events, and the other things that are shown as they are."""
    events = [effect.event for effect in effects if isinstance(effect, Show)]
    return [event.seq if isinstance(event, MessageEvent) else event for event in events]


def left(effects: Iterable[Effect]) -> bool:
    return any(isinstance(effect, Leave) for effect in effects)


def opened(head: int = 0, channel: str = C) -> Streams:
    streams = Streams()
    streams.resume()
    streams.welcome(welcome({channel: head}))
    return streams


def test_welcome_opens_what_was_not_named() -> None:
    streams = Streams()
    assert streams.resume() is None
    assert shown(streams.welcome(welcome({C: 7}))) == [Opened(epoch=1, channel=C, head=7)]
    assert shown(streams.event(live(8))) == [8]


def test_a_copy_is_dropped() -> None:
    streams = opened()
    assert shown(streams.event(live(1))) == [1]
    assert list(streams.event(live(1))) == []
    assert shown(streams.event(live(2))) == [2]


def test_a_hole_is_neither_shown_nor_passed_over() -> None:
    streams = opened()
    assert left(streams.event(live(2)))
    assert streams.cursors == {C: 0}


def test_events_of_a_channel_that_is_not_open_end_the_connection() -> None:
    assert left(opened().event(live(1, D)))


def test_resume_names_what_was_shown_last_and_welcome_does_not_open_it_again() -> None:
    streams = opened()
    streams.event(live(1))
    streams.disconnected()
    assert streams.resume() == frames.Resume(epoch=1, channels={C: 1})
    assert shown(streams.welcome(welcome({C: 3}))) == []
    effects = [*streams.event(live(2)), *streams.event(live(3)), *streams.event(live(4))]
    assert [effect.event.via for effect in effects if isinstance(effect, Show) and isinstance(effect.event, MessageEvent)] == [
        "replay",
        "replay",
        "live",
    ]  # fmt: skip


def test_what_is_lacking_is_shown_before_what_came_after() -> None:
    streams = opened()
    assert streams.gap(frames.Gap(channel=C, from_=1, to=3)) == [Lacks(C, 1, 3), FillGap(C)]
    assert list(streams.event(live(4))) == []
    assert streams.lacking(C) == (1, 0, 3)
    assert shown(streams.filled(C, 1, page(1, 2))) == [1, 2]
    assert streams.lacking(C) == (1, 2, 3)
    assert shown(streams.filled(C, 1, page(3))) == [3, 4]
    assert streams.lacking(C) is None
    assert shown(streams.event(live(5))) == [5]


def test_a_page_that_reaches_into_what_came_live_is_not_shown_twice() -> None:
    streams = opened()
    streams.gap(frames.Gap(channel=C, from_=1, to=2))
    streams.event(live(3))
    streams.event(live(4))
    assert shown(streams.filled(C, 1, page(1, 2, 3))) == [1, 2, 3, 4]


def test_a_page_with_a_hole_is_shown_up_to_the_hole() -> None:
    streams = opened()
    streams.gap(frames.Gap(channel=C, from_=1, to=4))
    assert shown(streams.filled(C, 1, page(1, 3, 4))) == [1]
    assert shown(streams.filled(C, 1, page(3, 4))) == []


def test_a_page_of_another_epoch_is_not_shown() -> None:
    streams = opened()
    streams.gap(frames.Gap(channel=C, from_=1, to=2))
    assert shown(streams.filled(C, 2, page(1, 2))) == []


def test_a_gap_that_leaves_a_hole_before_it_ends_the_connection() -> None:
    assert left(opened().gap(frames.Gap(channel=C, from_=2, to=3)))


def test_a_second_gap_while_one_is_filled_makes_it_longer() -> None:
    streams = opened()
    streams.gap(frames.Gap(channel=C, from_=1, to=2))
    streams.event(live(3))
    assert streams.gap(frames.Gap(channel=C, from_=4, to=5)) == [Lacks(C, 3, 5)], "3 is fetched with them"
    assert shown(streams.filled(C, 1, page(1, 2, 3, 4, 5))) == [1, 2, 3, 4, 5]
    assert shown(streams.event(live(6))) == [6]


def test_a_gap_behind_what_is_fetched_already_begins_where_nothing_was_said_or_shown_yet() -> None:
    streams = opened()
    streams.gap(frames.Gap(channel=C, from_=1, to=1))
    for seq in range(2, HELD_EVENTS + 3):
        streams.event(live(seq))
    assert shown(streams.filled(C, 1, page(1, 2, 3))) == [1, 2, 3]
    end = HELD_EVENTS + 2
    assert streams.gap(frames.Gap(channel=C, from_=end + 1, to=end + 9)) == [Lacks(C, 4, end + 9)]
    assert streams.gap(frames.Gap(channel=C, from_=end + 10, to=end + 12)) == [Lacks(C, end + 10, end + 12)]


def test_what_is_held_back_is_bounded_and_what_does_not_fit_is_fetched_too() -> None:
    streams = opened()
    streams.gap(frames.Gap(channel=C, from_=1, to=1))
    for seq in range(2, HELD_EVENTS + 3):
        assert list(streams.event(live(seq))) == []
    assert streams.lacking(C) == (1, 0, HELD_EVENTS + 2)


def test_other_channels_go_on_while_a_gap_is_filled() -> None:
    streams = Streams()
    streams.resume()
    streams.welcome(welcome({C: 0, D: 0}))
    streams.gap(frames.Gap(channel=C, from_=1, to=1))
    assert shown(streams.event(live(1, D))) == [1]


def test_a_gap_is_forgotten_with_its_connection_and_asked_for_again() -> None:
    streams = opened()
    streams.gap(frames.Gap(channel=C, from_=1, to=2))
    streams.event(live(3))
    streams.disconnected()
    assert streams.lacking(C) is None
    assert streams.resume() == frames.Resume(epoch=1, channels={C: 0})
    streams.welcome(welcome({C: 3}))
    assert [*shown(streams.event(live(1))), *shown(streams.event(live(2)))] == [1, 2]


def test_a_gap_that_nobody_may_fill_is_told_and_the_stream_goes_on_behind_it() -> None:
    streams = opened()
    streams.gap(frames.Gap(channel=C, from_=1, to=2))
    streams.event(live(3))
    assert shown(streams.unfillable(C, "because")) == [Gap(channel=C, first=1, last=2, reason="because"), 3]


def test_closed_says_up_to_where_it_was_shown() -> None:
    streams = opened()
    streams.event(live(1))
    assert shown(streams.closed(frames.Closed(channel=C, last_seq=1))) == [Closed(channel=C, last_seq=1)]
    assert streams.resume() == frames.Resume(epoch=1, channels={})


def test_closed_in_the_middle_of_a_gap_tells_what_is_lacking() -> None:
    streams = opened()
    streams.gap(frames.Gap(channel=C, from_=1, to=2))
    streams.event(live(3))
    assert shown(streams.closed(frames.Closed(channel=C, last_seq=3))) == [
        Gap(channel=C, first=1, last=3, reason="You were no longer in the channel."),
        Closed(channel=C, last_seq=0),
    ]


def test_closed_behind_what_was_shown_is_a_hole() -> None:
    assert left(opened().closed(frames.Closed(channel=C, last_seq=2)))


def test_closed_of_a_channel_that_is_not_open_says_nothing() -> None:
    assert list(opened().closed(frames.Closed(channel=D, last_seq=0))) == []


def test_a_node_that_is_behind_opens_a_channel_and_nothing_is_shown_twice() -> None:
    streams = opened()
    for seq in (1, 2, 3):
        streams.event(live(seq))
    streams.closed(frames.Closed(channel=C, last_seq=3))
    assert shown(streams.opened(frames.Opened(channel=C, head=1))) == [Opened(epoch=1, channel=C, head=3)]
    effects = [effect for seq in (2, 3, 4) for effect in streams.event(live(seq))]
    assert shown(effects) == [4]


def test_another_epoch_by_welcome_alone() -> None:
    streams = opened()
    streams.event(live(1))
    streams.resume()
    assert shown(streams.welcome(welcome({C: 0}, epoch=2))) == [
        Reset(epoch=2),
        Opened(epoch=2, channel=C, head=0),
    ]
    assert list(streams.reset(frames.Reset(epoch=2))) == []  # says the same once more
    assert shown(streams.event(live(1))) == [1]


def test_another_epoch_by_reset_and_then_welcome() -> None:
    streams = opened()
    streams.event(live(1))
    streams.resume()
    assert shown(streams.reset(frames.Reset(epoch=2))) == [Reset(epoch=2)]
    assert shown(streams.welcome(welcome({C: 0}, epoch=2))) == [Opened(epoch=2, channel=C, head=0)]


def test_a_log_that_was_lost_takes_the_positions_with_it() -> None:
    streams = opened()
    streams.event(live(1))
    assert shown(streams.reset(frames.Reset(epoch=1))) == [Reset(epoch=1)]
    assert streams.resume() == frames.Resume(epoch=1, channels={})


def test_more_channels_than_one_message_can_name_are_caught_up_by_rest() -> None:
    streams = Streams()
    streams.resume()
    names = {f"ch_{n:032x}": 0 for n in range(3000)}
    streams.welcome(welcome(names))
    resume = streams.resume()
    assert resume is not None
    frame = frames.encode_frame(frames.Connect(token="t" * 4096, resume=resume))
    assert len(frame) <= frames.MAX_MESSAGE_BYTES
    assert len(frame) > RESUME_BYTES / 2
    unnamed, left, *others = [name for name in names if name not in resume.channels]
    effects = streams.welcome(welcome({unnamed: 2, **dict.fromkeys(others, 0)}))
    # What was not named is listed while one is a member of it; `left` is not.
    assert effects[:2] == [Lacks(unnamed, 1, 2), FillGap(unnamed)]
    assert shown(effects[2:]) == [Closed(channel=left, last_seq=0)]


def test_deaf_nothing_is_shown_and_the_resume_brings_it() -> None:
    streams = opened()
    streams.event(live(1))
    streams.deaf = True
    assert list(streams.event(live(2))) == []
    assert list(streams.opened(frames.Opened(channel=D, head=0))) == []
    streams.disconnected()
    assert streams.resume() == frames.Resume(epoch=1, channels={C: 1})
    assert not streams.deaf
