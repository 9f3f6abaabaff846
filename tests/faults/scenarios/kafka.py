"""Brokers die and freeze: the only one, one of three, two of three."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from client import Ack, ApiError
from services.contract.codes import ERRORS
from services.contract.envelope import partition_of
from services.eventlog.epoch import current_generation
from tests.faults.lab import REPLICATED, Lab, scenario
from tests.faults.leaders import all_in_sync, leaders
from tests.faults.load import Load
from tests.faults.outcome import Outcome
from tests.faults.told import Spell, spell, told
from tests.stack.lockstep import Stack
from tests.stack.servers import Cluster
from tests.stack.waiting import until


@scenario(
    "kafka-killed",
    "the only broker killed -9 under load, at seeded moments, and started again",
    limit_s=300.0,
)
async def kafka_killed(lab: Lab) -> Outcome:
    stack = await lab.stack()
    outcome = Outcome("")
    spells: list[Spell] = []
    kills = lab.times(6, 1)
    async with lab.load(stack, people=10, channels=3, alone=True) as load:
        await load.acked(150)
        for number in range(kills):
            with load.during("killed"), spell(spells):
                await asyncio.sleep(lab.rng.uniform(0.0, 0.3))
                stack.kafka.process.kill()
                await stack.kafka.process.destroy()
                # Now and then it is away for longer than an append may take.
                await asyncio.sleep(lab.rng.uniform(10.0, 14.0) if number % 3 == 2 else 0.0)
                await stack.kafka.process.start(60.0)
                outcome.recovery_s.append(await load.served_again())
        await load.judged(outcome, messages=150)
        seen = told(load, spells)
        seen.must_be_retryable()
        assert all(process.running for process in stack.processes.values()), "a process gave up"
    outcome.did = f"{kills} kills"
    outcome.facts["clients were told"] = seen.words()
    return outcome


@scenario(
    "kafka-frozen",
    "the only broker stopped for 20 s (SIGSTOP) under load, then let go on",
    limit_s=240.0,
)
async def kafka_frozen(lab: Lab) -> Outcome:
    stack = await lab.stack()
    outcome = Outcome("")
    spells: list[Spell] = []
    freezes = lab.times(2, 1)
    async with lab.load(stack, people=10, channels=3, alone=True) as load:
        for _ in range(freezes):
            await load.acked(100)
            with load.during("frozen"), spell(spells):
                await asyncio.sleep(lab.rng.uniform(0.0, 0.3))
                stack.kafka.process.freeze()
                await asyncio.sleep(20.0)
                stack.kafka.process.thaw()
                outcome.recovery_s.append(await load.served_again())
        await load.judged(outcome, messages=100 * freezes)
        seen = told(load, spells)
        seen.must_be_retryable()
    outcome.did = f"{freezes} freezes of 20 s"
    outcome.facts["clients were told"] = seen.words()
    return outcome


class _Hot:
    """The busiest partition of a crowd in a cluster: that of its first channel."""

    def __init__(self, cluster: Cluster, topic: str, partition: int) -> None:
        self.cluster = cluster
        self.topic = topic
        self.partition = partition

    async def leader(self, living: int) -> int:
        """The broker that leads it, as the broker `living` says."""
        return (await leaders(self.cluster.brokers[living].bootstrap, self.topic))[self.partition]

    async def moved_from(self, dead: int, living: int) -> float:
        """Wait until another broker leads it; how long it took, seconds."""
        begun = time.monotonic()

        async def moved() -> bool:
            return await self.leader(living) not in (dead, -1)

        await until(moved, what="the hot partition has a new leader", every=0.1)
        return time.monotonic() - begun


async def _hot(stack: Stack, cluster: Cluster, load: Load) -> _Hot:
    generation = await current_generation(cluster.kafka.bootstrap)
    partition = partition_of(load.crowd.channels[0], generation.partitions)
    return _Hot(cluster, generation.events_topic, partition)


@scenario(
    "kafka-cluster-killed",
    "of three brokers the leader of a hot partition killed -9, then a second one, then both back",
    limit_s=420.0,
)
async def kafka_cluster_killed(lab: Lab) -> Outcome:
    """With one dead it goes on; with two dead nothing is acknowledged and everything is refused for now."""
    cluster = await lab.cluster()
    stack = await lab.stack(kafka=cluster.kafka, environment=REPLICATED)
    outcome = Outcome("")
    one_dead: list[Spell] = []
    two_dead: list[Spell] = []
    refused_by_rest: Counter[str] = Counter()
    rounds = lab.times(2, 1)
    async with lab.load(stack, people=12, channels=4, pause=(0.03, 0.1)) as load:
        hot = await _hot(stack, cluster, load)
        for _ in range(rounds):
            await load.acked(200)
            first = await hot.leader(1)
            second, survivor = lab.rng.sample([id for id in (1, 2, 3) if id != first], 2)
            with load.during("one dead"), spell(one_dead):
                await cluster.brokers[first].process.crash()
                moved_s = await hot.moved_from(first, survivor)
                outcome.recovery_s.append(await load.served_again())
                await load.acked(300)
            outcome.facts["new leader after"] = f"{moved_s:.1f} s"
            with load.during("two dead"):
                await cluster.brokers[second].process.crash()
                with spell(two_dead):
                    fresh = await _say_more(load)
                    refused_by_rest += await _refused_by_rest(load, 3)
                    await asyncio.sleep(lab.rng.uniform(8.0, 15.0))
                    done = [task for task in fresh if task.done()]
                assert not done, f"{len(done)} messages were acknowledged with two of three brokers dead"
                await asyncio.gather(*(cluster.brokers[id].process.start(90.0) for id in (first, second)))
                outcome.recovery_s.append(await load.served_again())
                load.crowd.acks += await asyncio.gather(*fresh)
            await all_in_sync(cluster.kafka.bootstrap, hot.topic)
        await load.judged(outcome, messages=400)
        late = told(load, two_dead)
        late.must_be_retryable()
        assert late.first_sent, "nobody sent anything while two brokers were dead"
        assert late.fresh == 0, f"{late.fresh} acknowledged that were sent with two of three brokers dead"
        assert late.refused or late.closed, "nobody was refused"
        told(load, one_dead).must_be_retryable()
        outcome.facts["with one dead, clients were told"] = told(load, one_dead).words()
        outcome.facts["with two dead, sent anew / acknowledged"] = f"{late.first_sent} / {late.fresh}"
        outcome.facts["and were told"] = late.words()
        outcome.facts["REST was refused"] = dict(refused_by_rest)
    outcome.did = f"{rounds} rounds"
    return outcome


async def _say_more(load: Load) -> list[asyncio.Task[Ack]]:
    """Everybody says something in every channel; nobody waits for it."""
    return [
        asyncio.create_task(person.client.send(channel, f"{person.name} into the void"))
        for person in load.crowd.people
        for channel in load.crowd.channels
    ]


async def _refused_by_rest(load: Load, tries: int) -> Counter[str]:
    """Post by REST, in vain: with which codes it is refused. Raises AssertionError when it is not."""
    codes: Counter[str] = Counter()
    rest = load.crowd.owner.rest
    for _ in range(tries):
        try:
            posted = await rest.post_message(load.crowd.channels[0], "by REST, into the void")
        except ApiError as error:
            codes[error.code] += 1
        else:
            raise AssertionError(f"acknowledged with two of three brokers dead: {posted}")
    for code in codes:
        assert ERRORS[code].retry, f"REST said {code}"
    return codes


@scenario(
    "kafka-cluster-frozen",
    "of three brokers the leader of a hot partition stopped for 20 s (SIGSTOP), then let go on",
    limit_s=300.0,
)
async def kafka_cluster_frozen(lab: Lab) -> Outcome:
    cluster = await lab.cluster()
    stack = await lab.stack(kafka=cluster.kafka, environment=REPLICATED)
    outcome = Outcome("")
    spells: list[Spell] = []
    freezes = lab.times(2, 1)
    acked_meanwhile = 0
    moves_s: list[float] = []
    async with lab.load(stack, people=12, channels=4, pause=(0.03, 0.1), alone=True) as load:
        hot = await _hot(stack, cluster, load)
        for number in range(freezes):
            await load.acked(200)
            frozen = await hot.leader(number + 1)
            living = next(id for id in (1, 2, 3) if id != frozen)
            process = cluster.brokers[frozen].process
            with load.during("frozen"), spell(spells):
                process.freeze()
                try:
                    begun = time.monotonic()
                    moved_s = await hot.moved_from(frozen, living)
                    before = len(load.waits)
                    again_s = await load.served_again()
                    await asyncio.sleep(max(0.0, 20.0 - (time.monotonic() - begun)))
                    acked_meanwhile += len(load.waits) - before
                finally:
                    process.thaw()
                outcome.recovery_s.append(moved_s + again_s)
                moves_s.append(moved_s)
            await load.served_again()
            await all_in_sync(cluster.kafka.bootstrap, hot.topic)
        await load.judged(outcome, messages=400)
        seen = told(load, spells)
        seen.must_be_retryable()
        assert acked_meanwhile, "nothing was acknowledged while one of three brokers was frozen"
    outcome.did = f"{freezes} freezes of 20 s, or until everybody was served again"
    outcome.facts["new leader after"] = ", ".join(f"{moved:.1f} s" for moved in moves_s)
    outcome.facts["acknowledged while frozen, after the new leader"] = acked_meanwhile
    outcome.facts["clients were told"] = seen.words()
    return outcome
