"""The ring against a list: what it holds is a suffix of what came, and what it gives is exact."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channel_server.core.ring import ENTRY_OVERHEAD, Ring

events = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 300)), max_size=400)


@given(events, st.integers(1, 6000), st.integers(1, 1000))
def test_it_holds_the_newest_that_fit_and_gives_them_without_holes(
    events: list[tuple[str, int]], capacity: int, chunk: int
) -> None:
    ring = Ring(capacity)
    came: list[tuple[str, int, bytes]] = []
    heads = dict.fromkeys("abc", 0)
    for channel, size in events:
        heads[channel] += 1
        frame = f"{channel}{heads[channel]}|".encode() + b"x" * size
        ring.add(channel, heads[channel], frame)
        came.append((channel, heads[channel], frame))
        assert ring.bytes <= max(capacity, len(frame) + ENTRY_OVERHEAD)
    held = came[len(came) - len(ring) :]
    assert ring.bytes == sum(len(frame) + ENTRY_OVERHEAD for _, _, frame in held)
    if len(held) < len(came):
        assert ring.bytes + len(came[-len(held) - 1][2]) + ENTRY_OVERHEAD > capacity, "let go without need"
    for channel, head in heads.items():
        of_channel = {seq: frame for c, seq, frame in held if c == channel}
        assert ring.oldest(channel) == min(of_channel, default=None)
        for seq in range(head + 2):
            assert ring.get(channel, seq) == of_channel.get(seq)
            stretch = ring.since(channel, seq, chunk)
            expected = [s for s in of_channel if s > seq]
            if not expected:
                assert stretch is None
                continue
            assert stretch is not None
            assert stretch.first == expected[0]
            given = range(stretch.first, stretch.last + 1)
            assert stretch.frames == b"".join(of_channel[s] for s in given)
            assert len(stretch.frames) <= chunk or len(given) == 1
            following = of_channel.get(stretch.last + 1)
            assert following is None or len(stretch.frames) + len(following) > chunk, "less than it could"


def test_a_hole_is_a_defect() -> None:
    ring = Ring(1000)
    ring.add("a", 5, b"x")
    with pytest.raises(ValueError, match="does not follow"):
        ring.add("a", 7, b"x")
