"""What a channel's numbered events add up to: the current state of each message. Pure.

The persister fills the table `messages` with it; a client that holds raw events arrives at the same state. The
events of a channel are folded in the order of their numbers:

    kind, event = read(body)                 Unprojectable: leave a marker, go on
    seq = target(at, event)                  which message's state it changes; None: no message's
    messages[seq] = step(messages.get(seq), at, event)

Kinds that this release does not know change nothing and are no fault.
"""

from __future__ import annotations

from typing import Final, NamedTuple, get_args

from services.contract.events import Event, MessagePosted, UnknownEvent, read_event, shown_body


class Numbered(NamedTuple):
    """Where an event stands, who sent it, and the fold's clock then (Unix milliseconds)."""

    channel: str
    seq: int
    id: str
    sender: str
    at: int


class Message(NamedTuple):
    """The current state of one message."""

    channel: str
    seq: int
    id: str
    sender: str
    at: int
    text: str


class Unprojectable(ValueError):
    """The body is not JSON of an event, or has a known kind's name without its shape. `kind`: as readers are shown it."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"cannot project an event of kind {kind!r}")
        self.kind = kind


KNOWN_KINDS: Final = frozenset(str(kind.__struct_config__.tag) for kind in get_args(Event))


def read(body: bytes | None) -> tuple[str, Event | None]:
    """(kind, event); the event is None for a kind that this release does not know.

    Raises Unprojectable.
    """
    kind, _ = shown_body(body)
    if body is None or kind == "unreadable":
        raise Unprojectable(kind)
    if kind not in KNOWN_KINDS:
        return kind, None
    event = read_event(body)
    if isinstance(event, UnknownEvent):
        raise Unprojectable(kind)
    return kind, event


def target(at: Numbered, event: Event) -> int | None:
    """The seq of the message whose state this event changes; None when it changes none."""
    return at.seq if isinstance(event, MessagePosted) else None


def step(message: Message | None, at: Numbered, event: Event) -> Message | None:
    """The message's state after an event that `target`s it; `message` is the state before, None when there is none."""
    if isinstance(event, MessagePosted):
        return Message(at.channel, at.seq, at.id, at.sender, at.at, event.text)
    return message
