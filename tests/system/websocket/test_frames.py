"""RFC 6455 from the client's side, by raw bytes: each rule, and what the server answers when it is broken."""

from __future__ import annotations

import pytest

from tests.system.websocket.conftest import MAX_MESSAGE
from tests.system.websocket.raw import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawClient,
    ServerFrame,
    frame,
)


def expect_failure(client: RawClient, code: int) -> None:
    assert client.read_close() == code
    client.expect_end()


# Messages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, MAX_MESSAGE])
def test_messages_of_every_length_form(client: RawClient, size: int) -> None:
    text = ("å" * size).encode()[:size] if size % 2 == 0 else b"x" * size
    client.send(frame(TEXT, text), frame(BINARY, bytes(size)))
    assert client.read_frame() == ServerFrame(TEXT, text, True)
    assert client.read_frame() == ServerFrame(BINARY, bytes(size), True)


def test_a_message_in_fragments_is_delivered_as_one(client: RawClient) -> None:
    client.send(
        frame(TEXT, b"one ", fin=False),
        frame(CONTINUATION, b"", fin=False),
        frame(CONTINUATION, b"two ", fin=False),
        frame(CONTINUATION, b"three"),
    )
    assert client.read_text() == "one two three"


def test_a_message_that_comes_byte_by_byte(client: RawClient) -> None:
    for byte in frame(TEXT, "grüße".encode(), fin=False) + frame(CONTINUATION, "…".encode()):
        client.send(bytes([byte]))
    assert client.read_text() == "grüße…"


def test_a_character_may_be_split_over_fragments(client: RawClient) -> None:
    whole = "κ𝄞é".encode()
    pieces = [
        frame(TEXT if at == 0 else CONTINUATION, whole[at : at + 1], fin=False) for at in range(len(whole))
    ]
    client.send(*pieces, frame(CONTINUATION, b""))
    assert client.read_text() == "κ𝄞é"


def test_many_empty_fragments_are_a_message(client: RawClient) -> None:
    client.send(frame(TEXT, b"", fin=False))
    for _ in range(20):
        client.send(frame(CONTINUATION, b"", fin=False) * 1000)
    client.send(frame(CONTINUATION, b"end"))
    assert client.read_text() == "end"


# Control frames ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", b"hello", b"\x00\xff\xfe", b"x" * 125])
def test_a_ping_is_answered_with_its_payload(client: RawClient, payload: bytes) -> None:
    client.send(frame(PING, payload))
    assert client.read_frame() == ServerFrame(PONG, payload, True)


def test_a_ping_between_fragments_is_answered_before_the_message_is_complete(client: RawClient) -> None:
    client.send(frame(TEXT, b"a", fin=False), frame(PING, b"now"))
    assert client.read_frame() == ServerFrame(PONG, b"now", True)
    client.send(frame(CONTINUATION, b"b"))
    assert client.read_text() == "ab"


def test_unsolicited_pongs_are_ignored(client: RawClient) -> None:
    client.send(frame(PONG, b"x"), frame(TEXT, b"a", fin=False), frame(PONG), frame(CONTINUATION, b"b"))
    assert client.read_text() == "ab"


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_control_frames_are_short_and_whole(echo_port: int, opcode: int) -> None:
    for bad in (frame(opcode, b"x" * 126), frame(opcode, b"", fin=False)):
        with RawClient(echo_port) as client:
            client.upgrade().send(bad)
            expect_failure(client, 1002)


@pytest.fixture
def echo_port(client: RawClient) -> int:
    return int(client.socket.getpeername()[1])


# What breaks the rules -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
def test_reserved_bits_are_refused(client: RawClient, opcode: int, rsv: int) -> None:
    client.send(frame(opcode, b"", rsv=rsv))
    expect_failure(client, 1002)


def test_reserved_bits_are_refused_on_a_continuation(client: RawClient) -> None:
    client.send(frame(TEXT, b"a", fin=False), frame(CONTINUATION, b"b", rsv=4))
    expect_failure(client, 1002)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_undefined_opcodes_are_refused(client: RawClient, opcode: int) -> None:
    client.send(frame(opcode, b"x"))
    expect_failure(client, 1002)


