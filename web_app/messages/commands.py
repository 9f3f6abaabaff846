"""What is done to messages that are there: edit, delete, react, pin. Who may is decided here, the order by the log.

Each names a message by its number, and waits until that is stored. Of what happens at the same time the log decides
which came first, and `services.projection` what that adds up to; so a command that was allowed when it was judged may
turn out to have changed nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from services.contract.events import (
    MessageDeleted,
    MessageEdited,
    MessagePinned,
    MessageRedacted,
    MessageUnpinned,
    ReactionAdded,
    ReactionRemoved,
    encode_event,
    read_event,
)
from services.contract.ids import new_event_id
from services.contract.internal import AppendReply, AppendRequest
from services.contract.tokens import Claims
from services.projection import MAX_EMOJI, MAX_REACTIONS
from web_app.database import AnyRow
from web_app.messages.repository import Access
from web_app.messages.schemas import EditedMessage
from web_app.messages.service import NO_MESSAGE, chosen_id, epoch_of, find_meant, require_length
from web_app.parts import Parts
from web_app.permissions import require
from web_app.problems import ApiError

Change = MessageEdited | MessageDeleted | ReactionAdded | ReactionRemoved | MessagePinned | MessageUnpinned

_ADMINS: Final = ("owner", "admin")


class Command(NamedTuple):
    """Who asks, about which message, under which name.

    key         the Idempotency-Key, which becomes the event's id; None: a fresh one is made
    request_id  for the channel server's log
    """

    parts: Parts
    claims: Claims
    channel_id: str
    seq: int
    key: str | None
    request_id: str | None


async def edit(command: Command, wanted: EditedMessage) -> AppendReply:
    """Raises ApiError not_a_member, forbidden (another's, or too late), archived, too_large, not_found, conflict."""

    def judge(access: Access, state: AnyRow) -> MessageEdited:
        _require_window(state, access.edit_window_s, "edited")
        require_length(access, wanted.text)
        return MessageEdited(target=command.seq, text=wanted.text)

    command = command._replace(key=chosen_id(command.key, wanted.client_msg_id))
    return await _carry_out(command, "message.edit", judge, MessageEdited)


async def delete(command: Command) -> AppendReply:
    """Raises ApiError not_a_member, forbidden (another's, or too late; admins always may), archived, not_found, conflict."""

    def judge(access: Access, state: AnyRow) -> MessageDeleted:
        if access.viewer.role not in _ADMINS:
            _require_window(state, access.delete_window_s, "deleted")
        return MessageDeleted(target=command.seq, thread=state.thread)

    return await _carry_out(command, "message.delete", judge, MessageDeleted)


async def react(command: Command, emoji: str, *, add: bool) -> AppendReply:
    """Raises ApiError not_a_member, archived, not_found, conflict (deleted, or too many reactions)."""

    def judge(access: Access, state: AnyRow) -> ReactionAdded | ReactionRemoved:
        if not add:
            return ReactionRemoved(target=command.seq, emoji=emoji)
        there = dict(state.reactions)
        if access.viewer.user_id not in there.get(emoji, ()):
            if emoji not in there and len(there) >= MAX_EMOJI:
                raise ApiError("conflict", f"A message has at most {MAX_EMOJI} different reactions.")
            if sum(map(len, there.values())) >= MAX_REACTIONS:
                raise ApiError("conflict", f"A message has at most {MAX_REACTIONS} reactions.")
        return ReactionAdded(target=command.seq, emoji=emoji)

    return await _carry_out(command, "message.react", judge, ReactionAdded if add else ReactionRemoved)


async def pin(command: Command, *, add: bool) -> AppendReply:
    """Raises ApiError not_a_member, archived, not_found, conflict (deleted)."""
    kind = MessagePinned if add else MessageUnpinned

    def judge(access: Access, state: AnyRow) -> MessagePinned | MessageUnpinned:
        return kind(target=command.seq)

    return await _carry_out(command, "message.pin", judge, kind)


async def _carry_out(
    command: Command, action: str, judge: Callable[[Access, AnyRow], Change], kind: type[Change]
) -> AppendReply:
    """`judge` gives the event, or raises. A repeat of what was done before is answered before it is judged."""
    parts, claims, channel_id, seq, id, request_id = command
    meant = await find_meant(parts, claims, channel_id, seq, id)
    access, state = meant.access, meant.state
    if not access.member:
        raise ApiError("not_a_member")
    if meant.done is not None and id is not None:
        done_seq, at, body = meant.done
        done = read_event(body or b"")
        if not isinstance(done, kind | MessageRedacted) or getattr(done, "target", None) != seq:
            raise ApiError("id_reused")
        return AppendReply(
            epoch=epoch_of(access), channel=channel_id, id=id, seq=done_seq, at=at, duplicate=True
        )
    if state is None:
        raise ApiError("not_found", NO_MESSAGE)
    author = {"author"} if state.sender_id == access.viewer.user_id else set[str]()
    require(action, access.viewer.role, access.facts | author)
    if access.archived:
        raise ApiError("archived")
    if state.deleted:
        raise ApiError("conflict", "The message was deleted.")
    request = AppendRequest(
        channel=channel_id,
        sender=access.viewer.user_id,
        id=id or new_event_id(),
        event=msgspec.Raw(encode_event(judge(access, state))),
    )
    return await parts.channel_servers.append(request, request_id)


def _require_window(state: AnyRow, window_s: int | None, done: str) -> None:
    if window_s is not None and time.time() * 1000 - state.at_ms > window_s * 1000:
        raise ApiError("forbidden", f"A message may be {done} for {window_s} seconds; that time is over.")
