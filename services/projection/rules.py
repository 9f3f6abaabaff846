"""What each kind of event does to the states of messages. Every race is decided here, by the order of the log.

- An event whose target is not there, or deleted, changes nothing: an edit after a deletion, a reaction to a deleted
  message, a second deletion. Of two edits the later one stands.
- Reactions are a set of (emoji, person). One that would exceed MAX_EMOJI or MAX_REACTIONS changes nothing.
- A reply changes the summary of the message that it names, also when that one was deleted; if there is none before it,
  it is a reply all the same, whose thread has no beginning.
- A redacted message is a tombstone from its beginning. So a history of which deleted messages were redacted adds up
  to the same state as the original one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.contract.events import (
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
from services.markup.mentions import NOBODY, mentions_of
from services.projection.state import Message, Numbered, Reaction, Thread

MAX_EMOJI: Final = 50
"""Different emoji on one message."""

MAX_REACTIONS: Final = 1_000
"""Pairs of emoji and person on one message."""

MAX_PARTICIPANTS: Final = 50
"""People that a thread's summary names."""


def targets(at: Numbered, event: Event) -> tuple[int, ...]:
    """The seqs of the messages whose states `step` asks for or gives; the event's own comes without asking."""
    match event:
        case MessagePosted():
            return (at.seq,) if event.thread is None else (at.seq, event.thread)
        case MessageRedacted(was="message.posted"):
            return (at.seq,) if event.thread is None else (at.seq, event.thread)
        case MessageDeleted():
            return (event.target,) if event.thread is None else (event.target, event.thread)
        case MessageEdited() | ReactionAdded() | ReactionRemoved() | MessagePinned() | MessageUnpinned():
            return (event.target,)
        case _:
            return ()


def step(messages: Mapping[int, Message], at: Numbered, event: Event) -> dict[int, Message]:
    """The states that are other than before. `messages`: the channel's, at least those that `targets` names."""
    match event:
        case MessagePosted():
            return _posted(messages, _message(at, event), counts=True)
        case MessageRedacted(was="message.posted"):
            return _posted(messages, _tombstone(at, event), counts=False)
        case MessageDeleted():
            return _deleted(messages, event)
        case MessageEdited() | ReactionAdded() | ReactionRemoved() | MessagePinned() | MessageUnpinned():
            before = messages.get(event.target)
            if before is None or before.deleted or before.seq >= at.seq:
                return {}
            after = _changed(before, at, event)
            return {} if after == before else {after.seq: after}
        case _:
            return {}


def redacted(message: Message) -> MessageRedacted:
    """What takes the place of the raw event of a message that was deleted."""
    return MessageRedacted(
        was="message.posted", thread=message.thread, also_to_channel=message.also_to_channel
    )


def _message(at: Numbered, event: MessagePosted) -> Message:
    named = mentions_of(event.text)
    message = Message(*at[:5], event.text, event.thread, event.also_to_channel)
    if named is NOBODY and not at.mentions:
        return message  # as most: to name what is at its default would cost as much again
    return message._replace(mentions=_union(named.users, at.mentions), mentions_channel=named.channel)


def _tombstone(at: Numbered, event: MessageRedacted) -> Message:
    return Message(
        at.channel,
        at.seq,
        at.id,
        at.sender,
        at.at,
        "",
        thread=event.thread,
        also_to_channel=event.also_to_channel,
        deleted=True,
    )


def _posted(messages: Mapping[int, Message], message: Message, *, counts: bool) -> dict[int, Message]:
    changed = {message.seq: message}
    if message.thread is not None and message.thread < message.seq:
        root = messages.get(message.thread)
        if root is not None:
            changed[root.seq] = root._replace(summary=_replied(root.summary, message, counts=counts))
    return changed


def _replied(summary: Thread, reply: Message, *, counts: bool) -> Thread:
    participants = summary.participants
    if reply.sender not in participants and len(participants) < MAX_PARTICIPANTS:
        participants = (*participants, reply.sender)
    return Thread(summary.replies + counts, reply.seq, reply.at, participants)


def _deleted(messages: Mapping[int, Message], event: MessageDeleted) -> dict[int, Message]:
    before = messages.get(event.target)
    if before is None or before.deleted:
        return {}
    changed = {
        before.seq: Message(
            *before[:5],
            "",
            thread=before.thread,
            also_to_channel=before.also_to_channel,
            deleted=True,
            summary=before.summary,
        )
    }
    # The thread that the event names only says where to look: what counts is what the reply itself said.
    if before.thread is not None and before.thread < before.seq and before.thread == event.thread:
        root = messages.get(before.thread)
        if root is not None:
            fewer = root.summary._replace(replies=root.summary.replies - 1)
            changed[root.seq] = root._replace(summary=fewer)
    return changed


def _changed(
    before: Message,
    at: Numbered,
    event: MessageEdited | ReactionAdded | ReactionRemoved | MessagePinned | MessageUnpinned,
) -> Message:
    match event:
        case MessageEdited():
            named = mentions_of(event.text)
            return before._replace(
                text=event.text,
                edits=before.edits + 1,
                edited_at=at.at,
                mentions=_union(named.users, at.mentions),
                mentions_channel=named.channel,
            )
        case ReactionAdded():
            return before._replace(reactions=_with(before.reactions, event.emoji, at.sender))
        case ReactionRemoved():
            return before._replace(reactions=_without(before.reactions, event.emoji, at.sender))
        case MessagePinned():
            if before.pinned_by is not None:
                return before
            return before._replace(pinned_by=at.sender, pinned_at=at.at)
        case MessageUnpinned():
            return before._replace(pinned_by=None, pinned_at=None)


def _with(reactions: tuple[Reaction, ...], emoji: str, user: str) -> tuple[Reaction, ...]:
    there = next((reaction for reaction in reactions if reaction.emoji == emoji), None)
    if there is not None and user in there.users:
        return reactions
    if sum(len(reaction.users) for reaction in reactions) >= MAX_REACTIONS:
        return reactions
    if there is None:
        return reactions if len(reactions) >= MAX_EMOJI else (*reactions, Reaction(emoji, (user,)))
    return tuple(
        Reaction(emoji, (*reaction.users, user)) if reaction is there else reaction for reaction in reactions
    )


def _without(reactions: tuple[Reaction, ...], emoji: str, user: str) -> tuple[Reaction, ...]:
    left = (
        Reaction(reaction.emoji, tuple(each for each in reaction.users if each != user))
        if reaction.emoji == emoji
        else reaction
        for reaction in reactions
    )
    return tuple(reaction for reaction in left if reaction.users)


def _union(users: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*users, *others))) if others else users
