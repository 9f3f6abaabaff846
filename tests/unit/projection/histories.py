"""Random histories of a channel, dense with races: few messages, few people, every kind of event."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from services.contract.events import (
    ChannelTopicSet,
    Event,
    MessageDeleted,
    MessageEdited,
    MessagePinned,
    MessagePosted,
    MessageRedacted,
    MessageUnpinned,
    ReactionAdded,
    ReactionRemoved,
)
from services.contract.examples import CHANNEL, MESSAGE
from services.projection import Message, Numbered, redacted, step

USERS = [f"usr_{n:032x}" for n in range(5)]
TEXTS = ["hello", f"<@{USERS[1]}> look", "<!channel> all", f"`<@{USERS[2]}>`", f"<!here> <@{USERS[3]}>"]
EMOJI = ["👍", "🎉", ":shipit:"]

History = list[tuple[Numbered, Event]]
States = dict[int, Message]

_seqs = st.integers(1, 12)
_emoji = st.sampled_from(EMOJI)
_texts = st.sampled_from(TEXTS)
_events: st.SearchStrategy[Event] = st.one_of(
    st.builds(MessagePosted, text=_texts, thread=st.none() | _seqs, also_to_channel=st.booleans()),
    st.builds(MessageEdited, target=_seqs, text=_texts),
    st.builds(MessageDeleted, target=_seqs, thread=st.none() | _seqs),
    st.builds(ReactionAdded, target=_seqs, emoji=_emoji),
    st.builds(ReactionRemoved, target=_seqs, emoji=_emoji),
    st.builds(MessagePinned, target=_seqs),
    st.builds(MessageUnpinned, target=_seqs),
    st.just(ChannelTopicSet(topic="t")),
)


def numbered(events: Sequence[tuple[Event, str, Sequence[str]]]) -> History:
    """One after another, from seq 1, ten milliseconds apart. A deletion names its target's thread, as web_app has it."""
    history: History = []
    for seq, (given, sender, mentioned) in enumerate(events, 1):
        event = given
        if isinstance(event, MessageDeleted) and event.target < seq:
            meant = history[event.target - 1][1]
            if isinstance(meant, MessagePosted):
                event = MessageDeleted(target=event.target, thread=meant.thread)
        history.append((Numbered(CHANNEL, seq, MESSAGE, sender, 1_000 + 10 * seq, tuple(mentioned)), event))
    return history


histories: st.SearchStrategy[History] = st.lists(
    st.tuples(_events, st.sampled_from(USERS), st.lists(st.sampled_from(USERS), max_size=2, unique=True)),
    max_size=30,
).map(numbered)


def fold(history: History, begin: States | None = None) -> States:
    """The states after a history, with everything known."""
    states = dict(begin or {})
    for at, event in history:
        states.update(step(states, at, event))
    return states


def as_redacted(history: History) -> History:
    """What the raw table shows of it once the deleted messages and their edits are redacted."""
    states = fold(history)
    gone = {seq for seq, state in states.items() if state.deleted}
    shown: History = []
    for at, event in history:
        if at.seq in gone and isinstance(event, MessagePosted):
            shown.append((at._replace(mentions=()), redacted(states[at.seq])))
        elif isinstance(event, MessageEdited) and event.target in gone:
            shown.append(
                (at._replace(mentions=()), MessageRedacted(was="message.edited", target=event.target))
            )
        else:
            shown.append((at, event))
    return shown
