"""From a record's value to a typed event, or to the reason why it cannot be projected."""

from __future__ import annotations

from typing import Final, get_args

from services.contract.events import Event, UnknownEvent, read_event, shown_body


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
