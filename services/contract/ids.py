"""Ids: UUIDv7 (RFC 9562, 5.7) for events, `prefix_` + 32 hex digits of a UUIDv7 for entities.

Both sort by the time of their making. An event's id is chosen by its sender and stays the same on every retry;
the 48-bit time inside it (`born_ms`) is what the sequencer judges retries by.
"""

from __future__ import annotations

import re
import secrets
import time
import uuid
from typing import Final, Literal

Prefix = Literal["ws", "usr", "ch", "ses", "inv", "grp", "aud", "sch"]

ENTITY_PATTERN: Final = r"^(ws|usr|ch|ses|inv|grp|aud|sch)_[0-9a-f]{32}$"
EVENT_ID_PATTERN: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"

_ENTITY = re.compile(ENTITY_PATTERN)
_EVENT_ID = re.compile(EVENT_ID_PATTERN)


def uuid7(at_ms: int | None = None) -> uuid.UUID:
    """A UUIDv7 born at `at_ms` (Unix milliseconds; the wall clock's now when None), its 74 other bits random.

    Raises ValueError when `at_ms` does not fit in 48 bits.
    """
    born = time.time_ns() // 1_000_000 if at_ms is None else at_ms
    if not 0 <= born < 1 << 48:
        raise ValueError(f"a UUIDv7 holds a time of 48 bits, not {born} ms")
    random = secrets.randbits(74)
    return uuid.UUID(int=born << 80 | 0x7 << 76 | random >> 62 << 64 | 0b10 << 62 | random & (1 << 62) - 1)


def new_event_id(at_ms: int | None = None) -> str:
    """A fresh event id in its one spelling: canonical, lower case, 36 characters."""
    return str(uuid7(at_ms))


def is_event_id(text: str) -> bool:
    return _EVENT_ID.fullmatch(text) is not None


def born_ms(event_id: str) -> int:
    """The Unix milliseconds inside an event id. Raises ValueError when it is no UUIDv7 in canonical spelling."""
    if not is_event_id(event_id):
        raise ValueError(f"{event_id!r} is not a UUIDv7 in canonical lower-case spelling")
    return int(event_id[:8] + event_id[9:13], 16)


def new_entity_id(prefix: Prefix, at_ms: int | None = None) -> str:
    """A fresh entity id, such as `ch_0193...` (prefix, underscore, 32 hex digits)."""
    return f"{prefix}_{uuid7(at_ms).hex}"


def is_entity_id(text: str, prefix: Prefix) -> bool:
    return _ENTITY.fullmatch(text) is not None and text.startswith(prefix + "_")
