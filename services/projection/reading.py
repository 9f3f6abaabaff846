"""From a record's value to a typed event, or to the reason why it cannot be projected."""

from __future__ import annotations

from typing import Final, get_args

from services.contract.events import Event, UnknownEvent, read_event


class Unprojectable(ValueError):
    """The body is not JSON of an event, or has a known kind's name without its shape. `kind`: as readers are shown it."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"cannot project an event of kind {kind!r}")
        self.kind = kind


_KIND_OF: Final[dict[type, str]] = {kind: str(kind.__struct_config__.tag) for kind in get_args(Event)}

KNOWN_KINDS: Final = frozenset(_KIND_OF.values())

_UNREADABLE: Final = "unreadable"


def read(body: bytes | None) -> tuple[str, Event | None]:
    """(kind, event); the event is None for a kind that this release does not know.

    Raises Unprojectable.
    """
    if body is None:
        raise Unprojectable(_UNREADABLE)
    event = read_event(body)
    if isinstance(event, UnknownEvent):
        if event.type == _UNREADABLE or event.type in KNOWN_KINDS:
            raise Unprojectable(event.type)
        return event.type, None
    try:
        body.decode("utf-8")  # also what the event's decoder passes over: fields that it does not know
    except UnicodeDecodeError as error:
        raise Unprojectable(_UNREADABLE) from error
    return _KIND_OF[type(event)], event
