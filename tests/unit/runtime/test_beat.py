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
def test_it_is_about_a_period(period: float, now: float) -> None:
    assert 0.499 * period <= until_beat(period, now) <= 1.501 * period


def test_a_timer_that_fires_early_does_not_fire_twice() -> None:
    assert until_beat(0.25, 9.9995) == pytest.approx(0.2505)
    assert until_beat(0.25, 10.0004) == pytest.approx(0.2496)
