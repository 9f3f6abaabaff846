"""Many at once: a storm of people who come back, rolling restarts, readers who do not read, senders who do not wait."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from typing import Final

from services.contract import frames
from tests.faults.flood import Sender, flooding, refusals
from tests.faults.lab import Lab, scenario
from tests.faults.load import QUIET, Load, posted_at
from tests.faults.measure import MIB, metrics, watching_memory
from tests.faults.outcome import Outcome, milliseconds, percentile
from tests.faults.swarm import Swarm, Viewer, swarm
from tests.stack.lockstep import Stack
from tests.stack.waiting import until

_MANY = {"LOCKSTEP_CONNECTIONS_PER_USER": "10000", "LOCKSTEP_CHECKPOINT_LAG_MS": "2000"}


async def _tokens(load: Load) -> list[str]:
    return [(await person.rest.realtime()).token for person in load.crowd.people]


class _Latency:
    """Post to delivery, as a few of the viewers see it; `phase` is asked for at each delivery."""

    def __init__(self, load: Load, viewers: list[Viewer]) -> None:
        self.seconds: dict[str, list[float]] = {}
        self._load = load
        for viewer in viewers:
            viewer.on_event = self._note

    def _note(self, _: Viewer, frame: frames.EventFrame) -> None:
        at = posted_at(bytes(frame.event))
        if at is not None:
            self.seconds.setdefault(self._load.phase, []).append(time.monotonic() - at)

    def p(self, share: float, phase: str) -> float | None:
        return percentile(self.seconds.get(phase, []), share)


def _ratio(one: float | None, other: float | None) -> str:
    return "-" if not one or not other else f"{one / other:.2f}"


@scenario(
    "reconnect-storm",
    "a node with 5,000 clients is killed while web_app and PostgreSQL are down; all of them resume on the other",
    limit_s=600.0,
)
async def reconnect_storm(lab: Lab) -> Outcome:
    """That PostgreSQL is down shows that a resume asks it nothing."""
    count = lab.times(5000, 300)
    stack = await lab.stack(environment=_MANY)
    one, two = stack.websocket_url("node-1"), stack.websocket_url("node-2")
    outcome = Outcome(f"{count:,} clients moved at once, PostgreSQL and web_app stopped")
    async with lab.load(stack, people=8, channels=4, pause=(0.2, 0.6)) as load:
        viewers = await lab.own(swarm([one], random.Random(lab.rng.random())))
        await viewers.enter(await _tokens(load), count, timeout=240.0)
        viewers.nodes = [one, two]
        await load.acked(30)
        await stack.processes["web_app"].destroy()
        await stack.postgres.process.destroy()
        with load.during("storm"):
            begun = time.monotonic()
            stack.processes["node-1"].kill()
            await until(
                lambda: all(viewer.connected and viewer.node == two for viewer in viewers.viewers),
                240.0,
                what="everybody is on the other node",
                every=0.2,
            )
            outcome.recovery_s.append(time.monotonic() - begun)
            await load.served_again()
        await stack.processes["node-1"].destroy()
        await stack.postgres.process.start()
        await stack.start("web_app", "node-1")
        await load.judged(outcome, messages=50)
        await viewers.caught_up(load.crowd.heads())
        assert not viewers.wrong(), viewers.wrong()[:3]
        gaps = sum(len(viewer.gaps) for viewer in viewers.viewers)
        assert not gaps, f"{gaps} gaps, though the ring holds everything"
        outcome.facts = {
            "resumed": len(viewers.recovered),
            "return of one client p50": milliseconds(percentile(viewers.recovered, 0.5)),
            "p99": milliseconds(percentile(viewers.recovered, 0.99)),
            "ack p99 quiet": milliseconds(load.p(0.99, QUIET)),
            "ack p99 in the storm": milliseconds(load.p(0.99, "storm")),
        }
    return outcome


@scenario(
    "rolling-restart",
    "both nodes are drained and restarted, one after the other, with 2,000 clients under load",
    limit_s=600.0,
)
async def rolling_restart(lab: Lab) -> Outcome:
    count = lab.times(2000, 150)
    stack = await lab.stack(environment=_MANY)
    nodes = [stack.websocket_url("node-1"), stack.websocket_url("node-2")]
    outcome = Outcome(f"both nodes drained and restarted, {count:,} clients")
    async with lab.load(stack, people=8, channels=4, pause=(0.05, 0.2)) as load:
        viewers = await lab.own(swarm(nodes, random.Random(lab.rng.random())))
        await viewers.enter(await _tokens(load), count)
        await load.acked(30)
        statuses = []
        with load.during("restart"):
            for name in ("node-1", "node-2"):
                process = stack.processes[name]
                process.kill(signal.SIGTERM)
                statuses.append(await process.wait(60.0))
                await process.start(60.0)
                outcome.recovery_s.append(await load.served_again())
        await load.judged(outcome, messages=100)
        await viewers.caught_up(load.crowd.heads())
        gaps = [gap for viewer in viewers.viewers for gap in viewer.gaps]
        assert statuses == [0, 0], f"exit statuses {statuses}"
        assert not gaps, gaps[:3]
        assert not viewers.wrong(), viewers.wrong()[:3]
        outcome.facts = {
            "moves": len(viewers.recovered),
            "ack p99 quiet": milliseconds(load.p(0.99, QUIET)),
            "ack p99 during the restarts": milliseconds(load.p(0.99, "restart")),
        }
    return outcome


@scenario(
    "slow-readers",
    "of 1,000 viewers of a hot channel, 25 read a kilobyte a second and 25 nothing at all",
    limit_s=900.0,
)
async def slow_readers(lab: Lab) -> Outcome:
    """Rounds with and without slow readers alternate, because the machine itself changes."""
    count, slow_count = lab.times(1000, 200), lab.times(50, 10)
    rounds, round_s = lab.times(3, 1), lab.times(20, 15)
    environment = {**_MANY, "LOCKSTEP_BEHIND_SECONDS": "10", "LOCKSTEP_RING_BYTES": str(4 * MIB)}
    stack = await lab.stack(services=_ONE_NODE, environment=environment)
    outcome = Outcome(
        f"{rounds} rounds of {round_s} s with and without {slow_count} slow of {count:,} readers"
    )
    node = stack.websocket_url("node-1")
    async with lab.load(stack, people=8, channels=1, pause=(0.1, 0.3)) as load:
        viewers = await lab.own(swarm([node], random.Random(lab.rng.random())))
        tokens = await _tokens(load)
        await viewers.enter(tokens, count)
        slow = await lab.own(swarm([node], random.Random(lab.rng.random())))
        await slow.enter(tokens, slow_count, receive_buffer=_NARROW)
        latency = _Latency(load, lab.rng.sample(viewers.viewers, 20))
        growth = []
        for _ in range(rounds):
            await asyncio.sleep(round_s)
            with load.during("with"):
                for viewer in slow.viewers:
                    viewer.set_receive_buffer(_NARROW)
                async with watching_memory(stack, "node-1") as memory:
                    await _read_slowly(slow, round_s)
                growth.append(memory.growth)
            with load.during("after"):
                begun = time.monotonic()
                for viewer in slow.viewers:
                    viewer.set_receive_buffer(_WIDE)
                    viewer.read(True)
                await slow.caught_up(load.crowd.heads())
                outcome.recovery_s.append(time.monotonic() - begun)
        measured = await metrics(stack, "node-1")
        await load.judged(outcome, messages=100)
        for each in (viewers, slow):
            await each.caught_up(load.crowd.heads())
            assert not each.wrong(), each.wrong()[:3]
        assert not any(viewer.gaps for viewer in viewers.viewers), "somebody who reads was told of a gap"
        assert measured["lockstep_node_fell_behind_total"] >= slow_count, "nobody fell behind"
        # Beyond its constant (what the connection may buffer), a slow client must cost nothing.
        share = max(growth) / slow_count
        assert share < 4 * MIB, f"{share / MIB:.1f} MiB for each slow reader"
        outcome.facts = {
            "delivery p99 without": milliseconds(latency.p(0.99, QUIET)),
            "with": milliseconds(latency.p(0.99, "with")),
            "ratio": _ratio(latency.p(0.99, "with"), latency.p(0.99, QUIET)),
            "node memory growth at most": f"{max(growth) / MIB:.0f} MiB",
            "fell behind": int(measured["lockstep_node_fell_behind_total"]),
            "closed as too slow": int(measured.get("lockstep_node_ended_connections_total{too_slow}", 0)),
            "gaps told to slow readers": sum(len(viewer.gaps) for viewer in slow.viewers),
        }
    return outcome


_NARROW: Final = 4 * 1024
_WIDE: Final = 256 * 1024
"""Receive buffers of who is slow, and of who catches up again: with the first that alone takes a minute and a half."""

_ONE_NODE = ("web_app", "node-1", "persister", "relay", "checkpointer")


async def _read_slowly(slow: Swarm, seconds: float) -> None:
    """Half of them take a few kilobytes now and then, the others nothing."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        for number, viewer in enumerate(slow.viewers):
            viewer.read(number % 2 == 0)
        await asyncio.sleep(0)
        for viewer in slow.viewers:
            viewer.read(False)
        await asyncio.sleep(4.0)


