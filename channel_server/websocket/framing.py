"""Server frames as bytes, made once and written to any number of connections (RFC 6455 section 5.2).

A server does not mask, so a frame does not depend on the connection, and frames may be joined with `b"".join(frames)`
and written in one go (`WebSocketConnection.write_prepared`).
"""

from __future__ import annotations

import struct

_TEXT = 0x81
"""FIN and the opcode of a text frame."""

_SHORT = 125
_MEDIUM = 0xFFFF


_short_head = struct.Struct("!BB").pack
_medium_head = struct.Struct("!BBH").pack
_long_head = struct.Struct("!BBQ").pack


def text_head(size: int) -> bytes:
    """What goes before a payload of so many bytes, which must be valid UTF-8: it is not checked."""
    if size <= _SHORT:
        return _short_head(_TEXT, size)
    if size <= _MEDIUM:
        return _medium_head(_TEXT, 126, size)
    return _long_head(_TEXT, 127, size)


def prepare_text(payload: bytes) -> bytes:
    """One complete, unmasked, final TEXT frame around `payload`.

    `payload` must be valid UTF-8; it is not checked, because it comes from our own encoder.
    """
    return text_head(len(payload)) + payload
