"""What the nodes know of people: out of date, written by a relay that was overtaken, signed by other keys, withdrawn."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import httpx

from client import MemoryTokens, RestClient
from deploy.local.ports import free_ports
from deploy.local.toolchain import CLONE
from services.contract.codes import CLOSES
from services.database.engine import create_engine
from services.eventlog.epoch import current_generation
from services.runtime.settings import DatabaseSettings
from tests.faults.guests import caught_up, guest, join, new_recorder
from tests.faults.lab import REPLICATED, Lab, scenario
from tests.faults.leaders import lead, leaders
from tests.faults.load import Load
from tests.faults.measure import metrics
from tests.faults.outcome import Outcome, milliseconds
from tests.faults.swarm import Viewer, is_refused
from tests.faults.told import Spell, recorded, spell, told
from tests.faults.wires import wired_stack
from tests.stack.crowd import Person
from tests.stack.lockstep import Stack
from tests.stack.process import Process
from tests.stack.servers import Cluster
from tests.stack.waiting import until
from tests.system.relay.published import assert_directory_is_current

_NODES = ("node-1", "node-2")


async def _apart(lab: Lab) -> tuple[Cluster, Stack, int]:
    """A cluster in which one broker leads the directory and no events; the relay reaches it past the proxies."""
    cluster = await lab.cluster(proxied=True)
    chosen = lab.rng.choice((1, 2, 3))

    async def prepare(stack: Stack) -> None:
        generation = await current_generation(cluster.inner)
        await lead(cluster.inner, chosen, generation.directory_topic, [generation.events_topic])
        stack.processes["relay"].environment["LOCKSTEP_KAFKA"] = cluster.inner

    stack = await lab.stack(kafka=cluster.kafka, environment=REPLICATED, prepare=prepare)
    return cluster, stack, chosen


async def _all_hold(stack: Stack) -> bool:
    return all([(await metrics(stack, node))["lockstep_node_held"] == 1 for node in _NODES])


async def _none_holds(stack: Stack) -> bool:
    return all([(await metrics(stack, node))["lockstep_node_held"] == 0 for node in _NODES])


def _shown_live(load: Load, one: Spell) -> int:
    """How many events nodes showed to clients in this stretch."""
    return sum(
        line["kind"] == "event" and line["via"] in ("live", "replay") and one.begun <= line["t"] <= one.ended
        for lines in recorded(load).values()
        for line in lines
    )


async def _saw_nothing_after_removal(load: Load, removed: Person, channel: str) -> int:
    """The number of the removal itself, beyond which the removed person was shown nothing."""
    after = 0
    while True:
        page = await load.crowd.owner.rest.events(channel, after=after, limit=200)
        for event in page.events:
            if b'"members.removed"' in bytes(event.event) and removed.user_id.encode() in bytes(event.event):
                assert max(removed.seen.get(channel, [0])) < event.seq, "shown something after the removal"
                assert removed.closed[channel] < event.seq
                return event.seq
            after = event.seq
        assert page.events, "the removal is in history"


@scenario(
    "directory-frozen",
    "in a cluster, the broker that leads `directory` and no events: frozen, then out of the nodes' reach",
    limit_s=420.0,
)
async def directory_frozen(lab: Lab) -> Outcome:
    """Frozen, the cluster replaces it within seconds. Out of the nodes' reach alone, it stays the leader: events go on
    while the directory does not, which is what the freshness rule is for."""
    cluster, stack, broker = await _apart(lab)
    generation = await current_generation(cluster.inner)
    outcome = Outcome("")
    async with (
        lab.load(stack, people=10, channels=3, pause=(0.03, 0.1)) as load,
        guest(load, "first-guest") as first,
        guest(load, "second-guest") as second,
    ):
        await load.acked(150)
        channel = load.crowd.channels[0]

        # Out of reach: nothing is shown while the proof is old, and for good everybody is sent away.
        spells: list[Spell] = []
        with load.during("out of reach"), spell(spells):
            begun = time.monotonic()
            cluster.proxies[broker].stall()
            await until(lambda: _all_hold(stack), what="both nodes hold")
            held_s = time.monotonic() - begun
            before = len(load.waits)
            # What was on its way to clients when the nodes began to hold has come by now.
            await load.acked(100)
            held: list[Spell] = []
            with spell(held):
                await load.crowd.owner.rest.remove_member(channel, first.user_id)
                sent_away = CLOSES["directory_stale"].code
                await until(
                    lambda: (
                        told(load, [Spell(spells[0].begun, 1 << 62)]).closed[sent_away]
                        >= len(load.crowd.people)
                    ),
                    what="everybody was sent away",
                    every=0.5,
                )
                closed_s = time.monotonic() - begun
                acked = len(load.waits) - before
            cluster.proxies[broker].resume()
            await until(lambda: _none_holds(stack), what="no node holds")
            outcome.recovery_s.append(await load.served_again())
        assert set((await leaders(cluster.inner, generation.directory_topic)).values()) == {broker}
        shown = _shown_live(load, held[0])
        assert not shown, f"{shown} events shown while the directory was out of date"
        assert acked >= 100, "events did not go on"
        told(load, spells).must_be_retryable()
        await until(lambda: channel in first.closed, what="the removed guest was told")

        # Frozen: the cluster fences it, another leads, and it goes on.
        spells = []
        with load.during("frozen"), spell(spells):
            process = cluster.brokers[broker].process
            process.freeze()
            try:
                begun = time.monotonic()
                await until(lambda: _all_hold(stack), what="both nodes hold", every=0.1)
                await load.crowd.owner.rest.remove_member(channel, second.user_id)
                outcome.recovery_s.append(await load.served_again())
                await until(lambda: _none_holds(stack), what="no node holds")
                failed_over_s = time.monotonic() - begun
                await asyncio.sleep(max(0.0, 20.0 - failed_over_s))
            finally:
                process.thaw()
            await load.served_again()
        frozen = told(load, spells)
        frozen.must_be_retryable()
        await until(lambda: channel in second.closed, what="the removed guest was told")
        await caught_up(load, first, second)
        await load.judged(outcome, messages=400)
        for removed in (first, second):
            await _saw_nothing_after_removal(load, removed, channel)
    outcome.did = (
        f"broker {broker} out of the nodes' reach until everybody was sent away; then frozen for 20 s"
    )
    outcome.facts |= {
        "shown while held": shown,
        "acknowledged while held": acked,
        "both held after": f"{held_s:.1f} s",
        "all sent away (4009) after": f"{closed_s:.1f} s",
        "frozen: shown again after": f"{failed_over_s:.1f} s",
        "frozen: clients were told": frozen.words(),
    }
    return outcome


async def _twin_relay(lab: Lab, stack: Stack) -> tuple[Process, str]:
    """A second relay of the stack, on standby, and its admin address; no wire of the first one is its way."""
    port = free_ports(1)[0]
    first = stack.processes["relay"]
    twin = Process(
        "relay-twin",
        first.command,
        stack.folder / "relay-twin.log",
        environment={
            **first.environment,
            "LOCKSTEP_DATABASE_PORT": str(stack.postgres.server.port),
            "LOCKSTEP_ADMIN_PORT": str(port),
        },
        ready=f"http://127.0.0.1:{port}/health/ready",
        cwd=CLONE,
    )

    async def owned() -> AsyncIterator[Process]:
        try:
            await twin.start(60.0)
            yield twin
        finally:
            await twin.destroy()

    return await lab.own(contextlib.asynccontextmanager(owned)()), f"http://127.0.0.1:{port}"


@scenario(
    "directory-old-relay",
    "a relay frozen in the middle of a flush, overtaken by a twin, then thawed: fenced, its stale records go nowhere",
    limit_s=300.0,
)
async def directory_old_relay(lab: Lab) -> Outcome:
    """The flush says that somebody is a member; by the time it is let through they have been removed."""
    stack, wires = await wired_stack(lab)
    relay, wire, database = stack.processes["relay"], wires.kafka["relay"], wires.database["relay"]
    outcome = Outcome("")
    rounds = lab.times(4, 2)
    fenced = 0
    async with lab.load(stack, people=8, channels=2, pause=(0.05, 0.2)) as load:
        owner, guests = load.crowd.owner, contextlib.AsyncExitStack()
        channel = load.crowd.channels[0]
        twin, twin_url = await _twin_relay(lab, stack)
        everybody: list[Person] = []
        async with guests:
            for number in range(rounds):
                removed = await guests.enter_async_context(guest(load, f"guest-{number}"))
                everybody.append(removed)
                await owner.rest.remove_member(channel, removed.user_id)
                await until(partial(_is_out, removed, channel), what="the guest is out")
                # The old relay is stopped between reading "is a member" and the end of its transaction. What is held
                # is what it asks of the broker, or what it is answered.
                direction = ("up", "down")[number % 2]
                log_before = relay.log.stat().st_size
                wire.stall(direction)
                await owner.rest.add_members(channel, [removed.user_id])
                await until(partial(_flushing, stack), what="the old relay flushes", every=0.1)
                relay.freeze()
                # Its hold on the lock goes with its connections; the twin takes over and publishes what is true now.
                await database.refuse()
                await until(partial(_is_active, twin_url), what="the twin is active")
                await until(
                    partial(_is_in, removed, channel),
                    what="the twin has published that the guest is in",
                )
                await owner.rest.remove_member(channel, removed.user_id)
                await until(partial(_is_out, removed, channel), what="the guest is out again")
                seen = len(removed.seen.get(channel, []))
                wire.resume()
                relay.thaw()
                await until(partial(_begun_anew, relay, log_before), what="the old relay gives up")
                fenced += b"another writer has taken over" in relay.log.read_bytes()[log_before:]
                database.resume()
                await load.acked(40)
                assert len(removed.seen.get(channel, [])) == seen, (
                    "a stale record brought a removed member back"
                )
                assert channel in removed.closed
                # The old one is to be the active one again.
                await relay.wait_ready(60.0)
                twin.kill()
                await twin.destroy()
                await until(
                    partial(_is_active, stack.health_url("relay")), what="the old one is active again"
                )
                await twin.start(60.0)
                outcome.recovery_s.append(await load.served_again())
            await caught_up(load, *everybody)
            await load.judged(outcome, messages=200)
        generation = await current_generation(stack.kafka.bootstrap)
        engine = create_engine(_database_settings(stack), "faults", pool_size=1)
        try:
            await assert_directory_is_current(stack.kafka.bootstrap, generation, engine)
        finally:
            await engine.dispose()
    assert fenced, "no frozen relay found out by being fenced"
    outcome.did = f"{rounds} times"
    outcome.facts["fenced"] = fenced
    return outcome


def _database_settings(stack: Stack) -> DatabaseSettings:
    return DatabaseSettings(
        secrets_dir=Path(stack.secrets_dir),
        database_host=stack.database.host,
        database_port=stack.database.port,
        database_name=stack.database.name,
        database_user=stack.database.user,
    )


def _is_in(person: Person, channel: str) -> bool:
    return channel not in person.closed


def _is_out(person: Person, channel: str) -> bool:
    return channel in person.closed


def _begun_anew(relay: Process, log_before: int) -> bool:
    return b"begins anew" in relay.log.read_bytes()[log_before:]


async def _flushing(stack: Stack) -> bool:
    """Whether the relay holds a row that it cannot get rid of: when it has nothing to do, it asks every second."""
    connection = await stack.database.connect()
    try:
        return bool(
            await connection.fetchval(
                "select exists (select from outbox where topic = 'directory') and"
                " clock_timestamp() - max(state_change) > interval '1.5 s'"
                " from pg_stat_activity where datname = current_database()"
                " and application_name = 'lockstep-relay-directory'"
            )
        )
    finally:
        await connection.close()


async def _is_active(admin_url: str) -> bool:
    """Whether the relay that answers there is the active one."""
    async with httpx.AsyncClient(timeout=10.0) as http:
        text = (await http.get(f"{admin_url}/metrics")).text
    return 'lockstep_relay_active{half="directory"} 1.0' in text


def _note_time(times: list[float], *_: object) -> None:
    times.append(time.monotonic())


def _all_are_shown(viewers: Sequence[Viewer]) -> bool:
    return all(viewer.events for viewer in viewers)


def _all_gone(viewers: Sequence[Viewer]) -> bool:
    return not any(viewer.connected for viewer in viewers)


_A_SECONDS_TALK = 300
"""Messages: no more than eight people post in a second who rest for 30 ms on average after each."""


@scenario(
    "directory-deactivated",
    "somebody deactivated while connected to both nodes, under load: shown nothing more, and not let in again",
    brief=True,
    limit_s=600.0,
)
async def directory_deactivated(lab: Lab) -> Outcome:
    stack = await lab.stack()
    outcome = Outcome("")
    rounds = lab.times(10, 3)
    silent_s: list[float] = []
    closed_s: list[float] = []
    async with lab.load(stack, people=8, channels=2, pause=(0.01, 0.05)) as load:
        for number in range(rounds):
            name = f"guest-{number}"
            async with RestClient(stack.web_url, MemoryTokens()) as rest:
                user = await join(load, rest, name)
                token = (await rest.realtime()).token
            await stack.told()
            viewers = []
            for node in _NODES:
                viewer = Viewer(name, token, recorder=new_recorder(load, f"{name}-{node}"))
                await viewer.connect(stack.websocket_url(node))
                viewers.append(viewer)
            await load.acked(50)
            await until(partial(_all_are_shown, viewers), what="both are shown what is said")
            assert all(viewer.connected for viewer in viewers)
            shown_at: list[float] = []
            for viewer in viewers:
                viewer.on_event = partial(_note_time, shown_at)
            await load.crowd.owner.rest.deactivate(user)
            begun = time.monotonic()
            await until(
                partial(_all_gone, viewers),
                what="both connections are closed",
                every=0.002,
            )
            closed_s.append(time.monotonic() - begun)
            # Counted, because a slow machine shows less in a second, too.
            assert len(shown_at) < len(viewers) * _A_SECONDS_TALK, f"shown {len(shown_at)} events more"
            silent_s.append(max([0.0, *(at - begun for at in shown_at)]))
            shown = [viewer.events for viewer in viewers]
            assert [viewer.close_codes for viewer in viewers] == [[CLOSES["deactivated"].code]] * 2
            await load.acked(50)
            assert [viewer.events for viewer in viewers] == shown
            assert not any(viewer.wrong for viewer in viewers)
            for node in _NODES:
                await until(
                    partial(is_refused, stack.websocket_url(node), token),
                    what=f"{node} lets them in no more",
                )
        await load.judged(outcome, messages=200)
    outcome.did = f"{rounds} people deactivated"
    outcome.facts["shown something for, median / longest"] = (
        f"{milliseconds(statistics.median(silent_s))} / {milliseconds(max(silent_s))}"
    )
    outcome.facts["closed after, median / longest"] = (
        f"{milliseconds(statistics.median(closed_s))} / {milliseconds(max(closed_s))}"
    )
    return outcome
