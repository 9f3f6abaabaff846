"""The message assembler against an oracle that is written the slow, obvious way: keep every frame, judge the whole."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from channel_server.websocket.protocol import (
    Code,
    Failure,
    MessageAssembler,
    Opcode,
    Outcome,
    PeerClosed,
    Pong,
    is_sendable_code,
    truncate_reason,
)
from tests.unit.websocket.oracle import Oracle, is_utf8

LIMIT = 40


def described(outcome: Outcome) -> tuple[str, object]:
    match outcome:
        case None:
            return ("nothing", None)
        case str():
            return ("text", outcome.encode())
        case bytes():
            return ("binary", outcome)
        case Pong(payload):
            return ("pong", payload)
        case PeerClosed(code, reason, reply):
            return ("closed", (code, reason.encode(), reply))
        case Failure(code, _):
            return ("fail", code)


TEXTS = st.text(max_size=20).map(str.encode)
BROKEN = st.sampled_from(
    [
        b"\xff",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\x80",
        b"\xe2\x82",
        b"\xf0\x9f\x98",
        b"\xc3",
    ]
)
ALMOST_TEXTS = st.builds(lambda a, b: a + b, TEXTS, BROKEN)
PAYLOADS = st.one_of(st.just(b""), TEXTS, TEXTS, st.binary(max_size=LIMIT + 5), ALMOST_TEXTS)


class AssemblerMachine(RuleBasedStateMachine):
    """Any frames in any order: the assembler says what the oracle says, and holds no more than one message.

    When a connection has ended, one more frame must be ignored, and a new connection begins.
    """

    @initialize()
    def start(self) -> None:
        self.assembler = MessageAssembler(LIMIT)
        self.oracle = Oracle(LIMIT)

    def feed(self, opcode: int, payload: bytes, fin: bool, reserved: bool = False) -> None:
        ended = self.oracle.over
        expected = self.oracle.expects(opcode, payload, fin, reserved)
        assert described(self.assembler.receive(opcode, payload, fin, reserved)) == expected
        if ended:
            self.start()

    @rule(payload=PAYLOADS, text=st.booleans())
    def first_or_whole(self, payload: bytes, text: bool) -> None:
        """Also while a message is under way: then it is refused."""
        self.feed(1 if text else 2, payload, True)

    @rule(
        payload=st.one_of(TEXTS, ALMOST_TEXTS),
        cuts=st.lists(st.integers(0, 60), max_size=4),
        ping=st.booleans(),
    )
    def fragmented_text(self, payload: bytes, cuts: list[int], ping: bool) -> None:
        """Cut anywhere, characters too, with a PING between the pieces."""
        borders = [0, *sorted(min(cut, len(payload)) for cut in cuts), len(payload)]
        pieces = [payload[a:b] for a, b in itertools.pairwise(borders)]
        for number, piece in enumerate(pieces):
            self.feed(1 if number == 0 else 0, piece, number == len(pieces) - 1)
            if ping:
                self.feed(9, b"between", True)

    @rule(payload=PAYLOADS, fin=st.booleans())
    def continuation(self, payload: bytes, fin: bool) -> None:
        """Also with nothing to continue: then it is refused."""
        self.feed(0, payload, fin)

    @rule(text=st.booleans(), payload=PAYLOADS)
    def first_fragment(self, text: bool, payload: bytes) -> None:
        self.feed(1 if text else 2, payload, False)

    @rule(
        opcode=st.sampled_from([8, 9, 10]),
        payload=st.one_of(st.just(b""), st.binary(max_size=130)),
        fin=st.sampled_from([True, True, True, False]),
    )
    def control(self, opcode: int, payload: bytes, fin: bool) -> None:
        self.feed(opcode, payload, fin)

    @rule(opcode=st.integers(0, 15), payload=st.binary(max_size=10), fin=st.booleans())
    def reserved_bit(self, opcode: int, payload: bytes, fin: bool) -> None:
        self.feed(opcode, payload, fin, reserved=True)

    @rule(opcode=st.sampled_from([3, 4, 5, 6, 7, 11, 12, 13, 14, 15]))
    def undefined_opcode(self, opcode: int) -> None:
        self.feed(opcode, b"", True)

    @rule(code=st.one_of(st.integers(990, 1020), st.integers(0, 65535)), reason=st.one_of(TEXTS, BROKEN))
    def close(self, code: int, reason: bytes) -> None:
        self.feed(8, code.to_bytes(2, "big") + reason, True)

    @invariant()
    def bounded(self) -> None:
        held = getattr(self, "assembler", None)
        if held is not None and held._buffer is not None:
            assert len(held._buffer) <= LIMIT


TestAssembler = AssemblerMachine.TestCase
TestAssembler.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)


@given(st.binary(max_size=12))
def test_the_oracles_idea_of_utf8_is_pythons(data: bytes) -> None:
    try:
        data.decode("utf-8", "strict")
    except UnicodeDecodeError:
        assert not is_utf8(data)
    else:
        assert is_utf8(data)


def test_invalid_text_fails_at_the_fragment_that_cannot_become_valid() -> None:
    """Section 8.1, and Autobahn 6.4.1: not only when the message is complete."""
    assembler = MessageAssembler(100)
    assert assembler.receive(Opcode.TEXT, "κόσμε".encode(), False, False) is None
    assert assembler.receive(Opcode.CONTINUATION, b"\xf4", False, False) is None
    failed = assembler.receive(Opcode.CONTINUATION, b"\x90", False, False)
    assert isinstance(failed, Failure)
    assert failed.code == Code.INVALID_PAYLOAD


def test_a_million_empty_fragments_hold_nothing() -> None:
    assembler = MessageAssembler(100)
    assembler.receive(Opcode.TEXT, b"", False, False)
    for _ in range(100_000):
        assert assembler.receive(Opcode.CONTINUATION, b"", False, False) is None
    assert assembler._buffer is not None
    assert len(assembler._buffer) == 0
    assert assembler.receive(Opcode.CONTINUATION, b"end", True, False) == "end"


def test_the_size_limit_is_of_the_whole_message() -> None:
    assembler = MessageAssembler(10)
    assert assembler.receive(Opcode.BINARY, b"x" * 10, True, False) == b"x" * 10
    assembler.receive(Opcode.BINARY, b"x" * 6, False, False)
    assert assembler.receive(Opcode.CONTINUATION, b"x" * 5, False, False) == Failure(
        1009, "a message may have at most 10 bytes"
    )


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
def test_codes_that_must_not_be_on_the_wire(code: int) -> None:
    assert not is_sendable_code(code)
    outcome = MessageAssembler(10).receive(Opcode.CLOSE, code.to_bytes(2, "big"), True, False)
    assert isinstance(outcome, Failure)
    assert outcome.code == Code.PROTOCOL_ERROR


@given(st.text(alphabet=st.characters(), max_size=200))
def test_a_reason_is_cut_at_a_characters_border(reason: str) -> None:
    cut = truncate_reason(reason)
    assert len(cut.encode()) <= 123
    printable = reason.encode("utf-8", "replace").decode()
    assert printable.startswith(cut)
    if len(printable.encode()) > 123:
        assert len(cut.encode()) > 119, "no more is cut than one character"
    else:
        assert cut == printable
