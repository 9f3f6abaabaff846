"""Two releases at once: events and bodies that the older one does not know, an envelope that it cannot count."""

from __future__ import annotations

import asyncio
import random
import sys
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from client import ChannelEvent, MessageEvent
from services.contract.envelope import encode_envelope, partition_of
from services.contract.events import UNREADABLE
from services.contract.generation import Generation
from services.contract.ids import new_event_id
from services.eventlog.epoch import current_generation
from tests.faults import newer_release
from tests.faults.lab import Lab, scenario
from tests.faults.load import Load
from tests.faults.operator import all_refuse
from tests.faults.outcome import Outcome
from tests.stack.lockstep import Stack
from tests.stack.rawlog import Number, stored, wall_ms, whole_log
from tests.stack.waiting import until
from verify.judge import Terms
from verify.run import Sources, judge

_READERS: Final = ("node-1", "node-2", "persister", "checkpointer")


@dataclass(frozen=True)
class _Strange:
    """A body that this release did not write. `shown`: what people are to be shown for it. `unprojected`: stored with
    a marker, because it cannot be read for what it says it is."""

    body: bytes | None
    shown: bytes
    unprojected: bool


def _strange() -> list[_Strange]:
    sticker = b'{"type":"sticker.added","seq":1,"emoji":"\xf0\x9f\x91\x8d","by":{"device":"watch"}}'
    poll = b'{"type":"poll.opened","choices":["a","b"],"closes_at":1893456000000}'
    richer = b'{"type":"message.posted","text":"with a field from tomorrow","blocks":[{"bold":true}]}'
    other_shape = b'{"type":"message.posted","blocks":[{"text":"no text of its own"}]}'
    return [
        _Strange(sticker, sticker, unprojected=False),
        _Strange(poll, poll, unprojected=False),
        _Strange(richer, richer, unprojected=False),
        _Strange(other_shape, other_shape, unprojected=True),
        _Strange(b"\x81\xa4type\xa1x", UNREADABLE, unprojected=True),
        _Strange(b"", UNREADABLE, unprojected=True),
        _Strange(None, UNREADABLE, unprojected=True),
    ]


class _Tomorrow:
    """A node of the next release, as far as the log sees it: it appends what today's cannot have written."""

    def __init__(self, generation: Generation, producer: AIOKafkaProducer) -> None:
        self._generation = generation
        self._producer = producer

    async def append(self, channel: str, header: tuple[str, bytes], body: bytes | None) -> None:
        await self._producer.send_and_wait(
            self._generation.events_topic,
            body,
            key=channel.encode(),
            partition=partition_of(channel, self._generation.partitions),
            headers=[header],
        )


async def _tomorrow(lab: Lab, stack: Stack, generation: Generation) -> _Tomorrow:
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap, acks="all", enable_idempotence=True)
    return _Tomorrow(generation, await lab.own(producer))


@scenario(
    "upgrade-unknown-kinds",
    "nodes restarted one by one while a newer one writes kinds and bodies of events that they do not know",
    limit_s=240.0,
)
async def unknown_kinds(lab: Lab) -> Outcome:
    """They are numbered among the others, shown to everybody as they are, and stored, marked where need be."""
    stack = await lab.stack()
    generation = await current_generation(stack.kafka.bootstrap)
    newer = await _tomorrow(lab, stack, generation)
    outcome = Outcome("")
    written: dict[str, tuple[str, _Strange]] = {}
    async with lab.load(stack, people=8, channels=3, pause=(0.02, 0.1)) as load:
        shown = _listen(load, written)
        owner = load.crowd.owner.user_id
        stop = asyncio.Event()

        async def write() -> None:
            rng = random.Random(lab.rng.random())
            while not stop.is_set():
                for strange in _strange():
                    channel, id = rng.choice(load.crowd.channels), new_event_id()
                    written[id] = (channel, strange)
                    await newer.append(channel, encode_envelope(channel, owner, id, wall_ms()), strange.body)
                    await asyncio.sleep(0.02)

        async with asyncio.TaskGroup() as group:
            writing = group.create_task(write())
            await load.acked(50)
            for name in ("node-1", "persister", "node-2", "checkpointer")[: lab.times(4, 2)]:
                with load.during("restarting"):
                    await stack.processes[name].stop(30.0)
                    await stack.start(name)
                    outcome.recovery_s.append(await load.served_again())
            await load.acked(50)
            stop.set()
            await writing
        await load.judged(outcome, messages=100)
        people = {person.user_id for person in load.crowd.people}
        await until(
            lambda: all(shown.get(id, {}).keys() >= people for id in written),
            what="everybody was shown everything",
        )
        await _stored_as_written(stack, load, written, shown)
    outcome.did = f"{len(written)} events of a newer release among {outcome.acknowledged:,} messages"
    outcome.facts = {"of these stored with a marker": sum(s.unprojected for _, s in written.values())}
    return outcome


def _listen(load: Load, written: dict[str, Any]) -> dict[str, dict[str, ChannelEvent | MessageEvent]]:
    """By id and user: what they are shown of the strange ones, from now on."""
    shown: dict[str, dict[str, ChannelEvent | MessageEvent]] = {}
    for person in load.crowd.people:

        def note(event: object, *, user: str = person.user_id, before=person._note) -> None:  # type: ignore[no-untyped-def]
            before(event)
            if isinstance(event, (ChannelEvent, MessageEvent)) and event.id in written:
                shown.setdefault(event.id, {})[user] = event

        person._note = note  # type: ignore[method-assign]
    return shown


