"""The receiving half of RFC 6455 after unmasking, without I/O: frames in, messages and duties out.

The parser below (picows) has taken the bytes apart; here is decided what the frames mean together: reserved bits (5.2),
control frames (5.5), the order of fragments (5.4), the size of the whole message, UTF-8 over fragment borders (8.1) and
the close codes (7.4).
"""

from __future__ import annotations

import codecs
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

MAX_CONTROL_PAYLOAD: Final = 125
"""Bytes in a PING, PONG or CLOSE (5.5)."""

MAX_REASON: Final = 123
"""Bytes of UTF-8 in a close reason: a control payload less the two bytes of the code."""


class Opcode(IntEnum):
    """RFC 6455 section 5.2."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class Code(IntEnum):
    """The close codes that this layer itself sends or reports (RFC 6455 section 7.4.1)."""

    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    NO_STATUS = 1005
    """Reported, never sent: the peer's CLOSE carried no code."""
    ABNORMAL = 1006
    """Reported, never sent: the connection was lost without a CLOSE."""
    INVALID_PAYLOAD = 1007
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011


class Pong(NamedTuple):
    """Duty: send a PONG with this payload, at once."""

    payload: bytes


class PeerClosed(NamedTuple):
    """Duty: the peer sent CLOSE; answer with `reply` and close TCP. `code` is 1005 when the peer gave none."""

    code: int
    reason: str
    reply: int


class Failure(NamedTuple):
    """Duty: _Fail the WebSocket Connection_ (7.1.7) with this code; `reason` is for the client's developer."""

    code: int
    reason: str


Outcome: TypeAlias = "str | bytes | Pong | PeerClosed | Failure | None"
"""What a frame led to: a whole text (str) or binary (bytes) message, a duty, or nothing yet."""


def is_sendable_code(code: int) -> bool:
    """Whether an endpoint may put `code` into a CLOSE frame (7.4): defined ones, and 3000-4999.

    1004, 1005, 1006 and 1015 are reserved, 1016-2999 not defined by any RFC.
    """
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def truncate_reason(reason: str) -> str:
    """`reason`, cut at a character's border so that it fits a CLOSE frame (123 bytes of UTF-8)."""
    encoded = reason.encode("utf-8", "replace")
    if len(encoded) <= MAX_REASON:
        return encoded.decode("utf-8")
    return encoded[:MAX_REASON].decode("utf-8", "ignore")


# The same as plain numbers: to look a member of an enum up costs more than all else that is done for a short message.
_CONTINUATION, _TEXT, _BINARY = int(Opcode.CONTINUATION), int(Opcode.TEXT), int(Opcode.BINARY)
_CLOSE, _PING, _PONG = int(Opcode.CLOSE), int(Opcode.PING), int(Opcode.PONG)

_NONE = -1
"""`_opcode` while no message is under way (CONTINUATION is 0)."""

_ENDED = -2
"""`_opcode` after PeerClosed or Failure."""

_new_decoder = codecs.getincrementaldecoder("utf-8")


