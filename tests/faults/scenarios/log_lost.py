"""The log is lost: wiped, or cut short and refilled. Everybody notices, nobody goes on, and the next epoch begins."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

import msgspec
from aiokafka import AIOKafkaProducer

from client import Ack
from services.contract.envelope import decode_envelope, encode_envelope, partition_of
from services.contract.events import MessagePosted, encode_event
from services.contract.generation import Generation
from services.contract.ids import new_event_id
from services.eventlog.epoch import current_generation
from services.eventlog.topics import admin_client
from tests.faults.disks import cut, wipe
from tests.faults.lab import Lab, scenario
from tests.faults.operator import all_refuse, bootstrap_refuses, next_epoch, salvaged
from tests.faults.outcome import Outcome
from tests.stack.crowd import Crowd, crowd
from tests.stack.lockstep import Stack
from tests.stack.rawlog import Entry, ends, positions, wall_ms, whole_log
from tests.stack.waiting import until
from verify.judge import Verdict

_QUICK: Final = {"LOCKSTEP_CHECKPOINT_LAG_MS": "500", "LOCKSTEP_CHECKPOINT_INTERVAL_S": "0.5"}
"""The checkpointer is as far as the others within a second."""

_READERS: Final = ("node-1", "node-2", "persister", "checkpointer")

_TOLD: Final = " found at "
"""In the reason of who stops because somebody else has noticed."""

_LOST_WITH_THE_LOG: Final = frozenset({
    "acked_nowhere", "acked_not_in_database", "acked_not_in_history", "not_in_database", "not_in_history",
    "acked_not_shown", "not_shown",
})  # fmt: skip
"""What the judge may find when acknowledged messages went down with the log: they are lacking, nothing else."""


async def _all_stored(stack: Stack, generation: Generation) -> None:
    """Wait until PostgreSQL and the checkpoints have everything that the log has."""
    log = ends(await whole_log(stack.kafka.bootstrap, generation), generation)
    connection = await stack.database.connect()
    try:

        async def there() -> bool:
            return await positions(connection, generation.epoch) == log

        await until(there, what="PostgreSQL has the whole log")
    finally:
        await connection.close()
    checkpointer = stack.processes["checkpointer"]

    def folded() -> bool:
        marks: dict[int, int] = {}
        for line in checkpointer.log.read_bytes().splitlines():
            with contextlib.suppress(msgspec.DecodeError):
                entry = msgspec.json.decode(line)
                if entry.get("event") == "checkpoint":
                    marks |= {int(p): mark for p, mark in entry["watermarks"].items()}
        return all(marks.get(partition, 0) >= end for partition, end in log.items())

    await until(folded, what="the checkpointer has folded the whole log", every=0.5)


async def _talk_on(talkers: Crowd, count: int) -> None:
    """Everybody posts, one message after another, until so many are acknowledged, whatever happens meanwhile."""
    await talkers.talk_all(count)


async def _all_in_epoch(talkers: Crowd, epoch: int) -> None:
    await until(
        lambda: all(
            person.client.epoch == epoch and person.client.state.name == "connected"
            for person in talkers.people
        ),
        90.0,
        what=f"everybody is in epoch {epoch}",
    )


def _resets(talkers: Crowd) -> Counter[str]:
    """By person: how often their client was told to forget its positions."""
    told: Counter[str] = Counter()
    for person in talkers.people:
        person.recorder.flush()
        for line in (talkers.folder / f"{person.name}.jsonl").read_bytes().splitlines():
            told[person.name] += msgspec.json.decode(line)["kind"] == "reset"
    return told


async def _stored_ids(stack: Stack) -> set[str]:
    connection = await stack.database.connect()
    try:
        return {row["id"] for row in await connection.fetch("select event_id::text as id from events")}
    finally:
        await connection.close()


async def _delete_epochs(stack: Stack, epochs: Iterable[int]) -> None:
    """As an operator does when nobody needs an old epoch any more."""
    async with admin_client(stack.kafka.bootstrap) as admin:
        await admin.delete_topics([f"events.{epoch}" for epoch in epochs])


@scenario(
    "log-wiped",
    "Kafka's data is wiped: everybody refuses, the next epoch begins (its command killed half-way), nothing is lost",
    limit_s=420.0,
)
async def log_wiped(lab: Lab) -> Outcome:
    """Everything was stored when it happened; what people say meanwhile goes into the next epoch."""
    folder = lab.place("kafka")
    kafka = await lab.broker(folder)
    stack = await lab.stack(kafka=kafka, environment=_QUICK)
    outcome = Outcome("")
    killed = lab.times(6, 1)
    async with crowd(stack, lab.place("crowd"), people=6, channels=3) as talkers:
        await talkers.talk_all(20)
        await _all_stored(stack, await current_generation(kafka.bootstrap))
        begun = time.monotonic()
        await kafka.process.crash()
        talking = asyncio.create_task(_talk_on(talkers, 20))
        try:
            await asyncio.to_thread(wipe, folder)
            await kafka.process.start(60.0)
            reasons = await all_refuse(stack, *_READERS, "relay")
            lab.say("; ".join(f"{name}: {reason[:80]}" for name, reason in reasons.items()))
            # A supervisor that starts them all the same gets the same answer.
            for name in ("node-1", "persister"):
                stack.processes[name].spawn()
            await all_refuse(stack, "node-1", "persister")
            assert "next-epoch" in await bootstrap_refuses(stack)
            file, kills = await next_epoch(stack, lab.rng, killed=killed)
            assert salvaged(file) == []
            await stack.bootstrap()
            await stack.start()
            await _all_in_epoch(talkers, 2)
            outcome.recovery_s.append(time.monotonic() - begun)
            await talking
        finally:
            talking.cancel()
            await asyncio.wait({talking})
        resets = _resets(talkers)
        assert all(resets[person.name] for person in talkers.people), resets
        outcome.judged(await talkers.must_hold(messages=200))
    outcome.did = f"Kafka wiped; the operator's command killed {kills} times before it was let to its end"
    outcome.facts = {"refused": ", ".join(sorted(reasons)), "resets": resets.total()}
    return outcome


@scenario(
    "log-rewritten",
    "ten records cut off the log's end and others put there, with all stored, then with the persister away",
    limit_s=600.0,
)
async def log_rewritten(lab: Lab) -> Outcome:
    folder = lab.place("kafka")
    kafka = await lab.broker(folder)
    stack = await lab.stack(kafka=kafka, environment=_QUICK)
    outcome = Outcome("twice: records cut off and replaced by others, all processes refuse, next epoch")
    cell = _Cell(lab, stack, folder)
    async with crowd(stack, lab.place("crowd"), people=6, channels=3) as talkers:
        # Everything was stored: the readers notice, nothing is lost.
        await talkers.talk_all(20)
        generation = await current_generation(kafka.bootstrap)
        await _all_stored(stack, generation)
        gone, forged = await cell.rewrite(generation, talkers)
        reasons = await all_refuse(stack, *_READERS, "relay")
        lab.say("; ".join(f"{name}: {reason[:80]}" for name, reason in reasons.items()))
        # These noticed it themselves. The others come to look when they may have been told already.
        assert not any(_TOLD in reasons[name] for name in ("node-1", "node-2", "persister")), reasons
        assert "next-epoch" in await bootstrap_refuses(stack), "or the nodes would number anew what is stored"
        first = await cell.next_epoch(talkers, 2, killed=lab.times(3, 0), outcome=outcome)
        assert not {line["id"] for line in first} & gone
        assert gone <= await _stored_ids(stack), "what was cut off was stored before"
        await talkers.talk_all(10)

        # The persister was away: what it did not store is in the file, but for the records that are gone.
        generation = await current_generation(kafka.bootstrap)
        await talkers.all_have_seen_all()
        await _all_stored(stack, generation)
        await stack.processes["persister"].crash()
        before = len(talkers.acks)
        await talkers.talk_all(20)
        await talkers.all_have_seen_all()
        unstored = talkers.acks[before:]
        gone, more = await cell.rewrite(generation, talkers)
        forged |= more
        await all_refuse(stack, "node-1", "node-2")
        # Nor does anybody who has not read what was cut off: not the persister, and no node that begins anew.
        for name in ("node-1", "node-2", "persister", "relay", "checkpointer"):
            await stack.processes[name].destroy()
            stack.processes[name].spawn()
        reasons = await all_refuse(stack, "node-1", "node-2", "persister", "relay", "checkpointer")
        assert all(_TOLD in reason for reason in reasons.values()), reasons
        saved = {
            line["id"] for line in await cell.next_epoch(talkers, 3, killed=lab.times(3, 0), outcome=outcome)
        }
        lost = {ack.id for ack in unstored}
        assert lost & gone, "nothing acknowledged was cut off"
        assert lost - gone <= saved, "the old log held acknowledged messages, and they are not in the file"
        assert not lost & await _stored_ids(stack)
        await talkers.talk_all(25)
        kept = [ack for ack in talkers.acks if ack.id not in lost]
        await _seen(talkers, kept)
        assert not forged & await _stored_ids(stack), "a record that nobody sent is stored"
        await _delete_epochs(stack, [1, 2])  # the judge would find in them what was done to them
        outcome.judged(_held(await talkers.verdict(), lost))
        resets = _resets(talkers)
    # Not lost is what the file has, though it is not stored: an operator can give it back.
    outcome.lost = len(lost & gone)
    outcome.facts = {
        "acknowledged and not stored": len(lost), "of these cut off": len(lost & gone),
        "of these in the file": len(lost & saved), "put there": len(forged), "resets": resets.total(),
    }  # fmt: skip
    return outcome


def _held(verdict: Verdict, lost: Collection[str]) -> Verdict:
    """The judge may miss what went down with the log, and must find nothing else; above all nothing twice."""
    others = set(verdict.findings.counts) - _LOST_WITH_THE_LOG
    assert not others, [verdict.findings.first[rule] for rule in others]
    assert verdict.figures.lost <= len(lost), (verdict.figures.lost, len(lost))
    return verdict


async def _seen(talkers: Crowd, acks: Collection[Ack]) -> None:
    """Wait until everybody was shown up to the last of these in each channel."""
    epoch = max(ack.epoch for ack in acks)
    heads: dict[str, int] = {}
    for ack in acks:
        if ack.epoch == epoch:
            heads[ack.channel] = max(heads.get(ack.channel, 0), ack.seq)
    await until(
        lambda: all(
            person.has_seen(channel, seq) for person in talkers.people for channel, seq in heads.items()
        ),
        what="everybody has seen everything",
    )


class _Cell:
    """The stack whose log is rewritten."""

    def __init__(self, lab: Lab, stack: Stack, folder: Path) -> None:
        self._lab = lab
        self._stack = stack
        self._folder = folder

    async def rewrite(self, generation: Generation, talkers: Crowd) -> tuple[set[str], set[str]]:
        """Cut ten records off the end of the partition of the first channel, and put others in their place.

        Processes stand still meanwhile, so that they find it done. Gives the ids that are gone, and the new ones.
        """
        stack, kafka = self._stack, self._stack.kafka
        channel = talkers.channels[0]
        partition = partition_of(channel, generation.partitions)
        running = [process for process in stack.processes.values() if process.running]
        log = [e for e in await whole_log(kafka.bootstrap, generation) if e.partition == partition]
        for process in running:
            process.freeze()
        try:
            await kafka.process.stop(60.0)
            end = await asyncio.to_thread(cut, self._folder, generation.events_topic, partition, 10)
            gone = {decode_envelope(entry.headers).id for entry in log if entry.offset >= end}
            await kafka.process.start(60.0)
            forged = await self._refill(generation, channel, talkers, len(gone) + 1)
            now = [e for e in await whole_log(kafka.bootstrap, generation) if e.partition == partition]
            assert _ids(now) == [id for id in _ids(log) if id not in gone] + forged
        finally:
            for process in running:
                process.thaw()
        return gone, set(forged)

    async def _refill(self, generation: Generation, channel: str, talkers: Crowd, count: int) -> list[str]:
        producer = AIOKafkaProducer(bootstrap_servers=self._stack.kafka.bootstrap, acks="all")
        await producer.start()
        ids = [new_event_id() for _ in range(count)]
        try:
            for id in ids:
                await producer.send_and_wait(
                    generation.events_topic,
                    encode_event(MessagePosted(text="nobody said this")),
                    key=channel.encode(),
                    partition=partition_of(channel, generation.partitions),
                    headers=[encode_envelope(channel, talkers.owner.user_id, id, wall_ms())],
                )
        finally:
            await producer.stop()
        return ids

    async def next_epoch(
        self, talkers: Crowd, epoch: int, *, killed: int, outcome: Outcome
    ) -> list[dict[str, object]]:
        """The operator's work; gives what was salvaged."""
        begun = time.monotonic()
        before = _resets(talkers)
        file, _ = await next_epoch(self._stack, self._lab.rng, killed=killed)
        await self._stack.bootstrap()
        await self._stack.start()
        await _all_in_epoch(talkers, epoch)
        outcome.recovery_s.append(time.monotonic() - begun)
        resets = _resets(talkers) - before
        assert all(resets[person.name] for person in talkers.people) or epoch == 2, resets
        return salvaged(file)


def _ids(log: Iterable[Entry]) -> list[str]:
    return [decode_envelope(entry.headers).id for entry in log]
