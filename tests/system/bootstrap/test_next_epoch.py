"""`python -m services.bootstrap next-epoch`: what was stored goes on, what was not is saved, nothing counts twice."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec

from services.contract.directory import DirectoryRecord
from services.contract.generation import Condemned, Generation
from services.contract.ids import new_entity_id
from services.eventlog.directory import DirectoryTail
from services.eventlog.epoch import condemn, current_generation, generations
from services.eventlog.replay import Replay
from services.eventlog.sequencer import Kind, Verdict
from tests.stack.servers import Database, Kafka
from tests.system.bootstrap.conftest import Bootstrap
from tests.system.conftest import Factory
from tests.system.eventlog.writing import Message, channel_in, messages, whole_log, write

FATAL = 70


async def populate(database: Database, channels: list[str]) -> None:
    """A workspace with one person in some channels."""
    connection = await database.connect()
    workspace, user = new_entity_id("ws"), new_entity_id("usr")
    try:
        await connection.execute(
            "insert into workspaces (id, slug, name, version) values ($1, 'slug', 'name', 1)", workspace
        )
        await connection.execute(
            "insert into users (id, workspace_id, email, name, password_hash, role, version)"
            " values ($1, $2, 'a@b', 'Ada', 'x', 'owner', 1)",
            user,
            workspace,
        )
        for version, channel in enumerate(channels, 2):
            await connection.execute(
                "insert into channels (id, workspace_id, kind, name, created_by, version)"
                " values ($1, $2, 'public', $1, $3, $4)",
                channel,
                workspace,
                user,
                version,
            )
            await connection.execute(
                "insert into memberships (channel_id, user_id, member, version) values ($1, $2, true, $3)",
                channel,
                user,
                version,
            )
    finally:
        await connection.close()


async def store(
    kafka: str, database: Database, generation: Generation, channels: list[str], up_to: int
) -> None:
    """As the persister: everything below an offset, of partitions that hold one channel each."""
    log = await whole_log(kafka, generation)
    connection = await database.connect()
    try:
        for partition, channel in enumerate(channels):
            last = log[partition][up_to - 1]
            assert last.envelope is not None
            await connection.execute(
                "update log_partitions set next_offset = $1, now_ms = $2, last_offset = $3, last_append_ms = $2,"
                " last_id = $4 where epoch = 1 and partition = $5",
                up_to,
                last.appended,
                last.offset,
                last.envelope.id,
                partition,
            )
            await connection.execute(
                "insert into channel_heads (channel_id, partition, head) values ($1, $2, $3)",
                channel,
                partition,
                up_to,
            )
    finally:
        await connection.close()


async def node(kafka: str, generation: Generation) -> tuple[dict[str, Verdict], dict[str, int]]:
    """A starting node's verdicts by id, and its heads."""
    verdicts: dict[str, Verdict] = {}
    heads: dict[str, int] = {}
    since = time.monotonic()
    async with asyncio.timeout(60), Replay(kafka, generation) as replay:
        while replay.tail.proven_current() < since:
            for partition, records in (await replay.tail.batch(100)).items():
                for r in records:
                    assert r.envelope is not None
                    verdicts[r.envelope.id] = replay.sequencers[partition].apply(
                        r.offset, r.appended, r.envelope, r.digest
                    )
        for sequencer in replay.sequencers.values():
            heads |= sequencer.heads
    return verdicts, heads


async def directory(kafka: str, generation: Generation) -> list[DirectoryRecord]:
    records: list[DirectoryRecord] = []
    async with asyncio.timeout(60), DirectoryTail(kafka, generation) as tail:
        while not tail.proven_current():
            records += await tail.batch(100)
    return records


def saved(file: Path) -> dict[str, list[str]]:
    """Channel -> ids, in the order of the file."""
    found: dict[str, list[str]] = {}
    for line in file.read_bytes().splitlines():
        record = msgspec.json.decode(line)
        assert record["epoch"] == 1
        assert record["text"].startswith('{"type":"message.posted"')
        found.setdefault(record["channel"], []).append(record["id"])
    return found


def of(batch: list[Message], channel: str) -> list[str]:
    return [message.id for message in batch if message.channel == channel]