@pytest.mark.parametrize(
    "bad",
    [
        frame(TEXT, b"x", mask=None),
        frame(TEXT, b"x" * 10, length=b"\x7e\x00\x0a"),
        frame(TEXT, b"x" * 10, length=b"\x7f" + bytes(7) + b"\x0a"),
        frame(TEXT, b"x" * 10, length=b"\x7f\x80" + bytes(6) + b"\x0a"),
        frame(CONTINUATION, b"nothing to continue"),
        frame(CONTINUATION, b"nothing to continue", fin=False),
        frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
        frame(TEXT, b"a", fin=False) + frame(BINARY, b"b", fin=False),
        frame(BINARY, b"a", fin=False) + frame(CONTINUATION, b"b") + frame(CONTINUATION, b"c"),
    ],
    ids=[
        "unmasked",
        "16-bit length for 10",
        "64-bit length for 10",
        "top bit of the length",
        "continuation of nothing",
        "continuation of nothing, not final",
        "text inside text",
        "binary inside text",
        "continuation after the end",
    ],
)
def test_malformed_streams_are_refused(client: RawClient, bad: bytes) -> None:
    client.send(bad)
    while (got := client.read_frame()).opcode != CLOSE:
        assert got.payload == b"ab"
    assert got.payload[:2] == (1002).to_bytes(2, "big")
    client.expect_end()


@pytest.mark.parametrize(
    "text",
    [
        b"\xff",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"ok \xe2\x82",
        b"\x80",
    ],
    ids=[
        "ff",
        "overlong",
        "surrogate",
        "low surrogate",
        "above 10FFFF",
        "five bytes",
        "truncated",
        "no start",
    ],
)
@pytest.mark.parametrize("fragmented", [False, True])
def test_text_is_utf8(client: RawClient, text: bytes, fragmented: bool) -> None:
    if fragmented:
        client.send(
            frame(TEXT, b"\xc3\xa9", fin=False), frame(CONTINUATION, text, fin=False), frame(CONTINUATION)
        )
    else:
        client.send(frame(TEXT, text))
    expect_failure(client, 1007)


def test_bad_utf8_fails_before_the_message_is_complete(client: RawClient) -> None:
    client.send(frame(TEXT, b"\xce\xba\xf4\x90", fin=False))
    expect_failure(client, 1007)


def test_binary_is_not_checked_for_utf8(client: RawClient) -> None:
    client.send(frame(BINARY, b"\xff\xfe", fin=False), frame(CONTINUATION, b"\xed\xa0\x80"))
    assert client.read_frame().payload == b"\xff\xfe\xed\xa0\x80"


# Size ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [MAX_MESSAGE + 1, 16 * 1024 * 1024])
def test_a_frame_above_the_limit_is_refused_and_the_client_hears_why(client: RawClient, size: int) -> None:
    """Also when the client goes on sending the whole of it: no reset overtakes the CLOSE."""
    client.send(frame(TEXT, b"x" * size))
    expect_failure(client, 1009)


@pytest.mark.parametrize("size", [MAX_MESSAGE + 1, 1 << 62])
def test_an_announced_length_is_enough_to_refuse(client: RawClient, size: int) -> None:
    """Before a byte of it has come: nobody fills a buffer by a promise."""
    client.send(frame(BINARY, b"", length=b"\x7f" + size.to_bytes(8, "big")))
    assert client.read_close() == 1009


def test_fragments_that_add_up_above_the_limit_are_refused(client: RawClient) -> None:
    half = b"x" * (MAX_MESSAGE // 2)
    client.send(frame(TEXT, half, fin=False), frame(CONTINUATION, half, fin=False))
    client.send(frame(PING, b"still here"))
    assert client.read_frame() == ServerFrame(PONG, b"still here", True)
    client.send(frame(CONTINUATION, b"x"))
    expect_failure(client, 1009)


# Closing -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1014, 3000, 4999]
)
def test_a_close_is_echoed_and_the_server_closes_first(client: RawClient, code: int) -> None:
    client.send(frame(CLOSE, code.to_bytes(2, "big") + "tschüß".encode()))
    assert client.read_close() == code
    client.expect_end()


def test_an_empty_close_is_answered_with_1000(client: RawClient) -> None:
    client.send(frame(CLOSE))
    assert client.read_close() == 1000
    client.expect_end()


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_codes_that_must_not_be_sent_are_refused(client: RawClient, code: int) -> None:
    client.send(frame(CLOSE, code.to_bytes(2, "big")))
    expect_failure(client, 1002)


def test_a_close_of_one_byte_is_refused(client: RawClient) -> None:
    client.send(frame(CLOSE, b"\x03"))
    expect_failure(client, 1002)


def test_a_close_reason_is_utf8(client: RawClient) -> None:
    client.send(frame(CLOSE, b"\x03\xe8\xff"))
    expect_failure(client, 1007)


def test_a_close_drops_the_message_under_way(client: RawClient) -> None:
    client.send(frame(TEXT, b"unfinished", fin=False), frame(CLOSE, b"\x03\xe8"))
    assert client.read_close() == 1000
    client.expect_end()


def test_nothing_is_answered_after_a_close(client: RawClient) -> None:
    client.send(
        frame(TEXT, b"before"), frame(CLOSE, b"\x03\xe8"), frame(TEXT, b"after"), frame(PING, b"after")
    )
    assert client.read_text() == "before"
    assert client.read_close() == 1000
    client.expect_end()
