"""At the edge of a node: those who come and never become clients, and a process without descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import time
from collections.abc import AsyncIterator, Mapping
from typing import Final

import psutil
from picows import WSError

from tests.faults.idlers import idling
from tests.faults.lab import Lab, Skip, scenario
from tests.faults.load import Load
from tests.faults.measure import MIB, metrics, watching_memory
from tests.faults.outcome import Outcome, milliseconds, percentile
from tests.faults.swarm import Viewer
from tests.faults.told import Spell, spell, told
from tests.stack.lockstep import Stack
from tests.stack.waiting import until

_ONE_NODE: Final = ("web_app", "node-1", "persister", "relay", "checkpointer")

_REFUSED: Final = "lockstep_websocket_refused_total"


class _Peaks:
    """The highest values seen of some of a node's metrics, of its descriptors, and of how long it took to say so."""

    def __init__(self, stack: Stack, *names: str) -> None:
        self.seen: dict[str, float] = dict.fromkeys((*names, "descriptors", "answer"), 0.0)
        self._stack = stack

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self) -> None:
        node = psutil.Process(self._stack.processes["node-1"].pid)
        while True:
            begun = time.monotonic()
            now = await metrics(self._stack, "node-1")
            now |= {"answer": time.monotonic() - begun, "descriptors": float(node.num_fds())}
            for name in self.seen:
                self.seen[name] = max(self.seen[name], now.get(name, 0.0))
            await asyncio.sleep(0.5)


async def _arrivals(load: Load, node: str, seconds: float, rng: random.Random) -> tuple[list[float], int]:
    """Somebody new comes every half second and tries until welcomed: how long each took, and how often one tried again."""
    token = (await load.crowd.owner.rest.realtime()).token
    took: list[float] = []
    again = 0
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        viewer = Viewer(f"new-{len(took)}", token)
        begun = time.monotonic()
        while not viewer.connected:
            try:
                await viewer.connect(node, timeout=10.0)
            except (OSError, TimeoutError, WSError) as error:
                if time.monotonic() - begun > 30.0:
                    raise TimeoutError(f"not welcomed within 30 s: {error!r}") from error
                again += 1
                await asyncio.sleep(rng.uniform(0.05, 0.2))
        took.append(time.monotonic() - begun)
        viewer.drop()
        await asyncio.sleep(0.5)
    return took, again


async def _refusals(stack: Stack) -> dict[str, int]:
    found = await metrics(stack, "node-1")
    return {
        name.removeprefix(_REFUSED).strip("{}"): int(value)
        for name, value in found.items()
        if name.startswith(_REFUSED)
    }


@scenario(
    "idle-crowd",
    "10,000 WebSockets that never say a word, 5,000 slow handshakes and header floods beside them, while people talk",
    limit_s=300.0,
)
async def idle_crowd(lab: Lab) -> Outcome:
    """How many came is one figure (each completed its handshake, and comes back when it is sent away), how many of them the
    node keeps at once is another: no more than its limits say. Nobody who was in is closed or crowded out.

    The crowd lives in a process of its own. In that of the load it held up the load's event loop, on a busy machine for 1.7 s
    at a time: the acknowledgement of a message that the log had taken after 30 ms was read when the loop went on. A wait of
    12 s was measured like that, and never since; people who are in wait for none of the crowd's limits.
    """
    upgraded, seconds = lab.times(10_000, 1_000), float(lab.times(40, 10))
    bound = upgraded // 5
    counts: Mapping[str, int] = {
        "silent": upgraded * 3 // 10,
        "dripping": upgraded // 10,
        "upgraded": upgraded,
        "flooding": upgraded // 10,
    }
    total = sum(counts.values())
    needed = total + 1_000
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < needed:
        raise Skip(f"needs {needed:,} open files (ulimit -n)")
    environment = {
        "LOCKSTEP_MAX_HANDSHAKES": str(bound),
        "LOCKSTEP_MAX_UNADMITTED": str(bound),
        "LOCKSTEP_CONNECTIONS_PER_USER": "1000",
    }
    stack = await lab.stack(services=_ONE_NODE, environment=environment)
    node = stack.websocket_url("node-1")
    outcome = Outcome(
        f"{upgraded:,} silent WebSockets and {total - upgraded:,} others for {seconds:g} s, each back a second after it"
        " is sent away"
    )
    peaks = _Peaks(stack, "lockstep_websocket_handshakes", "lockstep_node_unadmitted_connections")
    spells: list[Spell] = []
    async with lab.load(stack, people=8, channels=4, pause=(0.1, 0.3)) as load:
        with load.during("quiet"):
            await load.served_again()
            before, _ = await _arrivals(load, node, seconds / 4, lab.rng)
        sessions = (await metrics(stack, "node-1"))["lockstep_node_sessions"]
        with spell(spells), load.during("crowd"):
            async with (
                watching_memory(stack, "node-1") as memory,
                peaks.watching(),
                idling(node, counts, random.Random(lab.rng.random())) as idlers,
            ):
                await until(
                    lambda: idlers.upgraded == upgraded and len(idlers.sent_away) == len(counts),
                    120.0,
                    what="every one of the crowd was there, and some were sent away in every kind",
                )
                during, again = await _arrivals(load, node, seconds, lab.rng)
                outcome.recovery_s.append(await load.served_again())

        async def alone() -> bool:
            return (await metrics(stack, "node-1"))["lockstep_node_sessions"] <= sessions

        await until(alone, what="nothing is left of the crowd", every=0.5)
        refused = await _refusals(stack)
        measured = await metrics(stack, "node-1")
        await load.judged(outcome, messages=50)
        seen = told(load, spells)
        assert not seen.closed, f"somebody who was in was hurt: {seen.words()}"
        assert measured["lockstep_node_crowded_out_total"] > 0, "nobody had to give way"
        # The beat reads the gauge once a second, and what is being ended at that moment still counts.
        for name in ("lockstep_websocket_handshakes", "lockstep_node_unadmitted_connections"):
            assert peaks.seen[name] <= bound, f"{name} {peaks.seen[name]:.0f}, the limit is {bound}"
        descriptors = 3 * bound + 1_000 + 200
        assert peaks.seen["descriptors"] <= descriptors, f"{peaks.seen['descriptors']:.0f} descriptors"
        assert memory.growth < 250 * MIB, f"memory grew by {memory.growth / MIB:.0f} MiB"
        outcome.facts = {
            "WebSockets made": f"{idlers.upgraded:,}, their handshakes {idlers.answers['101']:,}",
            "of the crowd connected at once at most": idlers.most,
            "sent away": dict(idlers.sent_away),
            "in the handshake at most": int(peaks.seen["lockstep_websocket_handshakes"]),
            "kept without a welcome at most": int(peaks.seen["lockstep_node_unadmitted_connections"]),
            "descriptors at most": int(peaks.seen["descriptors"]),
            "crowded out": int(measured["lockstep_node_crowded_out_total"]),
            "refused": refused,
            "memory growth": f"{memory.growth / MIB:.0f} MiB",
            "a newcomer's welcome p50 without": milliseconds(percentile(before, 0.5)),
            "with": milliseconds(percentile(during, 0.5)),
            "longest": milliseconds(max(during)),
            "newcomers, tries again": f"{len(during)}, {again}",
            "the node's own page took at most": milliseconds(peaks.seen["answer"]),
            "clients were told": seen.words(),
            **{
                f"ack {name} without / with": f"{milliseconds(quiet)} / {milliseconds(crowd)}"
                for name, quiet, crowd in (
                    ("p50", load.p(0.5, "quiet"), load.p(0.5, "crowd")),
                    ("p99", load.p(0.99, "quiet"), load.p(0.99, "crowd")),
                    ("longest", load.longest("quiet"), load.longest("crowd")),
                )
            },
        }
    return outcome