class MessageAssembler:
    """One connection's incoming frames, in order, put together into messages.

    Holds at most `max_message` bytes. After a `PeerClosed` or `Failure` every further frame gives None.
    """

    __slots__ = ("_buffer", "_decoder", "_max_message", "_opcode")

    def __init__(self, max_message: int) -> None:
        """`max_message`: bytes of payload in a whole message; more is a failure with 1009."""
        self._max_message = max_message
        self._opcode = _NONE
        self._buffer: bytearray | None = None
        self._decoder: codecs.IncrementalDecoder | None = None

    def receive(self, opcode: int, payload: bytes, fin: bool, reserved: bool) -> Outcome:
        """Take the next frame. `payload` is unmasked; `reserved`: whether any RSV bit was set. Never raises."""
        if self._opcode == _ENDED:
            return None
        if reserved:
            return self._fail(Code.PROTOCOL_ERROR, "a reserved bit is set and no extension was negotiated")
        if opcode >= _CLOSE:
            return self._control(opcode, payload, fin)
        if opcode == _CONTINUATION:
            if self._opcode == _NONE:
                return self._fail(Code.PROTOCOL_ERROR, "a continuation without a message to continue")
            return self._fragment(payload, fin)
        if opcode > _BINARY:
            return self._fail(Code.PROTOCOL_ERROR, f"opcode {opcode} is not defined")
        if self._opcode != _NONE:
            return self._fail(Code.PROTOCOL_ERROR, "a new message before the last one was complete")
        if fin:
            return self._whole(opcode, payload)
        self._opcode = opcode
        self._buffer = bytearray()
        self._decoder = _new_decoder("strict") if opcode == _TEXT else None
        return self._fragment(payload, fin)

    def _whole(self, opcode: int, payload: bytes) -> Outcome:
        if len(payload) > self._max_message:
            return self._too_big()
        if opcode == _BINARY:
            return payload
        try:
            return str(payload, "utf-8")
        except UnicodeDecodeError:
            return self._not_utf8()

    def _fragment(self, payload: bytes, fin: bool) -> Outcome:
        # One buffer and not a list of parts: a flood of empty fragments must not hold memory.
        buffer = self._buffer
        assert buffer is not None
        if len(buffer) + len(payload) > self._max_message:
            return self._too_big()
        if self._decoder is not None:
            # Decoded only to fail on the first bad byte (8.1); the text is made at once at the end.
            try:
                self._decoder.decode(payload, fin)
            except UnicodeDecodeError:
                return self._not_utf8()
            pending, _ = self._decoder.getstate()
            if pending[:1] == b"\xed" and pending[1:] >= b"\xa0":
                # CPython's decoder waits for the third byte of a surrogate, for the sake of `surrogatepass`.
                return self._not_utf8()
        buffer += payload
        if not fin:
            return None
        message = str(buffer, "utf-8") if self._decoder is not None else bytes(buffer)
        self._forget(_NONE)
        return message

    def _control(self, opcode: int, payload: bytes, fin: bool) -> Outcome:
        if not fin:
            return self._fail(Code.PROTOCOL_ERROR, "a control frame must not be fragmented")
        if len(payload) > MAX_CONTROL_PAYLOAD:
            return self._fail(Code.PROTOCOL_ERROR, "a control frame carries at most 125 bytes")
        if opcode == _PING:
            return Pong(payload)
        if opcode == _PONG:
            return None
        if opcode == _CLOSE:
            return self._close(payload)
        return self._fail(Code.PROTOCOL_ERROR, f"opcode {opcode} is not defined")

    def _close(self, payload: bytes) -> Outcome:
        if not payload:
            self._forget(_ENDED)
            return PeerClosed(Code.NO_STATUS, "", Code.NORMAL)
        if len(payload) == 1:
            return self._fail(Code.PROTOCOL_ERROR, "a close code has two bytes")
        code = int.from_bytes(payload[:2], "big")
        if not is_sendable_code(code):
            return self._fail(Code.PROTOCOL_ERROR, f"{code} is not a close code that may be sent")
        try:
            reason = str(payload[2:], "utf-8")
        except UnicodeDecodeError:
            return self._fail(Code.INVALID_PAYLOAD, "the close reason is not UTF-8")
        self._forget(_ENDED)
        return PeerClosed(code, reason, code)

    def _too_big(self) -> Failure:
        return self._fail(Code.TOO_BIG, f"a message may have at most {self._max_message} bytes")

    def _not_utf8(self) -> Failure:
        return self._fail(Code.INVALID_PAYLOAD, "a text message is not UTF-8")

    def _fail(self, code: Code, reason: str) -> Failure:
        self._forget(_ENDED)
        return Failure(code, reason)

    def _forget(self, state: int) -> None:
        self._opcode = state
        self._buffer = None
        self._decoder = None