async def _stored_as_written(
    stack: Stack,
    load: Load,
    written: dict[str, tuple[str, _Strange]],
    shown: dict[str, dict[str, ChannelEvent | MessageEvent]],
) -> None:
    connection = await stack.database.connect()
    try:
        rows = {
            row["id"]: row
            for row in await connection.fetch(
                "select event_id::text as id, seq, body, unprojected from events where event_id = any($1::uuid[])",
                list(written),
            )
        }
    finally:
        await connection.close()
    for id, (_, strange) in written.items():
        assert rows[id]["body"] == strange.body
        assert rows[id]["unprojected"] == strange.unprojected, strange
        for event in shown[id].values():
            assert (event.seq, bytes(event.raw)) == (rows[id]["seq"], strange.shown), strange
    seen = {}
    for channel in load.crowd.channels:
        after = 0
        while True:
            page = await load.crowd.owner.rest.events(channel, after=after, limit=200)
            seen.update({event.id: bytes(event.event) for event in page.events})
            if not page.has_more_after:
                break
            after = page.events[-1].seq
    for id, (_, strange) in written.items():
        assert seen[id] == strange.shown, f"history gives {seen[id]!r} for {strange.body!r}"


@scenario(
    "upgrade-envelope",
    "an envelope of a version that nobody knows: every reader stops for good, and the newer release goes on",
    limit_s=300.0,
)
async def unknown_envelope(lab: Lab) -> Outcome:
    """What was numbered stays as it was; what stands behind is numbered once everybody can read it."""
    stack = await lab.stack(
        environment={"LOCKSTEP_CHECKPOINT_LAG_MS": "500", "LOCKSTEP_CHECKPOINT_INTERVAL_S": "0.5"}
    )
    generation = await current_generation(stack.kafka.bootstrap)
    newer = await _tomorrow(lab, stack, generation)
    outcome = Outcome(
        "one record with an envelope of version 2; then every process replaced by one that reads it"
    )
    async with lab.load(stack, people=8, channels=3, pause=(0.02, 0.1)) as load:
        await load.acked(200)
        owner = load.crowd.owner.user_id
        channel = load.crowd.channels[0]
        id = new_event_id()
        header = newer_release.encode(channel, owner, id, wall_ms())
        await newer.append(channel, header, b'{"type":"message.posted","text":"from tomorrow"}')
        with load.during("stopped"):
            reasons = await all_refuse(stack, *_READERS)
            assert all("release" in reason for reason in reasons.values()), reasons
            lab.say("; ".join(f"{name}: {reason[:90]}" for name, reason in reasons.items()))
            before = await _numbers(stack, generation)
            assert id not in {number.id for number in before}
            # A supervisor that starts them all the same gets the same answer.
            for name in _READERS:
                stack.processes[name].spawn()
            await all_refuse(stack, *_READERS)
            assert await _numbers(stack, generation) == before
            for process in stack.processes.values():
                await process.destroy()
                module = process.command[-1]
                process.command[:] = [sys.executable, "-m", "tests.faults.newer_release", module]
            await stack.start()
            outcome.recovery_s.append(await load.served_again())
        await load.hush()
        await load.crowd.all_have_seen_all()
        after = await _until_stored(stack, generation, load)
        assert set(before) <= set(after), "something was numbered differently afterwards"
        assert [number.seq for number in after if number.id == id], "the record itself has no number"
        outcome.judged(await _judged_without_log(load))
        log = await whole_log(stack.kafka.bootstrap, generation)
        ids = [newer_release.decode(entry.headers).id for entry in log]
        assert {number.id for number in after} <= set(ids)
    outcome.facts = {"numbered before": len(before), "numbered in the end": len(after)}
    return outcome


async def _numbers(stack: Stack, generation: Generation) -> list[Number]:
    connection = await stack.database.connect()
    try:
        return await stored(connection, generation.epoch)
    finally:
        await connection.close()


async def _until_stored(stack: Stack, generation: Generation, load: Load) -> list[Number]:
    heads = load.crowd.heads()

    async def there() -> list[Number] | None:
        numbers = await _numbers(stack, generation)
        seqs = {(number.channel, number.seq) for number in numbers}
        return numbers if all(item in seqs for item in heads.items()) else None

    found = await until(there, what="PostgreSQL has what was acknowledged")
    assert found is not None
    return found


async def _judged_without_log(load: Load) -> Any:
    """The judge, which is of today's release, cannot count this log; it has all the other witnesses."""
    crowd = load.crowd
    for person in crowd.people:
        person.recorder.flush()
    token = crowd.owner.rest.tokens.load()
    assert token is not None
    sources = Sources(
        recordings=[crowd.folder],
        rest=crowd.stack.web_url,
        tokens=[token.access_token],
        database=crowd.stack.database.dsn,
        wait_s=60.0,
    )
    verdict = await judge(sources, Terms(caught_up=True))
    assert verdict.holds, list(verdict.findings.first.values())
    return verdict
