"""Waking up together: whoever sleeps until the beat of the same period wakes at the same moments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.beat import until_beat

PERIODS = st.sampled_from([0.05, 0.2, 0.25, 1.0])
TIMES = st.floats(min_value=0.0, max_value=1e7)


@given(PERIODS, TIMES)
def test_it_ends_at_a_multiple_of_the_period(period: float, now: float) -> None:
    turns = (now + until_beat(period, now)) / period
    assert turns == pytest.approx(round(turns), abs=1e-3)


@given(PERIODS, TIMES)
def test_it_is_neither_at_once_nor_much_longer_than_a_period(period: float, now: float) -> None:
    assert 0.099 * period <= until_beat(period, now) <= 1.101 * period


@given(st.sampled_from([0.2, 0.25]), TIMES)
def test_whoever_has_a_longer_period_wakes_with_a_beat_of_the_shorter_one(period: float, now: float) -> None:
    woken = now + until_beat(period, now)
    assert (woken / 0.05) == pytest.approx(round(woken / 0.05), abs=1e-3)


def test_a_timer_that_fires_early_does_not_fire_twice() -> None:
    assert until_beat(0.25, 9.9995) == pytest.approx(0.2505)
    assert until_beat(0.25, 10.0004) == pytest.approx(0.2496)
