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


def prepare_text(payload: bytes) -> bytes:
    """One complete, unmasked, final TEXT frame around `payload`.

    `payload` must be valid UTF-8; it is not checked, because it comes from our own encoder.
    """
    size = len(payload)
    if size <= _SHORT:
        return bytes((_TEXT, size)) + payload
    if size <= _MEDIUM:
        return struct.pack("!BBH", _TEXT, 126, size) + payload
    return struct.pack("!BBQ", _TEXT, 127, size) + payload