_REMEMBERED_BYTES = 660
"""Of one id, until it is surely expired: 640 were measured."""


@scenario("overload", "three times what a node can take is sent to it for a minute", limit_s=600.0)
async def overload(lab: Lab) -> Outcome:
    """What it can take is measured first: the acknowledgements a second of senders that send as fast as they can."""
    seconds, senders_count = lab.times(60, 10), 40
    environment = {
        **_MANY,
        "LOCKSTEP_CONNECTION_RATE": "100000",
        "LOCKSTEP_USER_RATE": "100000",
        "LOCKSTEP_RING_BYTES": str(16 * MIB),
    }
    stack = await lab.stack(services=_ONE_NODE, environment=environment)
    node = stack.websocket_url("node-1")
    outcome = Outcome("")
    # Few, since each of them is shown and records all of it, in one process with those who flood.
    async with lab.load(stack, people=3, channels=8, pause=(0.1, 0.3)) as load:
        tokens = await _tokens(load)
        channels = load.crowd.channels

        def senders() -> list[Sender]:
            return [
                Sender(tokens[number % len(tokens)], channels[number % len(channels)])
                for number in range(senders_count)
            ]

        probe = senders()
        with load.during("probe"):
            begun = time.monotonic()
            async with flooding(node, probe, 250.0):
                await asyncio.sleep(8.0)
            capacity = sum(len(sender.acked) for sender in probe) / (time.monotonic() - begun)
        for sender in probe:
            sender.drop()
        await load.served_again()
        await asyncio.sleep(5.0)
        flood = senders()
        offered = 3 * capacity
        before = sum(load.crowd.heads().values())
        with load.during("overload"):
            async with (
                watching_memory(stack, "node-1") as memory,
                flooding(node, flood, offered / senders_count),
            ):
                await asyncio.sleep(seconds)
        with load.during("after"):
            outcome.recovery_s.append(await load.served_again())
        acked = {id: at for sender in (*probe, *flood) for id, at in sender.acked.items()}
        for sender in flood:
            sender.drop()
        await load.judged(outcome, messages=50)
        await _stored(stack, acked)
        refused = refusals(flood)
        sent, skipped = sum(sender.sent for sender in flood), sum(sender.skipped for sender in flood)
        assert refused["slow_down"] or skipped, "nobody was told to slow down"
        # The ids of two minutes are remembered, so that a retry is not numbered again; nothing else may grow.
        numbered = sum(load.crowd.heads().values()) - before
        bound = 32 * MIB + numbered * _REMEMBERED_BYTES
        assert memory.growth < bound, (
            f"memory grew by {memory.growth / MIB:.0f} MiB over {numbered:,} messages"
        )
        outcome.did = (
            f"{offered:,.0f} messages/s offered for {seconds} s, to a node that takes {capacity:,.0f}"
        )
        outcome.facts = {
            "offered": sent + skipped,
            "not even read": skipped,
            "acknowledged": sum(len(sender.acked) for sender in flood),
            "refused": dict(refused),
            "acknowledged and stored": f"{len(acked):,} of {len(acked):,}",
            "memory growth": f"{memory.growth / MIB:.0f} MiB, {numbered:,} ids being remembered",
            "others' ack p99 quiet": milliseconds(load.p(0.99, QUIET)),
            "others' ack p99 in overload": milliseconds(load.p(0.99, "overload")),
        }
    return outcome


