"""A channel's messages on a screen: pages of them as they were, and the events since. Pure.

    timeline = Timeline(await rest.messages(channel))         the newest page, as of its head
    for each MessageEvent and ChannelEvent of the channel:
        changed = timeline.apply(event)                       draw these anew
    timeline.load(await rest.messages(channel, before=timeline.first, at_least=timeline.at))      what was before

What is shown is what a fresh page would show: the rules are the server's own (`services.projection`).
"""

from __future__ import annotations

from client.model import ChannelEvent, MessageEvent
from client.records_messages import Message as Record
from client.records_messages import MessagePage
from services.contract.events import MessageDeleted, UnknownEvent, read_event
from services.projection import Message, Numbered, Reaction, Thread, step


class Timeline:
    """The messages that were loaded, and all that came since, up to event `at`.

    `stale`: seqs whose thread's summary cannot be told from what is here, because a reply that was not loaded was
    deleted: load a page with them.
    """

    def __init__(self, page: MessagePage) -> None:
        self.epoch = page.epoch
        self.channel = page.channel
        self.at = page.head
        self.messages: dict[int, Message] = {}
        self.stale: set[int] = set()
        self._ahead: list[MessagePage] = []
        self._take(page)

    @property
    def first(self) -> int:
        """The least seq that is loaded; the next one to come when there is none."""
        return min(self.messages, default=self.at + 1)

    def load(self, page: MessagePage) -> None:
        """Take another page. One that is ahead of the events seen so far is shown when they have come.

        Raises ValueError for one of another channel or epoch, or that is older than what is here: ask for it with
        `at_least=timeline.at`.
        """
        if (page.epoch, page.channel) != (self.epoch, self.channel):
            raise ValueError(f"a page of {page.channel} in epoch {page.epoch} does not belong here")
        if page.head < self.at:
            raise ValueError(f"a page as of {page.head} is older than {self.at}")
        if page.head > self.at:
            self._ahead.append(page)
        else:
            self._take(page)

    def apply(self, event: MessageEvent | ChannelEvent) -> set[int]:
        """Take the channel's next event; gives the seqs of the messages that it changed. Earlier ones change nothing.

        Raises ValueError when events are missing in between (a `Gap`): begin again with a fresh page.
        """
        if event.seq <= self.at:
            return set()
        if event.seq != self.at + 1:
            raise ValueError(f"event {event.seq} does not follow {self.at}")
        self.at = event.seq
        changed: set[int] = set()
        body = read_event(event.raw)
        if not isinstance(body, UnknownEvent):
            at = Numbered(event.channel, event.seq, event.id, event.sender, event.at, tuple(event.mentions))
            after = step(self.messages, at, body)
            self.messages.update(after)
            changed = set(after)
            if isinstance(body, MessageDeleted) and body.target not in self.messages:
                changed |= self._lacks(body.thread)
        return changed | self._catch_up()

    def shown(self) -> list[Message]:
        """What the channel itself shows, in order; tombstones only where a thread hangs on them."""
        return [
            message
            for _, message in sorted(self.messages.items())
            if message.top_level and (not message.deleted or message.summary.replies)
        ]

    def thread(self, root: int) -> list[Message]:
        """The replies to a message that are here, in order."""
        return [message for _, message in sorted(self.messages.items()) if message.thread == root]

    def _lacks(self, root: int | None) -> set[int]:
        if root is None or root not in self.messages:
            return set()
        self.stale.add(root)
        return {root}

    def _catch_up(self) -> set[int]:
        ready = [page for page in self._ahead if page.head <= self.at]
        self._ahead = [page for page in self._ahead if page.head > self.at]
        for page in ready:
            self._take(page)
        return {message.seq for page in ready for message in page.messages}

    def _take(self, page: MessagePage) -> None:
        for record in page.messages:
            self.messages[record.seq] = _state(page.channel, record)
            self.stale.discard(record.seq)


def _state(channel: str, record: Record) -> Message:
    return Message(
        channel,
        record.seq,
        record.id,
        record.sender,
        record.at,
        record.text,
        thread=record.thread,
        also_to_channel=record.also_to_channel,
        edits=record.edits,
        edited_at=record.edited_at,
        deleted=record.deleted,
        pinned_by=record.pinned_by,
        pinned_at=record.pinned_at,
        reactions=tuple(Reaction(each.emoji, tuple(each.users)) for each in record.reactions),
        summary=Thread(record.replies, record.last_reply, record.last_reply_at, tuple(record.participants)),
        mentions=tuple(record.mentions),
        mentions_channel=record.mentions_channel,
    )
