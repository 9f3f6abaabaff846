"""The shapes: where an event stands, and the whole state of one message."""

from __future__ import annotations

from typing import NamedTuple


class Numbered(NamedTuple):
    """Where an event stands, who sent it, and the fold's clock then (Unix milliseconds).

    `mentions`: the people whom the posting node found behind `<!here>` and groups (the record's header `mentions`).
    """

    channel: str
    seq: int
    id: str
    sender: str
    at: int
    mentions: tuple[str, ...] = ()


class Reaction(NamedTuple):
    """One emoji of a message and who has it, in the order in which they added it; never nobody."""

    emoji: str
    users: tuple[str, ...]


class Thread(NamedTuple):
    """What a message shows of its replies.

    replies        how many there are that were not deleted
    last_reply     the seq of the last one ever posted, deleted or not; None: there never was any
    last_reply_at  when that was (the log's clock)
    participants   the first people who ever replied, in that order, MAX_PARTICIPANTS at most
    """

    replies: int = 0
    last_reply: int | None = None
    last_reply_at: int | None = None
    participants: tuple[str, ...] = ()


class Message(NamedTuple):
    """The current state of one message.

    thread           the seq of the message that it replies to
    edits            how many edits it has had, the last one at `edited_at`
    deleted          a tombstone: the text is empty, reactions, pin, edits and mentions are gone; the thread stays
    mentions         the people it addresses by name, in the order of the text, and those behind `<!here>` and groups
    mentions_channel whether it addresses everybody in the channel (`<!channel>`)
    """

    channel: str
    seq: int
    id: str
    sender: str
    at: int
    text: str
    thread: int | None = None
    also_to_channel: bool = False
    edits: int = 0
    edited_at: int | None = None
    deleted: bool = False
    pinned_by: str | None = None
    pinned_at: int | None = None
    reactions: tuple[Reaction, ...] = ()
    summary: Thread = Thread()
    mentions: tuple[str, ...] = ()
    mentions_channel: bool = False

    @property
    def top_level(self) -> bool:
        """Whether it is shown in the channel itself, and not only in a thread."""
        return self.thread is None or self.also_to_channel
