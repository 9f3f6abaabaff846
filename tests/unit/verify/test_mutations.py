"""The judge finds nothing in a correct run, and every single breach of an otherwise correct one, by its name."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from tests.unit.verify.mutations import MUTATIONS
from tests.unit.verify.world import World
from verify.findings import RULES
from verify.judge import Terms

SEEDS = st.integers(0, 1 << 32)
NO_LOG = {"late_copy_numbered_everywhere", "hole_in_the_database_alone"}
BOUNDED = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


@settings(max_examples=80, deadline=None)
@given(SEEDS, st.integers(1, 120), st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_a_correct_run_passes_whatever_sources_are_given(
    seed: int, steps: int, recordings: bool, log: bool, database: bool, history: bool
) -> None:
    world = World(Random(seed), steps)
    verdict = world.judge(recordings=recordings, log=log, database=database, history=history)
    assert verdict.holds, list(verdict.findings.first.values())
    assert verdict.figures.lost == verdict.figures.duplicated == verdict.figures.out_of_order == 0


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_a_correct_run_passes_whatever_the_caller_vouches_for(seed: int) -> None:
    world = World(Random(seed))
    for terms in (
        Terms(),
        Terms(settle_ms=0),
        Terms(caught_up=True),
        Terms(channels=frozenset(world.channels[:1])),
    ):
        verdict = world.judge(terms)
        assert verdict.holds, (terms, list(verdict.findings.first.values()))


@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_every_single_breach_is_found_and_named(name: str) -> None:
    mutation = MUTATIONS[name]
    places = 0

    @BOUNDED
    @given(SEEDS, SEEDS)
    def one(seed: int, other: int) -> None:
        nonlocal places
        world = World(Random(seed), 70)
        assume(mutation.mutate(world, Random(other)))
        places += 1
        verdict = world.judge(log=name not in NO_LOG)
        event(f"found: {sorted(set(verdict.findings.counts) & mutation.rules)}")
        assert not verdict.holds, "not found"
        assert mutation.rules & set(verdict.findings.counts), list(verdict.findings.first.values())

    one()
    assert places, "no world had a place for this breach"


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_is_broken_by_some_breach(rule: str) -> None:
    """No rule is dead: each is what some breach is found by."""
    for name, mutation in MUTATIONS.items():
        if rule not in mutation.rules:
            continue
        for seed in range(150):
            world = World(Random(seed), 70)
            if mutation.mutate(world, Random(seed)):
                counts = world.judge(log=name not in NO_LOG).findings.counts
                if rule in counts:
                    return
    pytest.fail("no breach is found by this rule")
