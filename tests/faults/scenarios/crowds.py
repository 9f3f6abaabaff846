"""Many at once: a storm of people who come back, rolling restarts, readers who do not read, senders who do not wait."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from typing import Final

from client import MemoryTokens, RestClient
from services.contract import frames
from tests.faults.flood import Sender, flooding, refusals
from tests.faults.guests import join
from tests.faults.lab import Lab, scenario
from tests.faults.load import QUIET, Load, posted_at
from tests.faults.measure import MIB, metrics, watching_memory
from tests.faults.noise import MAY_BE_SAID, Heard, Round, noise
from tests.faults.outcome import Outcome, Pairs, milliseconds, percentile
from tests.faults.swarm import Swarm, Viewer, swarm
from tests.stack.lockstep import Stack
from tests.stack.waiting import until

_MANY = {"LOCKSTEP_CONNECTIONS_PER_USER": "10000", "LOCKSTEP_CHECKPOINT_LAG_MS": "2000"}


async def _tokens(load: Load) -> list[str]:
    return [(await person.rest.realtime()).token for person in load.crowd.people]


class _Latency:
    """Post to delivery, as a few of the viewers see it, in the order of the deliveries; and how much each was shown."""

    def __init__(self, viewers: list[Viewer]) -> None:
        self.seconds: list[float] = []
        self._bytes = 0
        self._viewers = len(viewers)
        for viewer in viewers:
            viewer.on_event = self._note

    def _note(self, _: Viewer, frame: frames.EventFrame) -> None:
        body = bytes(frame.event)
        self._bytes += len(body)
        at = posted_at(body)
        if at is not None:
            self.seconds.append(time.monotonic() - at)

    @property
    def shown_bytes(self) -> int:
        """To each of them, since the beginning."""
        return self._bytes // self._viewers


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
    async with lab.load(stack, people=8, channels=4, pause=(0.2, 0.6), alone=True) as load:
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
    async with lab.load(stack, people=8, channels=4, pause=(0.05, 0.2), alone=True) as load:
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
    """Rounds with and without slow readers alternate, because the machine itself changes.

    What a round says is several times what the node may keep for them all, so that a node which kept it would be found
    out; and several times the ring, so that some of them must be told of a gap.
    """
    count, slow_count = lab.times(1000, 200), lab.times(50, 10)
    rounds, round_s = lab.times(3, 1), 20
    environment = {**_MANY, "LOCKSTEP_BEHIND_SECONDS": "10", "LOCKSTEP_RING_BYTES": str(MIB // 2)}
    stack = await lab.stack(services=_ONE_NODE, environment=environment)
    outcome = Outcome(
        f"{rounds} rounds of {round_s} s with and {round_s // 2} s without {slow_count} slow of {count:,} readers"
    )
    node = stack.websocket_url("node-1")
    async with lab.load(stack, people=8, channels=1, pause=(0.1, 0.3), long_share=0.5, alone=True) as load:
        viewers = await lab.own(swarm([node], random.Random(lab.rng.random())))
        tokens = await _tokens(load)
        await viewers.enter(tokens, count)
        slow = await lab.own(swarm([node], random.Random(lab.rng.random())))
        await slow.enter(tokens, slow_count, receive_buffer=_NARROW)
        latency = _Latency(lab.rng.sample(viewers.viewers, 20))
        pairs = Pairs()
        growth, said = [], []
        for _ in range(rounds):
            begins = len(latency.seconds)
            await asyncio.sleep(round_s / 2)
            turns = len(latency.seconds)
            with load.during("with"):
                for viewer in slow.viewers:
                    viewer.set_receive_buffer(_NARROW)
                before = latency.shown_bytes
                async with watching_memory(stack, "node-1") as memory:
                    await _read_slowly(slow, round_s)
                growth.append(memory.growth)
                said.append(latency.shown_bytes - before)
                pairs.add(latency.seconds[begins:turns], latency.seconds[turns:])
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
        gaps = sum(len(viewer.gaps) for viewer in slow.viewers)
        assert gaps, "nobody was told of a gap, though the ring is small"
        bound = _AT_REST + slow_count * _KEPT_FOR_ONE
        assert min(said) * slow_count > 2 * bound, f"only {min(said)} bytes were said: that shows nothing"
        assert max(growth) < bound, f"memory grew by {max(growth) / MIB:.1f} MiB of {bound / MIB:.1f}"
        outcome.facts = {
            **pairs.facts("delivery"),
            "said in a round, to each": f"{min(said) / MIB:.1f} MiB",
            "node memory growth at most": f"{max(growth) / MIB:.0f} MiB",
            "fell behind": int(measured["lockstep_node_fell_behind_total"]),
            "closed as too slow": int(measured.get("lockstep_node_ended_connections_total{too_slow}", 0)),
            "gaps told to slow readers": gaps,
        }
    return outcome


_KEPT_FOR_ONE: Final = 320 * 1024
"""Bytes that a node may keep for who does not read: its high-water mark and one write more (`loops.BATCH_BYTES`)."""

_AT_REST: Final = 8 * MIB
"""By which a process that is busy may grow for reasons of its own."""

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


_REMEMBERED_BYTES = 330
"""Of one id, until it is surely expired: 280 were measured."""

_FASTER_THAN_ANY = 40_000.0
"""Messages a second."""


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
            async with flooding(node, probe, _FASTER_THAN_ANY / senders_count):
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
        counted = await metrics(stack, "node-1")
        told = sum(
            count for name, count in counted.items() if name.startswith("lockstep_node_slow_downs_total{")
        )
        sent, skipped = sum(sender.sent for sender in flood), sum(sender.skipped for sender in flood)
        assert refused["slow_down"], "nobody was told to slow down"
        assert told >= refused["slow_down"], (told, refused)
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
    "a sender floods, and a channel of 200 viewers is hot with what may be said: the others must not feel it",
    limit_s=600.0,
)
async def hot_channel(lab: Lab) -> Outcome:
    """Who floods is sent away and comes back, all the time; two others say in the same channel what they may say."""
    rounds, round_s = lab.times(3, 1), lab.times(15, 8)
    stack = await lab.stack(services=_ONE_NODE, environment=_MANY)
    node = stack.websocket_url("node-1")
    count = lab.times(200, 100)
    outcome = Outcome(f"{rounds} rounds of {round_s} s with and without the flood")
    async with lab.load(stack, people=8, channels=4, pause=(0.1, 0.3)) as load:
        owner = load.crowd.owner
        hot = (await owner.client.create_channel("hot")).channel.id
        await owner.rest.add_members(hot, [person.user_id for person in load.crowd.people[1:]])
        loud = [await _newcomer(lab, load, hot, name) for name in ("flooder", "busy-1", "busy-2")]
        await stack.told()
        noisy = await lab.own(noise(node, hot, await _tokens(load), count, random.Random(lab.rng.random())))
        heard: list[Heard] = []
        pairs = Pairs()
        for _ in range(rounds):
            begins = len(load.waits)
            await asyncio.sleep(round_s)
            turns = len(load.waits)
            flooder, *speakers = [(await rest.realtime()).token for rest in loud]
            with load.during("with"):
                heard.append(await noisy.make(Round(flooder, speakers, round_s)))
                pairs.add(
                    [wait.seconds for wait in load.waits[begins:turns]],
                    [wait.seconds for wait in load.waits[turns:]],
                )
            with load.during("after"):
                await load.served_again()
        await load.judged(outcome, messages=100)
        await _stored(stack, {id: at for each in heard for id, at in each.acked.items()})
        assert not heard[-1].wrong, heard[-1].wrong
        refused = sum((Counter(each.refused) for each in heard), Counter())
        assert refused["slow_down"], "the flooding sender was not told to slow down"
        assert all(each.sent_away for each in heard), "nobody was sent away"
        said = sum(each.said for each in heard)
        assert said > rounds * round_s * MAY_BE_SAID, f"the channel was not hot: {said} messages"
        outcome.facts = {
            "viewers": count,
            "deliveries": heard[-1].shown,
            "flooder sent": sum(each.sent for each in heard),
            "acknowledged to it": sum(each.taken for each in heard),
            "refused": dict(refused),
            "sent away": sum(each.sent_away for each in heard),
            "said by the others in the hot channel": said,
            **pairs.facts("others' ack"),
        }
    return outcome


async def _newcomer(lab: Lab, load: Load, channel: str, name: str) -> RestClient:
    """Somebody more, in this channel, too; they are none of those whose waits are measured."""
    rest = await lab.own(RestClient(load.crowd.stack.web_url, MemoryTokens()))
    await load.crowd.owner.rest.add_members(channel, [await join(load, rest, name)])
    return rest
