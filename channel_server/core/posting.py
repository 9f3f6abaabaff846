"""From a request to post to a record in the log: the checks, in order, and the waits among them."""

from __future__ import annotations

from typing import NamedTuple

from channel_server.core.compose import event_at
from channel_server.core.directory import member_key
from channel_server.core.mentions import resolve
from channel_server.core.sends import Accepted, Answer, Refusal, Waiter, answer_of, expired
from channel_server.core.state import PROVEN, State
from services.contract.directory import parse_directory_at
from services.contract.envelope import digest_of
from services.contract.events import MessageEdited, MessagePosted, encode_event
from services.contract.frames import Send
from services.contract.ids import born_ms

_BUSY = Refusal("slow_down", "the log has too much under way", retry_after_ms=500, because="log_full")
_LATE = Refusal(
    "slow_down", "this node has not heard from the log for a moment", retry_after_ms=1000, because="log_late"
)
_NOT_A_MEMBER = Refusal("not_a_member", "you are not in this channel, or there is no such channel")
_ARCHIVED = Refusal("archived", "the channel is archived")
_DELETED = Refusal("forbidden", "this workspace was deleted")
_FOR_ADMINS = Refusal("forbidden", "only owners and admins may post in this channel")


class Request:
    """A send that is to be decided about.

    arrived     monotonic seconds at which its frame came
    built       since when (likewise) the directory holds what it builds on, None while it does not. Each thing that
                it waits for has a patience of its own: this one `Limits.directory_wait` from `arrived`, the
                membership `Limits.member_wait` from `built`
    """

    __slots__ = ("arrived", "built", "send")

    def __init__(self, send: Send, arrived: float) -> None:
        self.send = send
        self.arrived = arrived
        self.built: float | None = arrived if send.directory_at is None else None


class Await(NamedTuple):
    """Not as things stand: decide again when `key` of `State.waits` advances, at `deadline` (monotonic) at the latest."""

    key: str
    deadline: float


def note_built(state: State, request: Request, now: float) -> Await | Refusal | None:
    """Look whether the directory holds what the request builds on; None: yes, and from when on is noted."""
    at = request.send.directory_at
    if request.built is None and at is not None:
        try:
            key, version = parse_directory_at(at)
        except ValueError as error:
            return Refusal("invalid_request", str(error))
        if not state.directory.holds(key, version):
            deadline = request.arrived + state.limits.directory_wait
            if now < deadline:
                return Await(key, deadline)
            return Refusal("not_yet", f"{key} has not arrived here yet", retry_after_ms=1000)
        request.built = now
    return None


def decide(state: State, user_id: str, request: Request, waiter: Waiter, now: float) -> Answer | Await | None:
    """Append the message if this person may post it; None: the waiter will be answered."""
    lacking = note_built(state, request, now)
    if lacking is not None:
        return lacking
    send = request.send
    event = MessagePosted(text=send.text, thread=send.thread, also_to_channel=send.also_to_channel)
    value = encode_event(event)
    workspace = state.directory.workspace_of(user_id)
    if not workspace.active:
        refusal = _DELETED
    elif not state.directory.membership(send.channel, user_id) & 1:
        refusal = _NOT_A_MEMBER
    elif state.directory.is_archived(send.channel):
        refusal = _ARCHIVED
    elif not state.directory.may_post(send.channel, user_id):
        refusal = _FOR_ADMINS
    elif len(send.text) > workspace.max_text:
        refusal = Refusal("too_large", f"a message has at most {workspace.max_text} characters here")
    else:
        return post(state, send.channel, user_id, send.id, value, waiter, event)
    return _not_now(state, user_id, request, value, waiter, now, refusal)


def _not_now(
    state: State, user_id: str, request: Request, value: bytes, waiter: Waiter, now: float, refusal: Refusal
) -> Answer | Await | None:
    """They may not post it as things stand. But they may have, when they sent it for the first time.

    The answer to a copy of what is stored is its number, which tells them nothing that is not theirs. And because the
    first copy may stand in the log unseen by this node, the refusal becomes final only when the tail was at the log's
    end after this copy came.
    """
    send, digest = request.send, digest_of(value)
    fold = state.numbering.of(send.channel)
    earlier = fold.copy_of(send.channel, user_id, send.id, digest)
    if earlier is not None:
        return with_original_time(state, send.channel, answer_of(earlier))
    if state.sends.join(send.channel, user_id, send.id, digest, waiter):
        return None
    if refusal is _ARCHIVED and fold.surely_expired(born_ms(send.id)):
        # The window does not reach back so far, but history does. Who is no member is not told the head.
        return expired(fold.heads.get(send.channel, 0), fold.now)
    assert request.built is not None
    deadline = request.built + state.limits.member_wait
    if refusal is _NOT_A_MEMBER and now < deadline:
        return Await(member_key(send.channel, user_id), deadline)
    proven = state.freshness.events_proven.get(state.numbering.partition_of(send.channel), 0.0)
    if proven >= request.arrived:
        return refusal
    return Await(PROVEN, deadline) if now < deadline else _LATE


def post(
    state: State,
    channel: str,
    sender: str,
    id: str,
    value: bytes,
    waiter: Waiter,
    says: MessagePosted | MessageEdited | None = None,
) -> Refusal | None:
    """Append an event's JSON; None: the waiter will be answered. Who may do what has been decided.

    `says`: the event, if it is one that may mention people.
    """
    now = state.clock.monotonic()
    if state.freshness.is_late(state.numbering.partition_of(channel), now):
        return _LATE
    fold = state.numbering.of(channel)
    if fold.surely_expired(born_ms(id)):
        return expired(fold.heads.get(channel, 0), fold.now)
    if state.sends.is_full:
        return _BUSY
    outgoing = state.sends.begin(channel, sender, id, value, now + state.limits.send_timeout, waiter)
    if outgoing is None:
        return None
    if says is not None:
        outgoing.mentions = resolve(state.directory, state.here, channel, sender, says)
    if not state.log.append(outgoing, state.clock.wall_ms(), value):
        state.sends.withdraw(outgoing)
        return _BUSY
    return None


def with_original_time(state: State, channel: str, answer: Answer) -> Answer:
    """A duplicate's `at` is the original's, as long as the ring still holds it."""
    if isinstance(answer, Accepted) and answer.duplicate:
        frame = state.ring.get(channel, answer.seq)
        if frame is not None:
            return answer._replace(at=event_at(frame))
    return answer
