"""RFC 6455 for a server's receiving side once more, the slow and obvious way: what the tests compare with.

Nothing here is shared with the product, and nothing is clever: fragments are kept as a list and judged as a whole.
"""

from __future__ import annotations

from typing import Any, NamedTuple


def could_become_utf8(data: bytes) -> bool:
    """Whether some bytes can follow that make this valid: decided by trying what is missing, not by a decoder's state."""
    if is_utf8(data):
        return True
    endings = [b"\x80", b"\x90", b"\xa0", b"\xbf"]
    tails = list(endings)
    tails += [a + b for a in endings for b in endings]
    tails += [a + b + c for a in endings for b in endings for c in endings]
    return any(is_utf8(data + tail) for tail in tails)


def is_utf8(data: bytes) -> bool:
    """RFC 3629, from its table of well-formed byte sequences."""
    position = 0
    while position < len(data):
        first = data[position]
        if first <= 0x7F:
            position += 1
            continue
        second: tuple[int, int]
        if 0xC2 <= first <= 0xDF:
            more, second = 1, (0x80, 0xBF)
        elif 0xE0 <= first <= 0xEF:
            more, second = 2, (0xA0 if first == 0xE0 else 0x80, 0x9F if first == 0xED else 0xBF)
        elif 0xF0 <= first <= 0xF4:
            more, second = 3, (0x90 if first == 0xF0 else 0x80, 0x8F if first == 0xF4 else 0xBF)
        else:
            return False
        tail = data[position + 1 : position + 1 + more]
        if len(tail) < more or not second[0] <= tail[0] <= second[1]:
            return False
        if any(not 0x80 <= byte <= 0xBF for byte in tail[1:]):
            return False
        position += 1 + more
    return True


class Oracle:
    """RFC 6455 restated: it keeps the fragments as a list and decides on the concatenation."""

    def __init__(self, limit: int) -> None:
        """`limit`: bytes in a whole message."""
        self.limit = limit
        self.fragments: list[bytes] = []
        self.kind: int | None = None
        self.over = False

    def expects(self, opcode: int, payload: bytes, fin: bool, reserved: bool) -> tuple[str, Any]:
        """What the next frame leads to: `text` and `binary` with the message's bytes, `pong` with its payload, `closed`
        with (code, reason, reply), `fail` with the code, or `nothing`."""
        if self.over:
            return ("nothing", None)
        answer = self._judge(opcode, payload, fin, reserved)
        self.over = answer[0] in ("fail", "closed")
        return answer

    def _judge(self, opcode: int, payload: bytes, fin: bool, reserved: bool) -> tuple[str, Any]:
        if reserved or opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
            return ("fail", 1002)
        if opcode in (8, 9, 10):
            if not fin or len(payload) > 125:
                return ("fail", 1002)
            if opcode == 9:
                return ("pong", payload)
            if opcode == 10:
                return ("nothing", None)
            return self._closing(payload)
        if (opcode == 0) != (self.kind is not None):
            return ("fail", 1002)
        if opcode != 0:
            self.kind, self.fragments = opcode, []
        self.fragments.append(payload)
        together = b"".join(self.fragments)
        if len(together) > self.limit:
            return ("fail", 1009)
        if self.kind == 1 and not (is_utf8(together) if fin else could_become_utf8(together)):
            return ("fail", 1007)
        if not fin:
            return ("nothing", None)
        kind, self.kind = self.kind, None
        return ("text" if kind == 1 else "binary", together)

    def _closing(self, payload: bytes) -> tuple[str, Any]:
        if payload == b"":
            return ("closed", (1005, b"", 1000))
        if len(payload) < 2:
            return ("fail", 1002)
        code = payload[0] * 256 + payload[1]
        defined = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014}
        if code not in defined and not 3000 <= code < 5000:
            return ("fail", 1002)
        if not is_utf8(payload[2:]):
            return ("fail", 1007)
        return ("closed", (code, payload[2:], code))


class Answer(NamedTuple):
    """What an echo server sends for a stream of bytes: frames as (opcode, payload), then a CLOSE with one of `codes`.

    No codes: no CLOSE. Several: the frame breaks several rules, and which is found first is nobody's business. `rest`:
    bytes of the stream behind the frame that closed it.
    """

    frames: list[tuple[int, bytes]]
    codes: set[int]
    rest: bytes


def echo_answer(stream: bytes, limit: int) -> Answer:
    """Read a client's frames from `stream` and say what the echo is."""
    oracle = Oracle(limit)
    frames: list[tuple[int, bytes]] = []
    while True:
        head = _header(stream, limit)
        if head is None:
            return Answer(frames, set(), b"")
        if isinstance(head, int):
            return Answer(frames, {head}, b"")
        opcode, fin, reserved, mask, payload, stream = head
        unmasked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        kind, detail = oracle.expects(opcode, unmasked, fin, reserved)
        if kind == "fail":
            bad_reason = opcode == 8 and not is_utf8(unmasked[2:])
            return Answer(frames, {detail, 1007} if bad_reason else {detail}, stream)
        if kind == "closed":
            return Answer(frames, {detail[2]}, stream)
        if kind != "nothing":
            frames.append(({"text": 1, "binary": 2, "pong": 10}[kind], detail))


def _header(stream: bytes, limit: int) -> tuple[int, bool, bool, bytes, bytes, bytes] | int | None:
    """The next frame and what follows it; a close code when it is refused; None when it is not complete."""
    if len(stream) < 2:
        return None
    opcode, fin, reserved = stream[0] & 15, stream[0] >= 128, stream[0] & 0x70 != 0
    if opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15) or (opcode >= 8 and not fin) or stream[1] < 128:
        return 1002
    size, at = stream[1] & 127, 2
    if opcode >= 8 and size > 125:
        return 1002
    if size > 125:
        width, least = (2, 126) if size == 126 else (8, 65536)
        if len(stream) < 2 + width:
            return None
        size, at = int.from_bytes(stream[2 : 2 + width], "big"), 2 + width
        if size < least or size >= 1 << 63:
            return 1002
    if opcode < 8 and size > limit:
        return 1009
    if len(stream) < at + 4 + size:
        return None
    mask, payload = stream[at : at + 4], stream[at + 4 : at + 4 + size]
    return opcode, fin, reserved, mask, payload, stream[at + 4 + size :]
