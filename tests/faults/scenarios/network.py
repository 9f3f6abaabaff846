"""A bad network between every two parts: cut, cut one way, slow, a request held back, a peer that never says goodbye."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Sequence

import psutil

from client import ApiError, Unreachable
from deploy.local.ports import free_ports
from tests.faults.lab import Lab, scenario
from tests.faults.load import Load
from tests.faults.measure import metrics
from tests.faults.outcome import Outcome, milliseconds, percentile
from tests.faults.swarm import Viewer
from tests.faults.told import Spell, recorded, spell, told
from tests.faults.wires import FAULTS, Wires, break_and_mend, wired_stack
from tests.stack.waiting import until
from tests.system.eventlog.stalling import produce_staller

_HEARTBEAT = {"LOCKSTEP_HEARTBEAT_SECONDS": "2"}


class _Probe:
    """The long way through everything: a new channel by REST, the first message in it, and that read from history."""

    def __init__(self, load: Load) -> None:
        self._owner = load.crowd.owner
        self._names = 0

    async def works_again(self, timeout: float = 120.0) -> float:
        """Wait until it works; how long it took, seconds."""
        begun = time.monotonic()
        await until(self._works, timeout, what="a new channel works from end to end", every=0.2)
        return time.monotonic() - begun

    async def _works(self) -> bool:
        self._names += 1
        try:
            made = await self._owner.rest.create_channel(f"probe-{self._names}")
            channel = made.channel.id
            ack = await self._owner.client.send(channel, "probe", directory_at=made.directory_at)
            page = await self._owner.rest.events(channel, at_least=ack.seq)
        except (ApiError, Unreachable):
            return False
        return page.head >= ack.seq


def _busier(load: Load, wires: Wires) -> str:
    """The node with more of the crowd: whoever was hurt has left the other one."""
    at = Counter(person.node for person in load.crowd.people)
    return max(wires.clients, key=lambda node: at[f"ws://127.0.0.1:{wires.clients[node].port}/v1/websocket"])


def _waits(load: Load, kinds: Iterable[str]) -> dict[str, str]:
    return {kind: f"{milliseconds(load.p(0.5, kind))} / {milliseconds(load.longest(kind))}" for kind in kinds}


@scenario(
    "network-clients",
    "between a node and its clients: cut, cut one way, 300 ms",
    limit_s=300.0,
)
async def network_clients(lab: Lab) -> Outcome:
    """The other node stays reachable: whoever is hurt goes there."""
    stack, wires = await wired_stack(lab, _HEARTBEAT)
    outcome = Outcome("")
    spells: list[Spell] = []
    faults = 0
    async with lab.load(stack, people=12, channels=3, pause=(0.02, 0.1)) as load:
        await load.acked(100)
        for kind in (*FAULTS, *FAULTS):
            faults += 1
            wire = wires.clients[_busier(load, wires)]
            await break_and_mend(lab, load, outcome, spells, [wire], kind, 6.0)
        await load.judged(outcome, messages=500)
        seen = told(load, spells)
        seen.must_be_retryable()
    outcome.did = f"{faults} faults of 6 to 9 s"
    outcome.facts["clients were told"] = seen.words()
    outcome.facts["p50 / longest wait"] = _waits(load, FAULTS)
    return outcome


@scenario(
    "network-kafka",
    "between Kafka and a node, then the workers: cut, cut one way, 300 ms",
    limit_s=420.0,
)
async def network_kafka(lab: Lab) -> Outcome:
    stack, wires = await wired_stack(lab)
    outcome = Outcome("")
    spells: list[Spell] = []
    workers = ("persister", "relay", "checkpointer")
    faults = 0
    async with lab.load(stack, people=10, channels=3, pause=(0.02, 0.1)) as load:
        probe = _Probe(load)
        await load.acked(100)
        for kind in (*FAULTS, *FAULTS):
            faults += 1
            wire = wires.kafka[_busier(load, wires)]
            await break_and_mend(lab, load, outcome, spells, [wire], kind, 5.0)
        outcome.facts["a node's wire: p50 / longest wait"] = _waits(load, FAULTS)
        for kind in FAULTS:
            faults += 1
            chosen = [wires.kafka[name] for name in workers]
            await break_and_mend(lab, load, outcome, spells, chosen, kind, 5.0)
            outcome.recovery_s[-1] += await probe.works_again()
        await load.judged(outcome, messages=400)
        seen = told(load, spells)
        seen.must_be_retryable()
        assert all(process.running for process in stack.processes.values()), "a process gave up"
    outcome.did = f"{faults} faults of 5 to 8 s"
    outcome.facts["clients were told"] = seen.words()
    return outcome


@scenario(
    "network-database",
    "between PostgreSQL and web_app, persister, relay: cut, cut one way, 300 ms",
    limit_s=420.0,
)
async def network_database(lab: Lab) -> Outcome:
    """Nobody on the WebSocket notices; afterwards everything works again by itself."""
    stack, wires = await wired_stack(lab)
    outcome = Outcome("")
    spells: list[Spell] = []
    groups = (("web_app",), ("persister", "checkpointer"), ("relay",), tuple(wires.database))
    faults = 0
    async with lab.load(stack, people=10, channels=3, pause=(0.05, 0.2)) as load:
        probe = _Probe(load)
        await load.acked(100)
        for names in groups:
            for kind in FAULTS:
                faults += 1
                chosen = [wires.database[name] for name in names]
                before = len(load.waits)
                await break_and_mend(lab, load, outcome, spells, chosen, kind, 5.0)
                assert len(load.waits) > before, "nobody could talk without the database"
                outcome.recovery_s[-1] = await probe.works_again()
        await load.judged(outcome, messages=400)
        seen = told(load, spells)
        assert not seen.closed, seen.closed
        assert not seen.final, seen.refused
    outcome.did = f"{faults} faults of 5 to 8 s"
    outcome.facts["clients were told"] = seen.words()
    return outcome


@scenario(
    "network-produce",
    "one produce request held back for seconds and then let through, again and again",
    limit_s=240.0,
)
async def network_produce(lab: Lab) -> Outcome:
    """What is let through comes after its repetition: the broker drops it by its sequence number, or, if the producer
    has been replaced meanwhile, the fold gives it no number."""
    port, advertised = free_ports(2)
    staller = await lab.own(produce_staller(port, advertised))
    kafka = await lab.broker(advertised=advertised, port=port)
    stack = await lab.stack(kafka=kafka)
    outcome = Outcome("")
    spells: list[Spell] = []
    holds = lab.times(6, 2)
    async with lab.load(stack, people=10, channels=3, pause=(0.01, 0.05)) as load:
        for number in range(holds):
            await load.acked(50)
            with load.during("held"), spell(spells):
                staller.arm()
                await asyncio.wait_for(staller.held.wait(), 30.0)
                # Shorter, and longer, than an append may take.
                await asyncio.sleep(lab.rng.uniform(3.0, 8.0) if number % 2 else lab.rng.uniform(11.0, 14.0))
                staller.release()
                await asyncio.wait_for(staller.delivered.wait(), 30.0)
                outcome.recovery_s.append(await load.served_again())
        await load.judged(outcome, messages=300)
        seen = told(load, spells)
        seen.must_be_retryable()
        verdict = await load.crowd.verdict()
        assert verdict.figures.log is not None
        outcome.facts["late copies in the log, without a number"] = (
            verdict.figures.log.duplicates + verdict.figures.log.expired
        )
    outcome.did = f"{holds} produce requests held for 3 to 14 s"
    outcome.facts["clients were told"] = seen.words()
    return outcome


@scenario(
    "network-half-open",
    "WebSockets whose peers vanish without a FIN: the node notices by heartbeat and frees them",
    limit_s=180.0,
)
async def network_half_open(lab: Lab) -> Outcome:
    heartbeat = {"LOCKSTEP_HEARTBEAT_SECONDS": "1", "LOCKSTEP_CONNECTIONS_PER_USER": "1000"}
    stack, wires = await wired_stack(lab, heartbeat)
    outcome = Outcome("")
    wire, node = wires.clients["node-1"], psutil.Process(stack.processes["node-1"].pid)
    count = lab.times(300, 100)
    async with lab.load(stack, people=8, channels=2, pause=(0.05, 0.2)) as load:
        tokens = [(await person.rest.realtime()).token for person in load.crowd.people]
        await load.acked(50)
        ended_before = _ended(await metrics(stack, "node-1"))
        viewers = [Viewer(f"vanishing-{number}", tokens[number % len(tokens)]) for number in range(count)]
        url = f"ws://127.0.0.1:{wire.port}/v1/websocket"
        for begin in range(0, count, 25):
            await asyncio.gather(*(viewer.connect(url) for viewer in viewers[begin : begin + 25]))
        assert (await metrics(stack, "node-1"))["lockstep_node_sessions"] >= count
        most = _accepted(node, wire.target[1])
        assert most >= count
        begun = time.monotonic()
        with load.during("half open"):
            wire.stall()

            async def freed() -> bool:
                measured = await metrics(stack, "node-1")
                return (
                    measured["lockstep_node_sessions"] == 0
                    and measured["lockstep_websocket_connections"] == 0
                    and _accepted(node, wire.target[1]) == 0
                )

            await until(freed, what="every connection that fell silent is freed", every=0.1)
            outcome.recovery_s.append(time.monotonic() - begun)
            ended = _ended(await metrics(stack, "node-1")) - ended_before
            assert ended >= count, f"{ended} of {count} were ended for silence"
            await load.served_again()
        await wire.cut()
        wire.resume()
        await load.served_again()
        for viewer in viewers:
            viewer.drop()
        await load.judged(outcome, messages=100)
    outcome.did = f"{count} viewers and whoever else was there vanished from a node"
    outcome.facts["ended by heartbeat"] = int(ended)
    outcome.facts["sockets of clients before / after"] = f"{most} / 0"
    return outcome


def _accepted(process: psutil.Process, port: int) -> int:
    """How many sockets of this listener a process holds. Not all its descriptors: those to Kafka come and go."""
    return sum(
        connection.laddr.port == port and connection.status != psutil.CONN_LISTEN
        for connection in process.net_connections(kind="tcp4")
    )


def _ended(measured: dict[str, float]) -> float:
    return measured.get("lockstep_node_ended_connections_total{heartbeat_timeout}", 0.0)


@scenario(
    "network-distance",
    "100 ms one way between clients and nodes and between nodes and Kafka, against none: send to delivery",
    limit_s=240.0,
)
async def network_distance(lab: Lab) -> Outcome:
    stack, wires = await wired_stack(lab)
    outcome = Outcome("")
    far: list[Spell] = []
    near: list[Spell] = []
    pairs = lab.times(2, 1)
    distant = [*wires.clients.values(), wires.kafka["node-1"], wires.kafka["node-2"]]
    async with lab.load(stack, people=20, channels=5, pause=(0.3, 1.0)) as load:
        for _ in range(pairs):
            await load.served_again()
            with load.during("near"), spell(near):
                await load.acked(200)
            for wire in distant:
                wire.delay = 0.1
            await load.served_again()
            # How far it is they notice within a few seconds; what counts is how it is to live there.
            await load.acked(150, timeout=60.0)
            with load.during("far"), spell(far):
                await load.acked(400, timeout=120.0)
            for wire in distant:
                wire.delay = 0.0
        await load.judged(outcome, messages=600)
        seen = told(load, far)
        seen.must_be_retryable()
        for name, spells in (("no distance", near), ("100 ms", far)):
            shown = _deliveries(load, spells)
            assert shown
            figures = " / ".join(milliseconds(percentile(shown, share)) for share in (0.5, 0.99))
            outcome.facts[f"{name}: send to delivery p50 / p99"] = f"{figures} ({len(shown):,} deliveries)"
    outcome.facts["clients were told"] = seen.words()
    outcome.did = f"{pairs} interleaved pairs of stretches"
    return outcome


def _deliveries(load: Load, spells: Sequence[Spell]) -> list[float]:
    """From the first sending of each message to each showing of it to somebody, seconds."""
    sent: dict[str, int] = {}
    shown: list[tuple[str, int]] = []
    for lines in recorded(load).values():
        for line in lines:
            if line["kind"] == "sent":
                sent.setdefault(line["id"], line["t"])
            elif line["kind"] == "event":
                shown.append((line["id"], line["t"]))
    return [
        (at - sent[id]) / 1000
        for id, at in shown
        if id in sent and any(one.begun <= sent[id] <= one.ended for one in spells)
    ]
