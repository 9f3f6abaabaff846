"""A page of messages and the events since are what a fresh page would show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.model import ChannelEvent, MessageEvent, shown_event
from client.records_messages import Message as Record
from client.records_messages import MessagePage, Reaction
from client.timeline import Timeline
from services.contract.events import (
    Event,
    MessageDeleted,
    MessageEdited,
    MessagePosted,
    ReactionAdded,
    encode_event,
)
from services.contract.examples import CHANNEL
from services.projection import Message, Numbered
from tests.unit.projection.histories import USERS, History, States, fold, histories, numbered

ANNA, OMAR = USERS[:2]


def shown(at: Numbered, event: Event) -> MessageEvent | ChannelEvent:
    return shown_event(1, CHANNEL, at.seq, at.id, at.sender, at.at, encode_event(event), "live", at.mentions)


def page(states: States, head: int, seqs: set[int] | None = None, epoch: int = 1) -> MessagePage:
    """What REST gives of these messages as of `head`."""
    wanted = [states[seq] for seq in sorted(states) if seqs is None or seq in seqs]
    return MessagePage(epoch=epoch, channel=CHANNEL, head=head, messages=[record(each) for each in wanted])


def record(state: Message) -> Record:
    return Record(
        seq=state.seq,
        id=state.id,
        sender=state.sender,
        at=state.at,
        text=state.text,
        thread=state.thread,
        also_to_channel=state.also_to_channel,
        edits=state.edits,
        edited_at=state.edited_at,
        deleted=state.deleted,
        pinned_by=state.pinned_by,
        pinned_at=state.pinned_at,
        reactions=[Reaction(emoji=emoji, users=list(users)) for emoji, users in state.reactions],
        replies=state.summary.replies,
        last_reply=state.summary.last_reply,
        last_reply_at=state.summary.last_reply_at,
        participants=list(state.summary.participants),
        mentions=list(state.mentions),
        mentions_channel=state.mentions_channel,
    )


@given(histories, st.data())
def test_a_page_and_the_events_since_are_a_fresh_page(history: History, data: st.DataObject) -> None:
    """Also with older pages that come later, from before or after the events that are seen meanwhile."""
    k = data.draw(st.integers(0, len(history)), label="snapshot")
    recent = {seq for seq in range(1, k + 1) if seq > data.draw(st.integers(0, k), label="window")}
    timeline = Timeline(page(fold(history[:k]), k, recent))
    older = data.draw(st.integers(k, len(history)), label="older page as of")
    asked = data.draw(st.integers(k, older), label="asked for at")
    for at, event in history[k:]:
        if at.seq == asked + 1:
            timeline.load(page(fold(history[:older]), older, set(range(1, k + 1)) - recent))
        timeline.apply(shown(at, event))
    if asked == len(history):
        timeline.load(page(fold(history[:older]), older, set(range(1, k + 1)) - recent))
    whole = fold(history)
    assert timeline.messages.keys() == whole.keys()
    for seq, state in whole.items():
        if seq not in timeline.stale:
            assert timeline.messages[seq] == state
        else:
            assert timeline.messages[seq]._replace(summary=state.summary) == state


@given(histories, st.data())
def test_with_everything_loaded_nothing_is_stale(history: History, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(history)))
    timeline = Timeline(page(fold(history[:k]), k))
    for at, event in history[k:]:
        before = dict(timeline.messages)
        changed = timeline.apply(shown(at, event))
        assert {seq for seq in timeline.messages if timeline.messages[seq] != before.get(seq)} <= changed
    whole = fold(history)
    assert timeline.messages == whole
    # A deletion of what never was a message looks like one of a reply that is not here.
    unfounded = {
        event.thread
        for _, event in history
        if isinstance(event, MessageDeleted) and event.target not in whole
    }
    assert timeline.stale <= unfounded


def told(*said: tuple[Event, str]) -> History:
    return numbered([(event, sender, ()) for event, sender in said])


def test_a_thread_whose_deleted_reply_is_not_here_is_stale_until_it_is_loaded_again() -> None:
    history = told(
        (MessagePosted(text="root"), ANNA),
        (MessagePosted(text="reply", thread=1), OMAR),
        (MessageDeleted(target=2, thread=1), OMAR),
    )
    timeline = Timeline(page(fold(history[:2]), 2, {1}))
    assert timeline.apply(shown(*history[2])) == {1}
    assert timeline.stale == {1}
    timeline.load(page(fold(history), 3, {1}))
    assert (timeline.stale, timeline.messages[1].summary.replies) == (set(), 0)


def test_what_a_channel_shows_and_what_a_thread() -> None:
    history = told(
        (MessagePosted(text="root"), ANNA),
        (MessagePosted(text="reply", thread=1), OMAR),
        (MessagePosted(text="for all", thread=1, also_to_channel=True), OMAR),
        (MessagePosted(text="gone"), ANNA),
        (MessageDeleted(target=4), ANNA),
        (MessageDeleted(target=1), ANNA),
    )
    timeline = Timeline(page(fold(history), 6))
    assert [message.seq for message in timeline.shown()] == [1, 3]
    assert [message.text for message in timeline.thread(1)] == ["reply", "for all"]
    assert timeline.first == 1


def test_what_does_not_follow_is_refused_and_what_is_known_changes_nothing() -> None:
    history = told(
        (MessagePosted(text="one"), ANNA),
        (MessageEdited(target=1, text="two"), ANNA),
        (ReactionAdded(target=1, emoji="👍"), OMAR),
    )
    timeline = Timeline(page(fold(history[:2]), 2))
    assert timeline.apply(shown(*history[1])) == set()
    with pytest.raises(ValueError, match="older"):
        timeline.load(page(fold(history[:1]), 1))
    with pytest.raises(ValueError, match="belong"):
        timeline.load(page(fold(history), 3, epoch=2))
    behind = Timeline(page(fold(history[:1]), 1))
    with pytest.raises(ValueError, match="follow"):
        behind.apply(shown(*history[2]))
