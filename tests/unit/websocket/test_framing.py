"""Prepared frames are read back by an independent implementation of RFC 6455."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from channel_server.websocket.framing import prepare_text


def parse(data: bytes) -> list[Frame]:
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    frames: list[Frame] = []
    while True:
        at_end = reader.at_eof()
        try:
            while True:
                next(at_end)
        except StopIteration as stop:
            if stop.value:
                return frames
        parsing = Frame.parse(reader.read_exact, mask=False)
        try:
            while True:
                next(parsing)
        except StopIteration as stop:
            frames.append(stop.value)


@given(st.lists(st.text(max_size=300), max_size=5))
def test_joined_frames_are_the_messages_in_order(texts: list[str]) -> None:
    frames = parse(b"".join(prepare_text(text.encode()) for text in texts))
    assert [bytes(frame.data).decode() for frame in frames] == texts
    assert all(frame.opcode is Opcode.TEXT and frame.fin for frame in frames)


@pytest.mark.parametrize(
    ("size", "header"), [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10), (70000, 10)]
)
def test_lengths_are_in_the_shortest_form(size: int, header: int) -> None:
    frame = prepare_text(b"x" * size)
    assert len(frame) == header + size
    assert len(parse(frame)[0].data) == size