async def test_the_next_epoch_goes_on_from_what_was_stored(
    new_kafka: Factory[Kafka], database: Database, bootstrap: Bootstrap, folder: Path
) -> None:
    kafka = (await new_kafka()).bootstrap
    file = folder / "salvaged.jsonl"
    code, said = await bootstrap(kafka, database, "next-epoch", "--salvage", str(file))
    assert code == FATAL
    assert "there is none to follow" in said
    assert (await bootstrap(kafka, database, partitions="2"))[0] == 0
    one = await current_generation(kafka)
    channels = [channel_in(p, 2) for p in (0, 1)]
    await populate(database, channels)
    old = messages(40, channels)
    await write(kafka, one, old)
    await store(kafka, database, one, channels, up_to=15)

    code, said = await bootstrap(kafka, database, "next-epoch", "--salvage", str(file), partitions="3")
    assert code == 0, said
    two = await current_generation(kafka)
    assert (two.epoch, two.partitions, two.retry_ms) == (2, 3, one.retry_ms)
    # Whoever was cut off at the very end repeats it: nothing happens.
    again = folder / "again.jsonl"
    code, said = await bootstrap(kafka, database, "next-epoch", "--salvage", str(again), partitions="3")
    assert code == 0, said
    assert "begun already" in said
    assert await current_generation(kafka) == two
    assert not again.exists()
    assert saved(file) == {channel: of(old, channel)[15:] for channel in channels}
    records = await directory(kafka, two)
    assert sorted(r.key.partition(":")[0] for r in records) == ["channel"] * 2 + ["member"] * 2 + [
        "user",
        "workspace",
    ]

    # Numbers go on; what may have got into the old epoch can never get into the new one.
    new = messages(4, channels)
    await write(kafka, two, [*old[:4], *new])
    verdicts, heads = await node(kafka, two)
    assert heads == dict.fromkeys(channels, 17)
    assert all(verdicts[message.id].kind is Kind.EXPIRED for message in old[:4])
    assert all(verdicts[message.id].kind is Kind.NUMBERED for message in new)
    assert [verdicts[message.id].seq for message in new] == [16, 16, 17, 17]

    connection = await database.connect()
    try:
        rows = await connection.fetch(
            "select partition, next_offset, now_ms from log_partitions where epoch = 2 order by partition"
        )
        assert [tuple(row) for row in rows] == [(p, 0, two.created_ms + two.retry_ms) for p in range(3)]
        moved = dict(await connection.fetch("select channel_id, partition from channel_heads"))
    finally:
        await connection.close()
    log = await whole_log(kafka, two)
    for channel, partition in moved.items():
        assert [r.envelope.channel for r in log[partition] if r.envelope].count(channel) == 4

    code, said = await bootstrap(kafka, database)
    assert code == 0, said
    code, said = await bootstrap(kafka, database, "next-epoch", "--salvage", str(file))
    assert code == FATAL
    assert "exists already" in said


async def test_it_is_the_way_out_when_the_cluster_was_lost(
    new_kafka: Factory[Kafka], database: Database, bootstrap: Bootstrap, folder: Path
) -> None:
    lost = (await new_kafka()).bootstrap
    assert (await bootstrap(lost, database, partitions="2"))[0] == 0
    one = await current_generation(lost)
    channels = [channel_in(p, 2) for p in (0, 1)]
    await write(lost, one, messages(20, channels))
    await store(lost, database, one, channels, up_to=10)
    fresh = (await new_kafka()).bootstrap
    code, said = await bootstrap(fresh, database)
    assert code == FATAL
    assert "next-epoch" in said
    code, said = await bootstrap(fresh, database, "next-epoch", "--salvage", str(folder / "nothing.jsonl"))
    assert code == 0, said
    assert not (folder / "nothing.jsonl").exists()
    two = await current_generation(fresh)
    assert (two.epoch, two.partitions) == (2, 2)
    assert (await node(fresh, two))[1] == dict.fromkeys(channels, 10)
    assert (await bootstrap(fresh, database))[0] == 0
    code, said = await bootstrap(lost, database)
    assert code == FATAL
    assert "old copy" in said


async def test_an_unused_epoch_is_followed_when_another_is_wanted_or_it_is_condemned(
    new_kafka: Factory[Kafka], database: Database, bootstrap: Bootstrap, folder: Path
) -> None:
    """Only what would change nothing is left undone."""
    kafka = (await new_kafka()).bootstrap
    assert (await bootstrap(kafka, database, partitions="2"))[0] == 0

    async def next_epoch(partitions: str) -> tuple[int, int]:
        command = ("next-epoch", "--salvage", str(folder / "unneeded.jsonl"))
        code, said = await bootstrap(kafka, database, *command, partitions=partitions)
        assert code == 0, said
        newest = max((await generations(kafka)).values(), key=lambda generation: generation.epoch)
        return newest.epoch, newest.partitions

    assert await next_epoch("2") == (2, 2)
    assert await next_epoch("2") == (2, 2)
    assert await next_epoch("3") == (3, 3)
    assert await condemn(kafka, Condemned(lost=3, reason="tried out", found_by="a test", found_ms=0))
    assert await next_epoch("3") == (4, 3)