async def _stored(stack: Stack, acked: dict[str, tuple[str, int]]) -> None:
    """Everything that was acknowledged is in PostgreSQL under its number; waits for the persister."""
    connection = await stack.database.connect()
    try:

        async def missing() -> int:
            rows = await connection.fetch(
                "select event_id::text as id, channel_id, seq from events where channel_id = any($1::text[])",
                list({channel for channel, _ in acked.values()}),
            )
            stored = {row["id"]: (row["channel_id"], row["seq"]) for row in rows}
            return sum(stored.get(id) != at for id, at in acked.items())

        async def complete() -> bool:
            return await missing() == 0

        await until(complete, 180.0, what="everything acknowledged is stored under its number", every=2.0)
    finally:
        await connection.close()


@scenario(
    "hot-channel",
    "one sender floods, and one channel of 500 viewers is hot: the others must not feel it",
    limit_s=600.0,
)
async def hot_channel(lab: Lab) -> Outcome:
    rounds, round_s = lab.times(3, 1), lab.times(20, 8)
    stack = await lab.stack(services=_ONE_NODE, environment=_MANY)
    node = stack.websocket_url("node-1")
    outcome = Outcome(f"{rounds} rounds of {round_s} s with and without the flood")
    async with lab.load(stack, people=8, channels=4, pause=(0.1, 0.3)) as load:
        owner = load.crowd.owner
        hot = (await owner.client.create_channel("hot")).channel.id
        await owner.rest.add_members(hot, [person.user_id for person in load.crowd.people[1:]])
        viewers = await lab.own(swarm([node], random.Random(lab.rng.random())))
        tokens = await _tokens(load)
        await viewers.enter(tokens, lab.times(500, 100))
        floods: list[Sender] = []
        for _ in range(rounds):
            await asyncio.sleep(round_s)
            flooder = Sender(tokens[0], hot)
            floods.append(flooder)
            with load.during("with"):
                async with flooding(node, [flooder], 2000.0):
                    await asyncio.sleep(round_s)
            flooder.drop()
            with load.during("after"):
                await load.served_again()
        await load.judged(outcome, messages=100)
        await _stored(stack, {id: at for sender in floods for id, at in sender.acked.items()})
        assert not viewers.wrong(), viewers.wrong()[:3]
        refused = refusals(floods)
        assert refused["slow_down"], "the flooding sender was not told to slow down"
        outcome.facts = {
            "flooder sent": sum(sender.sent for sender in floods),
            "acknowledged to it": sum(len(sender.acked) for sender in floods),
            "refused": dict(refused),
            "closed with": [sender.closed for sender in floods],
            "others' ack p99 without": milliseconds(load.p(0.99, QUIET)),
            "with": milliseconds(load.p(0.99, "with")),
            "ratio": _ratio(load.p(0.99, "with"), load.p(0.99, QUIET)),
        }
    return outcome
