from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channel_server.core.waits import Waits

steps = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.sampled_from(["a", "b", None]), st.integers(0, 20)),
        st.tuples(st.just("advance"), st.sampled_from(["a", "b"]), st.just(0)),
        st.tuples(st.just("expire"), st.none(), st.integers(0, 20)),
        st.tuples(st.just("cancel"), st.none(), st.integers(0, 10)),
    ),
    max_size=60,
)


@given(steps)
def test_each_wait_is_resumed_once_by_its_key_or_its_deadline(
    steps: list[tuple[str, str | None, int]],
) -> None:
    waits = Waits()
    resumed: list[tuple[int, bool]] = []
    open_: dict[int, tuple[str | None, int]] = {}
    handles = []
    now = 0
    for number, (act, key, value) in enumerate(steps):
        before = len(resumed)
        if act == "wait":
            open_[number] = (key, now + value)
            handles.append(
                (number, waits.wait(key, now + value, lambda late, n=number: resumed.append((n, late))))  # type: ignore[misc]
            )
            expected = []
        elif act == "advance":
            assert key is not None
            waits.advance(key)
            expected = [(n, False) for n, (k, _) in open_.items() if k == key]
        elif act == "expire":
            now += value
            waits.expire(now)
            late = sorted((deadline, n) for n, (_, deadline) in open_.items() if deadline <= now)
            expected = [(n, True) for _, n in late]
        else:
            expected = []
            if value < len(handles):
                n, handle = handles[value]
                waits.cancel(handle)
                open_.pop(n, None)
        assert resumed[before:] == expected
        for n, _ in expected:
            del open_[n]
        assert len(waits) == len(open_)


def test_who_waits_again_when_resumed_waits_for_the_next_time() -> None:
    waits = Waits()
    resumed = []

    def resume(late: bool) -> None:
        resumed.append(late)
        if len(resumed) < 3:
            waits.wait("a", 10, resume)

    waits.wait("a", 10, resume)
    waits.advance("a")
    assert resumed == [False]
    waits.advance("a")
    waits.expire(10)
    assert resumed == [False, False, True]
    assert len(waits) == 0


@pytest.mark.parametrize("again", [False, True])
def test_who_is_cancelled_by_another_of_the_same_key_is_not_resumed(again: bool) -> None:
    waits = Waits()
    resumed = []

    def first(late: bool) -> None:
        resumed.append("first")
        if again:
            waits.wait("a", 10, lambda late: resumed.append("again"))
        waits.cancel(second)

    waits.wait("a", 10, first)
    second = waits.wait("a", 10, lambda late: resumed.append("second"))
    waits.advance("a")
    assert resumed == ["first"]
    waits.advance("a")
    assert resumed == ["first", "again"] if again else ["first"]
    assert len(waits) == 0
