"""What a worker was doing at the moment when it was stopped: read from PostgreSQL, the log and the system, not from it.

The worker is frozen while one looks, so what is seen is what a kill -9 leaves behind. A worker may be in several
stages at once (the relay has two halves).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol, Self

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from services.contract.directory import decode_record
from services.contract.envelope import HEADER
from services.contract.generation import Generation
from tests.stack.lockstep import Stack
from tests.stack.process import Process
from tests.stack.rawlog import positions, wall_ms
from tests.stack.waiting import until

STARTING: Final = "starting"
IDLE: Final = "idle"


class Witness(Protocol):
    """Looks at one kind of worker. `stages`: all that there are, `STARTING` apart. `with_it`: what must stand still
    beside the worker while one looks."""

    @property
    def name(self) -> str: ...

    @property
    def stages(self) -> tuple[str, ...]: ...

    @property
    def with_it(self) -> tuple[str, ...]: ...

    async def look(self) -> set[str]:
        """The stages of the frozen worker; empty when it is between two of them and nobody can tell."""
        ...

    def started(self) -> None:
        """The worker has been started anew."""
        ...


class Reading:
    """The records of a topic as far as they were asked for, from its beginning; `committed`: only those."""

    def __init__(self, kafka: str, topic: str, partitions: int, *, committed: bool = False) -> None:
        def consumer() -> AIOKafkaConsumer:
            return AIOKafkaConsumer(
                bootstrap_servers=kafka,
                group_id=None,
                auto_offset_reset="earliest",
                isolation_level="read_committed" if committed else "read_uncommitted",
            )

        self._tps = [TopicPartition(topic, partition) for partition in range(partitions)]
        self._consumer = consumer()
        # A broker answers a connection's requests in order: beside the reader's, a question for the ends would wait
        # behind a fetch that waits for records.
        self._asking = consumer()

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        await self._asking.start()
        self._consumer.assign(self._tps)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._asking.stop()
        await self._consumer.stop()

    async def ends(self) -> dict[int, int]:
        """Partition -> offset after the last record (or the last stable offset)."""
        return {tp.partition: end for tp, end in (await self._asking.end_offsets(self._tps)).items()}

    async def ends_at(self, moment: int) -> dict[int, int]:
        """Partition -> where it ended at that wall-clock ms, up to which the broker has stamped what it has."""
        ends = await self.ends()
        later = await self._asking.offsets_for_times(dict.fromkeys(self._tps, moment + 1))
        return ends | {tp.partition: first.offset for tp, first in later.items() if first is not None}

    async def new(self) -> list[Any]:
        """What has come since the last call, up to the end as it is now."""
        ends = await self._asking.end_offsets(self._tps)
        records = []
        while any([await self._consumer.position(tp) < ends[tp] for tp in self._tps]):
            for batch in (await self._consumer.getmany(timeout_ms=20)).values():
                records += batch
        return records


class PersisterWitness:
    """Where the persister stands between the log and PostgreSQL."""

    BEHIND: Final = "records in the log, no transaction yet"
    IN_TRANSACTION: Final = "in its transaction"
    UNTOLD: Final = "committed, and not told"

    name = "persister"
    stages = (IDLE, BEHIND, IN_TRANSACTION, UNTOLD)
    with_it: tuple[str, ...] = ()

    def __init__(
        self, stack: Stack, generation: Generation, connection: asyncpg.Connection, events: Reading
    ) -> None:
        self._port = stack.database.port
        self._connection = connection
        self._epoch = generation.epoch
        self._events = events

    def started(self) -> None:
        pass

    async def look(self) -> set[str]:
        stopped = wall_ms()

        async def at_rest() -> asyncpg.Record | None:
            row = await self._connection.fetchrow(
                "select state, query, client_port from pg_stat_activity"
                " where application_name = 'lockstep-persister' and datname = current_database()"
            )
            return row if row is None or row["state"] != "active" else None

        try:
            row = await until(at_rest, 1.0, every=0.002)
        except TimeoutError:
            return set()
        assert row is not None
        if row["state"].startswith("idle in transaction"):
            return {self.IN_TRANSACTION}
        if row["query"].upper().startswith("COMMIT") and unread_bytes(row["client_port"], self._port):
            return {self.UNTOLD}
        stored = await positions(self._connection, self._epoch)
        ends = await self._events.ends_at(stopped)
        return {self.BEHIND if any(stored[p] < end for p, end in ends.items()) else IDLE}


class RelayWitness:
    """What waits in the outbox, and whether the log has it already."""

    NOT_APPENDED: Final = "event waits, not appended"
    NOT_STORED: Final = "event appended, not stored"
    NOT_PUBLISHED: Final = "entity waits, not published"
    OPEN: Final = "directory transaction open"
    NOT_REMOVED: Final = "entity published, row still there"

    name = "relay"
    stages = (IDLE, NOT_APPENDED, NOT_STORED, NOT_PUBLISHED, OPEN, NOT_REMOVED)
    with_it = ("persister",)

    def __init__(
        self, connection: asyncpg.Connection, events: Reading, directory: Reading, everything: Reading
    ) -> None:
        """`directory`: committed records only; `everything`: of the same topic, also what is not committed."""
        self._connection = connection
        self._events = events
        self._directory = directory
        self._everything = everything
        self._ids: set[str] = set()
        self._versions: dict[str, int] = {}

    def started(self) -> None:
        pass

    async def look(self) -> set[str]:
        rows = await self._connection.fetch(
            "select key, event_id::text as id, channel_id from outbox order by position"
        )
        events, directory = await asyncio.gather(self._events.new(), self._directory.new())
        for record in events:
            self._ids.update(value.split(b" ")[3].decode() for key, value in record.headers if key == HEADER)
        for record in directory:
            entity = decode_record(record.value)
            self._versions[entity.key] = max(entity.version, self._versions.get(entity.key, 0))
        stages = set() if rows else {IDLE}
        first = {row["channel_id"]: row["id"] for row in reversed(rows) if row["id"] is not None}
        for id in first.values():
            stages.add(self.NOT_STORED if id in self._ids else self.NOT_APPENDED)
        if await _differ(self._directory, self._everything):
            return stages | {self.OPEN}
        for row in rows:
            version = None if row["key"] is None else await self._version(row["key"])
            if version is not None:
                published = self._versions.get(row["key"], 0) >= version
                stages.add(self.NOT_REMOVED if published else self.NOT_PUBLISHED)
        return stages

    async def _version(self, key: str) -> int | None:
        match key.split(":"):
            case ["channel", channel]:
                query = self._connection.fetchval("select version from channels where id = $1", channel)
            case ["member", channel, user]:
                query = self._connection.fetchval(
                    "select version from memberships where channel_id = $1 and user_id = $2", channel, user
                )
            case _:
                return None
        version: int | None = await query
        return version


class CheckpointerWitness:
    """What stands in `heads`, and whether the checkpointer knows it."""

    FOLDING: Final = "in a round, nothing written yet"
    OPEN: Final = "checkpoint's transaction open"
    UNTOLD: Final = "checkpoint committed, and not told"

    name = "checkpointer"
    stages = (IDLE, FOLDING, OPEN, UNTOLD)
    with_it: tuple[str, ...] = ()

    def __init__(self, stack: Stack, heads: Reading, everything: Reading) -> None:
        """`heads`: committed records only; `everything`: of the same topic, also what is not committed."""
        self._process = stack.processes[self.name]
        self._port = int(stack.kafka.bootstrap.rpartition(":")[2])
        self._heads = heads
        self._everything = everything
        self._written: dict[int, int] = {}
        self._told: dict[int, int] = {}
        self._log_read = 0
        self._fewest = 1 << 30

    def started(self) -> None:
        self._told = dict(self._written)
        self._log_read = self._process.log.stat().st_size if self._process.log.exists() else 0

    async def look(self) -> set[str]:
        if await _differ(self._heads, self._everything):
            return {self.OPEN}
        for record in await self._heads.new():
            if record.key == b"watermark":
                self._written[record.partition] = msgspec.json.decode(record.value)["watermark"]
        self._listen()
        if any(mark > self._told.get(partition, 0) for partition, mark in self._written.items()):
            return {self.UNTOLD}
        connections = sum(1 for _ in _connections_of(self._process, self._port))
        self._fewest = min(self._fewest, connections)
        return {self.FOLDING if connections > self._fewest else IDLE}

    def _listen(self) -> None:
        """What it has said that it has written."""
        with self._process.log.open("rb") as log:
            log.seek(self._log_read)
            for line in log:
                if line.endswith(b"\n") and b'"checkpoint"' in line:
                    said = msgspec.json.decode(line)
                    self._told.update({int(p): mark for p, mark in said["watermarks"].items()})


async def _differ(committed: Reading, everything: Reading) -> bool:
    """Whether a transaction is open."""
    stable, ends = await asyncio.gather(committed.ends(), everything.ends())
    return stable != ends


def unread_bytes(local_port: int, remote_port: int) -> int:
    """What has arrived for the owner of a loopback connection, and it has not read yet."""
    for fields in _tcp(Path("/proc/net/tcp")):
        if (_port(fields[1]), _port(fields[2])) == (local_port, remote_port):
            return int(fields[4].partition(":")[2], 16)
    return 0


def _connections_of(process: Process, remote_port: int) -> Iterator[int]:
    """The local ports of its established connections to a port."""
    own = set()
    for entry in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            own.add(str(entry.readlink()))
    for fields in _tcp(Path("/proc/net/tcp")):
        if _port(fields[2]) == remote_port and fields[3] == "01" and f"socket:[{fields[9]}]" in own:
            yield _port(fields[1])


def _tcp(table: Path) -> Iterable[list[str]]:
    return (line.split() for line in table.read_text().splitlines()[1:])


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


async def caught_up(
    connection: asyncpg.Connection, epoch: int, events: Reading, timeout: float = 60.0
) -> None:
    """Wait until PostgreSQL has everything that the log has now."""
    ends = await events.ends()

    async def there() -> bool:
        stored = await positions(connection, epoch)
        return all(stored[partition] >= end for partition, end in ends.items())

    await until(there, timeout, what="PostgreSQL has what the log has")
