"""Hypothesis strategies: logs of one partition as a bad world would write them."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st

from services.contract.envelope import Envelope
from services.contract.generation import Generation
from services.eventlog.sequencer import Sequencer, Verdict
from tests.unit.eventlog.oracle import Entry

GENERATION = Generation(epoch=1, partitions=1, retry_ms=120, future_ms=60)
"""Short windows, in the same proportion as in production: what matters is what lies inside and outside of them."""

HOUR = 3_600

_PASSING = [0, 0, 1, 1, 1, 5, 20, 50, 61, 119, 121, 179, 181, 900]
_ACTS = ["send"] * 5 + ["retry"] * 4 + ["reuse", "broker", "node"]


def build(steps: list[tuple[int, str, int, int, int, int, int]]) -> list[Entry]:
    """Retries near and far, other bodies under the same id, wrong client clocks, servers' clocks that jump."""
    t, broker, nodes = 1_000_000, 0, [0, 0, 0]
    sent: list[tuple[str, str, str, int]] = []
    log: list[Entry] = []
    for passing, act, node, channel, which, clock, jump in steps:
        t += passing
        if act == "broker":
            broker = jump
        elif act == "node":
            nodes[node] = jump
        digest = 1
        if act in ("retry", "reuse") and sent:
            # the recent ones are the likely ones
            chosen = sent[-1 - which % min(len(sent), 8)] if which % 4 else sent[which % len(sent)]
            digest = 2 if act == "reuse" else 1
        else:
            chosen = (f"C{channel}", f"U{node}", f"m{len(sent)}", t + clock)
            sent.append(chosen)
        name, sender, id, born = chosen
        log.append(Entry(len(log), t + broker, t + nodes[node], name, sender, id, born, digest))
    return log


@st.composite
def _drawn(draw: st.DrawFn) -> list[Entry]:
    """Short, and shrinks well."""
    steps: list[Any] = draw(
        st.lists(
            st.tuples(
                st.sampled_from(_PASSING),
                st.sampled_from(_ACTS),
                st.integers(0, 2),
                st.integers(0, 3),
                st.integers(0, 10_000),
                st.one_of(st.integers(-3, 0), st.integers(-200, 100)),
                st.one_of(st.just(0), st.integers(-15, 15), st.integers(-HOUR, HOUR)),
            ),
            max_size=30,
        )
    )
    return build(steps)


@st.composite
def _seeded(draw: st.DrawFn) -> list[Entry]:
    """Long: what takes many records to come about."""
    dice = random.Random(draw(st.integers(0, 2**32)))
    return build(
        [
            (
                dice.choice(_PASSING[:-1]) if dice.random() < 0.4 else 1,
                dice.choice(_ACTS),
                dice.randrange(3),
                dice.randrange(4),
                dice.randrange(10_000),
                dice.randint(-200, 100) if dice.random() < 0.2 else dice.randint(-3, 0),
                dice.choice((0, 0, 0, dice.randint(-15, 15), dice.randint(-HOUR, HOUR))),
            )
            for _ in range(draw(st.integers(0, 300)))
        ]
    )


logs = st.one_of(_drawn(), _seeded(), _seeded())


def envelope(entry: Entry) -> Envelope:
    return Envelope(entry.channel, entry.sender, entry.id, entry.stamped, entry.born)


def fold(sequencer: Sequencer, log: list[Entry]) -> list[Verdict]:
    return [sequencer.apply(e.offset, e.appended, envelope(e), e.digest) for e in log]