@scenario(
    "no-descriptors",
    "a node with 256 descriptors is offered 400 connections; then its limit is lowered to what it has open",
    limit_s=180.0,
)
async def no_descriptors(lab: Lab) -> Outcome:
    """First it keeps some back for itself, then there is not a single one left: refused both times, and nobody hurt."""
    seconds = float(lab.times(15, 4))
    limit = 256

    async def lower(stack: Stack) -> None:
        process = stack.processes["node-1"]
        process.command = ["prlimit", f"--nofile={limit}:4096", *process.command]

    stack = await lab.stack(
        services=_ONE_NODE, prepare=lower, environment={"LOCKSTEP_CONNECTIONS_PER_USER": "1000"}
    )
    node = stack.websocket_url("node-1")
    outcome = Outcome(f"400 connections to a node with {limit} descriptors; then with none to spare")
    process = psutil.Process(stack.processes["node-1"].pid)
    counts = {"silent": 100, "upgraded": 300}

    def cpu() -> float:
        times = process.cpu_times()
        return float(times.user + times.system)

    async with lab.load(stack, people=6, channels=3, pause=(0.1, 0.3)) as load:
        await load.served_again()
        used, begun = cpu(), time.monotonic()
        await asyncio.sleep(seconds)
        quiet = (cpu() - used) / (time.monotonic() - begun)
        stays = await _connections(stack)
        with load.during("kept back"):
            async with idling(node, counts, random.Random(lab.rng.random())):
                await _refused_more(stack, 50)
                most = process.num_fds()
                await load.served_again()
                # The internal listener needs descriptors too: a message by REST comes through it.
                owner = load.crowd.owner
                await owner.rest.create_channel("made-meanwhile")
                kept_back = await _refusals(stack)
        assert most <= limit, f"{most} descriptors"
        with load.during("none left"):
            process.rlimit(resource.RLIMIT_NOFILE, (process.num_fds(), 4096))
            async with idling(node, counts, random.Random(lab.rng.random())):
                used, begun = cpu(), time.monotonic()
                await asyncio.sleep(seconds)
                busy = (cpu() - used) / (time.monotonic() - begun)
                outcome.recovery_s.append(await load.served_again())
            process.rlimit(resource.RLIMIT_NOFILE, (limit, 4096))
        none_left = await _refusals(stack)
        assert none_left["descriptors"] > kept_back["descriptors"], "nobody was refused"
        assert stays <= await _connections(stack), "somebody who was in was hurt"
        took, _ = await _arrivals(load, node, 1.0, lab.rng)
        await load.judged(outcome, messages=50)
        # A loop that spins in accept takes all of a core.
        assert busy < quiet + 0.5, f"{busy:.0%} of a core, {quiet:.0%} before"
        outcome.facts = {
            "refused for want of descriptors": int(none_left["descriptors"]),
            "processor share quiet, with none left": f"{quiet:.0%}, {busy:.0%}",
            "ack p99 kept back": milliseconds(load.p(0.99, "kept back")),
            "ack p99 with none left": milliseconds(load.p(0.99, "none left")),
            "a newcomer's welcome afterwards": milliseconds(took[0]),
        }
    return outcome


async def _connections(stack: Stack) -> int:
    """Of people, not of those who are still at the door."""
    found = await metrics(stack, "node-1")
    return int(found["lockstep_node_sessions"] - found["lockstep_node_unadmitted_connections"])


async def _refused_more(stack: Stack, count: int) -> None:
    begun = (await _refusals(stack)).get("descriptors", 0)

    async def enough() -> bool:
        return (await _refusals(stack)).get("descriptors", 0) >= begun + count

    await until(enough, what=f"{count} are refused for want of descriptors", every=0.2)
