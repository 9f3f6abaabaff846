"""A short selection of the fault laboratory (`make faults` plays all of it, at length)."""

from __future__ import annotations

import pytest

from tests.faults.lab import Scenario
from tests.faults.run import chosen, play

SEED = 1


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(one, id=one.name, marks=pytest.mark.timeout(one.limit_s + 120.0))
        for one in chosen([])
        if one.brief
    ],
)
async def test_the_promises_hold(scenario: Scenario) -> None:
    result = await play(scenario, SEED, brief=True, say=print)
    if result.skipped:
        pytest.skip(result.skipped)
    assert not result.error, result.error
