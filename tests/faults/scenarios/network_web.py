"""A bad network on either side of web_app: between it and its clients, between it and the nodes."""

from __future__ import annotations

from typing import Final

from tests.faults.by_rest import ByRest, posting_by_rest
from tests.faults.lab import Lab, scenario
from tests.faults.outcome import Outcome, milliseconds, percentile
from tests.faults.told import Spell, told
from tests.faults.wires import FAULTS, MUTE, SLOW, break_and_mend, wired_stack

_ANSWER_S: Final = 2.0
"""How long an answer of web_app is waited for: less than a fault lasts, so that requests are repeated meanwhile."""


@scenario(
    "network-web",
    "between web_app and its clients, messages posted and history read by REST: cut, cut one way, 300 ms",
    limit_s=240.0,
)
async def network_web(lab: Lab) -> Outcome:
    """A request that a one-way cut holds back arrives after its repetition, and an answer may be lost: each message has one
    number all the same, and is in history when its number is known. People on the WebSocket notice nothing of it."""
    stack, wires = await wired_stack(lab)
    outcome = Outcome("")
    spells: list[Spell] = []
    rounds = lab.times(2, 1)
    async with lab.load(stack, people=8, channels=3, pause=(0.05, 0.2)) as load:
        async with posting_by_rest(
            load, load.crowd.people[:4], lab.rng, answer_s=_ANSWER_S, reading=True
        ) as by_rest:
            await by_rest.served_again()
            connections = wires.web.connections
            for _ in range(rounds):
                for kind in lab.rng.sample(FAULTS, len(FAULTS)):
                    before, duplicates = len(load.waits), by_rest.duplicates
                    await break_and_mend(
                        lab, load, outcome, spells, [wires.web], kind, 4.0, by_rest.served_again
                    )
                    assert len(load.waits) > before, "nobody could talk without web_app"
                    if kind == MUTE:
                        assert by_rest.duplicates > duplicates, "no answer was lost"
            assert wires.web.connections > connections, "nobody had to connect again"
            longest = {
                kind: max(wait.seconds for wait in by_rest.waits if wait.phase == kind) for kind in FAULTS
            }
            assert all(longest[kind] > (0.6 if kind == SLOW else _ANSWER_S) for kind in FAULTS), longest
        await load.judged(outcome, messages=300)
        seen = told(load, spells)
        assert not seen.closed, seen.closed
        assert not seen.final, seen.refused
    outcome.did = f"{rounds * len(FAULTS)} faults of 4 to 6 s"
    outcome.facts["by REST"] = _posted(by_rest)
    outcome.facts["read from history meanwhile"] = by_rest.read
    outcome.facts["answers lost, the message found by its copy"] = by_rest.duplicates
    outcome.facts["longest by REST"] = {kind: milliseconds(longest[kind]) for kind in FAULTS}
    outcome.facts["clients were told"] = seen.words()
    return outcome


@scenario(
    "network-web-node",
    "between web_app and the nodes, messages posted by REST: cut, cut one way, 300 ms; one node, then both",
    limit_s=300.0,
)
async def network_web_node(lab: Lab) -> Outcome:
    stack, wires = await wired_stack(lab)
    outcome = Outcome("")
    spells: list[Spell] = []
    faults = 0
    async with lab.load(stack, people=8, channels=3, pause=(0.05, 0.2)) as load:
        async with posting_by_rest(load, load.crowd.people[:4], lab.rng) as by_rest:
            await load.acked(50)
            for nodes in (("node-1",), ("node-1", "node-2")):
                for kind in FAULTS:
                    faults += 1
                    chosen = [wires.internal[node] for node in nodes]
                    await break_and_mend(lab, load, outcome, spells, chosen, kind, 4.0)
        await load.judged(outcome, messages=300)
        # People on the WebSocket noticed nothing of it.
        seen = told(load, spells)
        assert not seen.closed, seen.closed
    outcome.did = f"{faults} faults of 4 to 6 s"
    outcome.facts["by REST"] = _posted(by_rest)
    outcome.facts["clients were told"] = seen.words()
    return outcome


def _posted(by_rest: ByRest) -> str:
    waits = [wait.seconds for wait in by_rest.waits]
    return (
        f"{len(waits)} posted, p50 / longest {milliseconds(percentile(waits, 0.5))} / {milliseconds(max(waits))},"
        f" without an answer after the client's patience: {dict(by_rest.refusals)}"
    )
