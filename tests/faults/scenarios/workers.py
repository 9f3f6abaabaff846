"""Persister, relay and checkpointer: killed -9 at every stage there is, frozen while a twin takes over, run twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

import asyncpg

from deploy.local.ports import free_ports
from deploy.local.toolchain import CLONE
from deploy.settings import SERVICES
from services.contract.generation import Generation
from services.eventlog.epoch import current_generation
from services.runtime.process import EXIT_FATAL
from tests.faults.changes import changing
from tests.faults.lab import Lab, scenario
from tests.faults.outcome import Outcome
from tests.faults.witness import (
    STARTING,
    CheckpointerWitness,
    PersisterWitness,
    Reading,
    RelayWitness,
    Witness,
    caught_up,
)
from tests.stack.lockstep import Stack
from tests.stack.process import Process
from tests.stack.waiting import until

BUSY: Final = {"LOCKSTEP_CHECKPOINT_LAG_MS": "1000", "LOCKSTEP_CHECKPOINT_INTERVAL_S": "0.2"}
"""The checkpointer works all the time, a second behind the end."""

_LOOKS: Final = 80
"""How often a worker is looked at in the hope of the stage that is wanted, before it is killed in any."""

_BREATH_S: Final = 0.8
"""Between changes now and then, so that the relay is idle, too."""


@contextlib.asynccontextmanager
async def _connected(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    connection = await stack.database.connect()
    try:
        yield connection
    finally:
        await connection.close()


async def _witnesses(lab: Lab, stack: Stack, generation: Generation) -> list[Witness]:
    async def reading(topic: str, partitions: int, *, committed: bool = False) -> Reading:
        return await lab.own(Reading(stack.kafka.bootstrap, topic, partitions, committed=committed))

    events, heads, directory = generation.events_topic, generation.heads_topic, generation.directory_topic
    count = generation.partitions
    return [
        PersisterWitness(stack, generation, await lab.own(_connected(stack)), await reading(events, count)),
        RelayWitness(
            await lab.own(_connected(stack)),
            await reading(events, count),
            await reading(directory, 1, committed=True),
            await reading(directory, 1),
        ),
        CheckpointerWitness(stack, await reading(heads, count, committed=True), await reading(heads, count)),
    ]


class _Killer:
    """Kills one kind of worker again and again. Others do the same with theirs; `looking`: held while this one is
    frozen and looked at."""

    def __init__(self, lab: Lab, stack: Stack, witness: Witness, looking: asyncio.Lock) -> None:
        self.hits: Counter[str] = Counter()
        self.recovery_s: list[float] = []
        self.kills = 0
        self._rng = random.Random(lab.rng.random())
        self._witness = witness
        self._looking = looking
        self._process = stack.processes[witness.name]
        self._beside = [stack.processes[name] for name in witness.with_it]

    async def run(self, kills: int) -> None:
        """Every third kill at any moment, every fourth during the start, the others in the stage hit least so far."""
        while self.kills < kills:
            if self.kills % 4 == 3:
                await self._kill_while_starting()
            else:
                await self._kill(self.kills % 3 == 0)

    async def _kill(self, at_random: bool) -> None:
        for look in range(_LOOKS):
            await asyncio.sleep(self._rng.uniform(0.0, 0.02))
            stages = await self._strike(at_random or look == _LOOKS - 1)
            if stages is not None:
                self._struck(stages)
                await self._start()
                return

    async def _strike(self, anything: bool) -> set[str] | None:
        """Freeze and look; killed if this is a stage that is wanted (None: it goes on)."""
        async with self._looking:
            frozen = [process for process in (self._process, *self._beside) if process.running]
            for process in frozen:
                process.freeze()
            try:
                stages = await self._witness.look()
                fewest = min(self.hits[stage] for stage in self._witness.stages)
                if anything or any(self.hits[stage] <= fewest for stage in stages):
                    await self._process.crash()
                    return stages
                return None
            finally:
                for process in frozen:
                    process.thaw()

    async def _kill_while_starting(self) -> None:
        await self._process.crash()
        self._process.spawn()
        await asyncio.sleep(self._rng.uniform(0.1, 1.5))
        early = not await self._process.answers_ready()
        await self._process.crash()
        self._struck({STARTING} if early else set())
        await self._start()

    def _struck(self, stages: set[str]) -> None:
        self.kills += 1
        self.hits.update(stages)

    async def _start(self) -> None:
        begun = time.monotonic()
        self._witness.started()
        await self._process.start(60.0)
        self.recovery_s.append(time.monotonic() - begun)


@scenario(
    "workers-killed",
    "persister, relay and checkpointer each killed -9 at 50 moments: in every stage, at random, while starting",
    limit_s=900.0,
)
async def workers_killed(lab: Lab) -> Outcome:
    stack = await lab.stack(environment=BUSY)
    generation = await current_generation(stack.kafka.bootstrap)
    witnesses = await _witnesses(lab, stack, generation)
    kills = lab.times(50, 4)
    outcome = Outcome(f"{kills} kills of each")
    # The persister stands still, too, while one looks at the relay; nobody else's affair is the checkpointer.
    databases, log = asyncio.Lock(), asyncio.Lock()
    killers = [
        _Killer(lab, stack, witness, looking)
        for witness, looking in zip(witnesses, (databases, databases, log), strict=True)
    ]
    async with lab.load(stack, people=6, channels=3, pause=(0.02, 0.1)) as load:
        async with changing(load.crowd, _BREATH_S) as changes:
            await load.acked(50)
            async with asyncio.TaskGroup() as group:
                for killer in killers:
                    group.create_task(killer.run(kills))
        await changes.must_hold()
        # Nodes that start now begin with what the checkpointer has written in all its lives.
        for name in ("node-1", "node-2"):
            await stack.processes[name].crash()
            await stack.start(name)
        await load.served_again()
        await load.judged(outcome, messages=4 * kills)
    missed = []
    for killer, witness in zip(killers, witnesses, strict=True):
        outcome.recovery_s += killer.recovery_s
        outcome.facts[witness.name] = dict(killer.hits)
        missed += [
            f"{witness.name}: {stage}" for stage in (*witness.stages, STARTING) if not killer.hits[stage]
        ]
    outcome.facts["changes"] = changes.made
    assert lab.brief or not missed, f"no kill hit: {missed}; {outcome.facts}"
    return outcome


# --- twins ----------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _twin(stack: Stack, name: str) -> AsyncIterator[Process]:
    """Another process of the same service, as one might start by mistake, on a port of its own; not started."""
    service = next(service for service in SERVICES if service.name == name)
    model = stack.process(service)
    port = free_ports(1)[0]
    twin = Process(
        f"{name}-twin",
        model.command,
        stack.folder / f"{name}-twin.log",
        environment={**model.environment, service.listeners[0].port_variable: str(port)},
        ready=f"http://127.0.0.1:{port}/health/ready",
        cwd=CLONE,
    )
    try:
        yield twin
    finally:
        await twin.destroy()


@scenario(
    "workers-twice",
    "persister, relay and checkpointer: frozen while a twin takes over, then let go on; two of each at once",
    limit_s=420.0,
)
async def workers_twice(lab: Lab) -> Outcome:
    """Of two checkpointers the older one stops for good (70): in an epoch there is one. The others bear company."""
    stack = await lab.stack(environment=BUSY)
    generation = await current_generation(stack.kafka.bootstrap)
    connection = await lab.own(_connected(stack))
    count = generation.partitions
    events = await lab.own(Reading(stack.kafka.bootstrap, generation.events_topic, count))
    heads = await lab.own(Reading(stack.kafka.bootstrap, generation.heads_topic, count, committed=True))
    firsts = [stack.processes[name] for name in ("persister", "relay", "checkpointer")]
    twins = [await lab.own(_twin(stack, process.name)) for process in firsts]
    rounds = lab.times(2, 1)
    outcome = Outcome(
        f"{rounds} times: all three frozen, twins at work, thawed; twins alone; all six; twins killed"
    )
    async with lab.load(stack, people=6, channels=3, pause=(0.02, 0.1)) as load:
        async with changing(load.crowd) as changes:

            async def all_work(messages: int, more_changes: int) -> None:
                """What is said and changed from now on goes all the way."""
                goal = changes.made + more_changes
                await load.acked(messages)
                await until(lambda: changes.made >= goal, 90.0, what="changes go on")
                await _relayed(connection)
                await caught_up(connection, generation.epoch, events)
                await heads.new()
                await until(heads.new, what="checkpoints are written")

            for _ in range(rounds):
                await all_work(50, 6)
                for process in firsts:
                    process.freeze()
                for twin in twins:
                    twin.spawn()
                begun = time.monotonic()
                await asyncio.gather(*(twin.wait_ready(90.0) for twin in twins))
                await all_work(100, 12)
                outcome.recovery_s.append(time.monotonic() - begun)
                for process in firsts:
                    process.thaw()
                await _gives_way(firsts[-1])
                await all_work(100, 6)
                for process in firsts:
                    await process.crash()
                await all_work(50, 6)
                await asyncio.gather(*(process.start(60.0) for process in firsts))
                await _gives_way(twins[-1])
                await all_work(100, 6)
                for twin in twins:
                    await twin.crash()
        await changes.must_hold()
        for name in ("node-1", "node-2"):  # with what the checkpointers have written
            await stack.processes[name].crash()
            await stack.start(name)
        await load.served_again()
        await load.judged(outcome, messages=400 * rounds)
    outcome.facts = {"checkpointers that gave way": 2 * rounds, "changes": changes.made}
    return outcome


async def _relayed(connection: asyncpg.Connection) -> None:
    """Wait until the relay (and for events the persister) is done with every row that is in the outbox now."""
    newest = await connection.fetchval("select coalesce(max(position), 0) from outbox")

    async def gone() -> bool:
        return not await connection.fetchval(
            "select exists (select from outbox where position <= $1)", newest
        )

    await until(gone, 90.0, what="the relay has done what waits")


async def _gives_way(checkpointer: Process) -> None:
    """A younger one works: this one stops, and says why."""
    assert await checkpointer.wait(60.0) == EXIT_FATAL, checkpointer.tail()
    assert "two checkpointers run" in checkpointer.tail()
