"""Promise: in any stretch of its length there are at most so many, and nothing is kept of what no longer counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from web_app.auth.windows import MovingWindow


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_it_is_full_until_the_oldest_is_too_old() -> None:
    clock = Clock()
    window = MovingWindow("2/minute", clock)
    assert window.hit("a")
    clock.now += 20
    assert window.wait("a") == 0
    assert window.hit("a")
    assert not window.hit("a")
    assert window.wait("a") == 40
    assert window.hit("b"), "keys do not know of each other"
    clock.now += 39.9
    assert not window.hit("a")
    clock.now += 0.1
    assert window.hit("a")
    assert window.wait("a") == 20


def test_a_refusal_is_not_counted() -> None:
    clock = Clock()
    window = MovingWindow("1/second", clock)
    assert window.hit("a")
    for _ in range(9):
        clock.now += 0.1
        assert not window.hit("a")
    clock.now += 0.2
    assert window.hit("a")


def test_keys_are_forgotten_once_nothing_of_them_counts() -> None:
    clock = Clock()
    window = MovingWindow("3/hour", clock)
    for number in range(1000):
        window.hit(f"key {number}")
    clock.now += 1800
    window.hit("key 7")
    clock.now += 1800
    window.hit("another")
    assert len(window) == 2
    assert [window.hit("key 7") for _ in range(3)] == [True, True, False]


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40)), max_size=60),
)
def test_it_is_what_counting_all_hits_comes_to(amount: int, hits: list[tuple[str, int]]) -> None:
    clock = Clock()
    window = MovingWindow(f"{amount}/minute", clock)
    admitted: list[tuple[str, float]] = []
    for key, pause in hits:
        clock.now += pause
        may = sum(each == key and at > clock.now - 60 for each, at in admitted) < amount
        assert (window.wait(key) == 0) == may
        assert window.hit(key) == may
        if may:
            admitted.append((key, clock.now))
