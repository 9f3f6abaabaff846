"""What a channel's numbered events add up to: the current state of each message. Pure.

The persister fills the table `messages` with it; a client that holds a page of messages and the events since arrives
at the same state. The events of a channel are folded in the order of their numbers:

    kind, event = read(body)                   Unprojectable: leave a marker, go on
    needed = targets(at, event)                the messages whose states it reads or changes
    messages.update(step(messages, at, event))

`state` has the shapes, `rules` what each kind of event does to them, `reading` the way from bytes to an event.
Kinds that this release does not know change nothing and are no fault.
"""

from services.projection.reading import KNOWN_KINDS, Unprojectable, read
from services.projection.rules import (
    MAX_EMOJI,
    MAX_PARTICIPANTS,
    MAX_REACTIONS,
    redacted,
    step,
    targets,
)
from services.projection.state import Message, Numbered, Reaction, Thread

__all__ = [
    "KNOWN_KINDS",
    "MAX_EMOJI",
    "MAX_PARTICIPANTS",
    "MAX_REACTIONS",
    "Message",
    "Numbered",
    "Reaction",
    "Thread",
    "Unprojectable",
    "read",
    "redacted",
    "step",
    "targets",
]
