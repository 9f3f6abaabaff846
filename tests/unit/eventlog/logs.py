"""Hypothesis strategies: logs of one partition as a bad world would write them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from services.contract.envelope import Envelope
from services.contract.generation import Generation
from services.eventlog.sequencer import Sequencer, Verdict
from tests.unit.eventlog.oracle import Entry

GENERATION = Generation(epoch=1, partitions=1, retry_ms=120, future_ms=60)
"""Short windows, in the same proportion as in production: what matters is what lies inside and outside of them."""

HOUR = 3_600

_jump = st.one_of(st.just(0), st.integers(-15, 15), st.integers(-HOUR, HOUR))


@st.composite
def logs(draw: st.DrawFn, max_size: int = 120) -> list[Entry]:
    """Retries near and far, other bodies under the same id, wrong client clocks, servers' clocks that jump."""
    t, broker, nodes = 1_000_000, 0, [0, 0, 0]
    sent: list[tuple[str, str, str, int]] = []
    log: list[Entry] = []
    steps: list[Any] = draw(
        st.lists(
            st.tuples(
                st.sampled_from([0, 0, 1, 1, 1, 5, 20, 50, 61, 119, 121, 179, 181, 900]),  # time passing
                st.sampled_from(["send"] * 5 + ["retry"] * 4 + ["reuse", "broker", "node"]),
                st.integers(0, 2),  # which node, which sender
                st.integers(0, 3),  # which channel
                st.integers(0, 10_000),  # which earlier one to repeat
                st.one_of(st.integers(-3, 0), st.integers(-200, 100)),  # the sender's clock
                _jump,
            ),
            max_size=max_size,
        )
    )
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


def envelope(entry: Entry) -> Envelope:
    return Envelope(entry.channel, entry.sender, entry.id, entry.stamped, entry.born)


def fold(sequencer: Sequencer, log: list[Entry]) -> list[Verdict]:
    return [sequencer.apply(e.offset, e.appended, envelope(e), e.digest) for e in log]
