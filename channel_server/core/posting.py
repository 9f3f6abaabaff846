"""From a request to post to a record in the log: the checks, in order, and the waits among them."""

from __future__ import annotations

from channel_server.core.directory import member_key
from channel_server.core.sends import Refusal, Waiter, expired
from channel_server.core.state import State
from services.contract.directory import parse_directory_at
from services.contract.events import MessagePosted, encode_event
from services.contract.frames import Send
from services.contract.ids import born_ms

_BUSY = Refusal("slow_down", "the log has too much under way", retry_after_ms=500)
_LATE = Refusal("slow_down", "this node has not heard from the log for a moment", retry_after_ms=1000)


def may_post(state: State, user_id: str, send: Send, waited: float) -> Refusal | str | None:
    """Whether this person may post this, having waited so long (seconds; infinity: waits no more).

    None: yes. A `Refusal`: no. A string: not as things stand; wait for this key of the directory and ask again.
    """
    directory, limits = state.directory, state.limits
    if send.directory_at is not None:
        try:
            key, version = parse_directory_at(send.directory_at)
        except ValueError as error:
            return Refusal("invalid_request", str(error))
        if not directory.holds(key, version):
            if waited < limits.directory_wait:
                return key
            return Refusal("not_yet", f"{key} has not arrived here yet", retry_after_ms=1000)
    if not directory.membership(send.channel, user_id) & 1:
        if waited < limits.member_wait:
            return member_key(send.channel, user_id)
        return Refusal("not_a_member", "you are not in this channel, or there is no such channel")
    if directory.is_archived(send.channel):
        return Refusal("archived", "the channel is archived")
    return None


def post_message(state: State, user_id: str, send: Send, waiter: Waiter) -> Refusal | None:
    """Append a message that may be posted; None: the waiter will be answered."""
    return post(state, send.channel, user_id, send.id, encode_event(MessagePosted(text=send.text)), waiter)


def post(state: State, channel: str, sender: str, id: str, value: bytes, waiter: Waiter) -> Refusal | None:
    """Append an event's JSON; None: the waiter will be answered. Who may do what has been decided."""
    now = state.clock.monotonic()
    if state.freshness.is_late(now):
        return _LATE
    fold = state.numbering.of(channel)
    if fold.surely_expired(born_ms(id)):
        return expired(fold.heads.get(channel, 0), fold.now)
    if state.sends.is_full:
        return _BUSY
    outgoing = state.sends.begin(channel, sender, id, value, now + state.limits.send_timeout, waiter)
    if outgoing is not None and not state.log.append(outgoing, state.clock.wall_ms(), value):
        state.sends.withdraw(outgoing)
        return _BUSY
    return None
