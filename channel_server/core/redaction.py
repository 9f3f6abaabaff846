"""What the ring still holds of messages that were deleted is overwritten, as the persister does in the raw table.

Live connections are shown everything as it comes; this is about what is replayed later.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from channel_server.core.compose import event_frame, read_event_frame
from channel_server.core.ring import Ring
from services.contract.events import (
    Event,
    MessageDeleted,
    MessageEdited,
    MessagePosted,
    MessageRedacted,
    encode_event,
    read_event,
)

KINDS: Final = frozenset({"message.edited", "message.deleted"})
"""What `Redaction.note` wants to hear of."""


class _Noted(NamedTuple):
    seq: int
    channel: str
    target: int
    deletes: bool


class Redaction:
    """Knows the edits and the deletions that the ring holds. Bounded by the ring: what it evicts is forgotten here."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._order: deque[_Noted] = deque()
        self._edits: dict[tuple[str, int], list[int]] = {}
        self._deleted: set[tuple[str, int]] = set()

    def note(self, channel: str, seq: int, event: Event) -> None:
        """Take an edit or a deletion that has just been added to the ring."""
        self._forget()
        if isinstance(event, MessageEdited):
            key = (channel, event.target)
            self._order.append(_Noted(seq, channel, event.target, deletes=False))
            self._edits.setdefault(key, []).append(seq)
            if key in self._deleted:
                self._redact(channel, seq)
        elif isinstance(event, MessageDeleted) and event.target < seq:
            key = (channel, event.target)
            self._order.append(_Noted(seq, channel, event.target, deletes=True))
            self._deleted.add(key)
            for each in (event.target, *self._edits.get(key, ())):
                self._redact(channel, each)

    def _forget(self) -> None:
        # Both leave in the order in which they came, so that looking at the first is enough.
        while self._order and self._ring.get(self._order[0].channel, self._order[0].seq) is None:
            noted = self._order.popleft()
            key = (noted.channel, noted.target)
            if noted.deletes:
                self._deleted.discard(key)
            else:
                seqs = self._edits[key]
                seqs.remove(noted.seq)
                if not seqs:
                    del self._edits[key]

    def _redact(self, channel: str, seq: int) -> None:
        held = self._ring.get(channel, seq)
        if held is None:
            return
        frame = read_event_frame(held)
        event = read_event(bytes(frame.event))
        if isinstance(event, MessagePosted):
            left = MessageRedacted(
                was="message.posted", thread=event.thread, also_to_channel=event.also_to_channel
            )
        elif isinstance(event, MessageEdited):
            left = MessageRedacted(was="message.edited", target=event.target)
        else:
            return
        self._ring.replace(
            channel, seq, event_frame(channel, seq, frame.id, frame.sender, frame.at, encode_event(left))
        )
