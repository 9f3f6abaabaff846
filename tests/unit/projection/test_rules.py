"""What a channel's events add up to: a snapshot and what came since is the same as all; races have one outcome."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract.events import (
    Event,
    MessageDeleted,
    MessageEdited,
    MessagePinned,
    MessagePosted,
    MessageUnpinned,
    ReactionAdded,
    ReactionRemoved,
    encode_event,
)
from services.projection import (
    MAX_EMOJI,
    MAX_PARTICIPANTS,
    MAX_REACTIONS,
    Message,
    Reaction,
    Thread,
    step,
    targets,
)
from tests.unit.projection.histories import USERS, History, States, as_redacted, fold, histories, numbered

A, B, C, D, E = USERS


def told(*said: tuple[Event, str]) -> States:
    return fold(numbered([(event, sender, ()) for event, sender in said]))


def post(text: str = "hello", thread: int | None = None) -> MessagePosted:
    return MessagePosted(text=text, thread=thread)


# --- snapshots ----------------------------------------------------------------------------------------------------


@given(histories, st.data())
def test_a_snapshot_and_the_events_since_are_the_same_as_all_events(
    history: History, data: st.DataObject
) -> None:
    k = data.draw(st.integers(0, len(history)))
    assert fold(history[k:], fold(history[:k])) == fold(history)


@given(histories)
def test_the_states_that_targets_names_are_all_that_a_step_needs(history: History) -> None:
    states: States = {}
    for at, event in history:
        few = {seq: states[seq] for seq in targets(at, event) if seq in states}
        changed = step(few, at, event)
        assert changed == step(states, at, event)
        assert set(changed) <= set(targets(at, event))
        states.update(changed)


@given(histories)
def test_a_redacted_history_adds_up_to_the_same_and_shows_nothing_of_what_was_deleted(
    history: History,
) -> None:
    marked: History = [
        (at, msgspec.structs.replace(event, text=f"secret-{at.seq}-"))
        if isinstance(event, MessagePosted | MessageEdited)
        else (at, event)
        for at, event in history
    ]
    states, shown = fold(marked), as_redacted(marked)
    assert fold(shown) == states
    bodies = b"".join(encode_event(event) for _, event in shown).decode()
    for at, event in marked:
        about = event.target if isinstance(event, MessageEdited) else at.seq
        if about in states and states[about].deleted and isinstance(event, MessagePosted | MessageEdited):
            assert f"secret-{at.seq}-" not in bodies


@given(histories)
def test_summaries_and_sets_agree_with_a_naive_recount(history: History) -> None:
    states = fold(history)
    for seq, state in states.items():
        replies = [each for each in states.values() if each.thread == seq and each.seq > seq]
        assert state.summary.replies == sum(not reply.deleted for reply in replies)
        assert state.summary.last_reply == max((reply.seq for reply in replies), default=None)
        assert set(state.summary.participants) == {reply.sender for reply in replies}
        if state.deleted:
            assert (state.text, state.reactions, state.pinned_by, state.mentions) == ("", (), None, ())
            assert not state.mentions_channel
        for reaction in state.reactions:
            assert reaction.users
            assert len(set(reaction.users)) == len(reaction.users)


@given(histories)
def test_a_history_survives_its_json(history: History) -> None:
    for _, event in history:
        assert json.loads(encode_event(event))["type"] == type(event).__struct_config__.tag


# --- races --------------------------------------------------------------------------------------------------------


def test_the_later_of_two_edits_stands() -> None:
    states = told(
        (post(), A), (MessageEdited(target=1, text="one"), A), (MessageEdited(target=1, text="two"), A)
    )
    assert (states[1].text, states[1].edits, states[1].edited_at) == ("two", 2, 1_030)


@pytest.mark.parametrize(
    "late",
    [
        MessageEdited(target=1, text="still here"),
        ReactionAdded(target=1, emoji="👍"),
        ReactionRemoved(target=1, emoji="👍"),
        MessagePinned(target=1),
        MessageUnpinned(target=1),
        MessageDeleted(target=1),
    ],
    ids=lambda event: type(event).__name__,
)
def test_nothing_changes_a_deleted_message_or_one_that_is_not_there(late: Event) -> None:
    gone = told((post(), A), (MessageDeleted(target=1), A))
    assert told((post(), A), (MessageDeleted(target=1), A), (late, B)) == gone
    assert told((late, B)) == {}
    assert gone[1].deleted
    assert gone[1].text == ""


def test_a_reaction_is_there_once_however_often_and_goes_at_once() -> None:
    thumb, party = "👍", "🎉"
    states = told(
        (post(), A),
        (ReactionAdded(target=1, emoji=thumb), B),
        (ReactionAdded(target=1, emoji=party), C),
        (ReactionAdded(target=1, emoji=thumb), B),
        (ReactionAdded(target=1, emoji=thumb), A),
        (ReactionRemoved(target=1, emoji=party), C),
        (ReactionRemoved(target=1, emoji=party), C),
    )
    assert states[1].reactions == (Reaction(thumb, (B, A)),)


def test_reactions_beyond_the_bounds_change_nothing() -> None:
    full = told((post(), A), *((ReactionAdded(target=1, emoji=f":e{n}:"), A) for n in range(MAX_EMOJI + 5)))
    assert len(full[1].reactions) == MAX_EMOJI
    crowd = [f"usr_{n:032x}" for n in range(MAX_REACTIONS + 5)]
    full = told((post(), A), *((ReactionAdded(target=1, emoji="👍"), user) for user in crowd))
    assert full[1].reactions == (Reaction("👍", tuple(crowd[:MAX_REACTIONS])),)


def test_a_thread_counts_what_is_there_and_remembers_who_ever_replied() -> None:
    states = told(
        (post("root"), A),
        (post("one", thread=1), B),
        (post("two", thread=1), C),
        (MessageDeleted(target=3, thread=1), C),
        (MessageDeleted(target=3, thread=1), A),
        (MessageDeleted(target=1), A),
        (post("three", thread=1), B),
    )
    assert states[1].deleted
    assert states[1].summary == Thread(2, 7, 1_070, (B, C))
    assert not states[2].top_level


def test_a_thread_names_its_first_people_only() -> None:
    crowd = [f"usr_{n:032x}" for n in range(MAX_PARTICIPANTS + 3)]
    states = told((post("root"), A), *((post("me too", thread=1), user) for user in crowd))
    assert states[1].summary.participants == tuple(crowd[:MAX_PARTICIPANTS])
    assert states[1].summary.replies == len(crowd)


@pytest.mark.parametrize("thread", [2, 3, 1_000])
def test_a_reply_to_nothing_before_it_is_a_reply_all_the_same(thread: int) -> None:
    states = told((MessageDeleted(target=9), A), (post("lost", thread=thread), B), (post("later"), A))
    assert not states[2].top_level
    assert states[2].summary == states[3].summary == Thread()


def test_an_edit_changes_whom_a_message_addresses() -> None:
    states = told((post(f"<@{B}> `<@{C}>`"), A), (MessageEdited(target=1, text=f"<@{D}> <!channel>"), A))
    assert (states[1].mentions, states[1].mentions_channel) == ((D,), True)


def test_those_whom_the_node_found_are_addressed_too() -> None:
    states = fold(numbered([(post(f"<!here> <@{B}>"), A, (C, B))]))
    assert states[1].mentions == (B, C)
    assert isinstance(states[1], Message)
