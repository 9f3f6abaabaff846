"""What the ring still holds of messages that were deleted is overwritten, as the persister does in the raw table.

Live connections are shown everything as it comes; this is about what is replayed later. And an edit may have been under
way when its message was deleted: it is shown to nobody, also when the ring does not hold the deletion any more.
"""

from __future__ import annotations

from collections import OrderedDict, deque
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


DELETIONS: Final = 20_000
"""So many of the newest are remembered whatever the ring holds: half an hour's, if ten messages are deleted a second."""


class _Edit(NamedTuple):
    seq: int
    channel: str
    target: int


class Redaction:
    """Knows the edits that the ring holds, and the newest deletions. Bounded by the ring and by `deletions`."""

    def __init__(self, ring: Ring, deletions: int = DELETIONS) -> None:
        self._ring = ring
        self._most = deletions
        self._order: deque[_Edit] = deque()
        self._edits: dict[tuple[str, int], list[int]] = {}
        # The seq of the deletion; in the order in which they came.
        self._deleted: OrderedDict[tuple[str, int], int] = OrderedDict()

    def note(self, channel: str, seq: int, event: Event) -> None:
        """Take an edit or a deletion that has just been added to the ring."""
        self._forget()
        if isinstance(event, MessageEdited):
            key = (channel, event.target)
            self._order.append(_Edit(seq, channel, event.target))
            self._edits.setdefault(key, []).append(seq)
            if key in self._deleted:
                self._redact(channel, seq)
        elif isinstance(event, MessageDeleted) and event.target < seq:
            key = (channel, event.target)
            self._deleted[key] = seq
            self._deleted.move_to_end(key)
            for each in (event.target, *self._edits.get(key, ())):
                self._redact(channel, each)

    def _forget(self) -> None:
        # All leave in the order in which they came, so that looking at the first is enough.
        while self._order and not self._holds(self._order[0].channel, self._order[0].seq):
            edit = self._order.popleft()
            key = (edit.channel, edit.target)
            seqs = self._edits[key]
            seqs.remove(edit.seq)
            if not seqs:
                del self._edits[key]
        while len(self._deleted) > self._most:
            key, seq = next(iter(self._deleted.items()))
            if self._holds(key[0], seq):
                break
            del self._deleted[key]

    def _holds(self, channel: str, seq: int) -> bool:
        return self._ring.get(channel, seq) is not None

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
