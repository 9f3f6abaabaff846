"""The half that appends events: carries out what `schedule` decides, over PostgreSQL and the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import asyncpg
import structlog

from services.contract.envelope import encode_envelope, partition_of
from services.contract.generation import Generation
from services.contract.ids import born_ms, new_event_id
from services.contract.mentions import encode_mentions
from services.database import locks
from services.database.connection import connected
from services.database.epochs import check_epoch
from services.eventlog.appender import Appender
from services.eventlog.errors import AppendFailed, Overloaded
from services.relay import metrics
from services.relay.active import become_active, listening, wait_for
from services.relay.schedule import Append, Renew, Schedule, Waiting
from services.relay.upkeep import Gauges
from services.runtime.settings import DatabaseSettings

log = structlog.get_logger()

HALF: Final = "events"
POLL_S: Final = 1.0
MAX_IN_FLIGHT: Final = 1_000
BODIES_AT_ONCE: Final = 100
LOOKING_SHARE: Final = 0.5
"""At most this part of the time goes into looking at the outbox, however often it changes and however long it is."""

# From channel to channel by the index (channel_id, position): as many steps as channels wait, not as rows do.
_FIRST_ROWS: Final = """
with recursive first as (
    (
        select channel_id, position, event_id, created_at from outbox
        where topic = 'events' order by channel_id, position limit 1
    )
    union all
    select next.channel_id, next.position, next.event_id, next.created_at
    from first cross join lateral (
        select channel_id, position, event_id, created_at from outbox
        where topic = 'events' and channel_id > first.channel_id order by channel_id, position limit 1
    ) as next
)
select channel_id, position, event_id::text, (extract(epoch from created_at) * 1000)::bigint as created from first
"""

_CLOCKS: Final = "select partition, now_ms from log_partitions where epoch = $1"

_BODIES: Final = "select position, sender_id, body, mentions from outbox where position = any($1::bigint[])"

# One statement sees one moment: if the row is there when the stored clock is past the id's expiry, its event is not
# stored, and the log holds no copy below the stored position; above it every copy is expired.
_RENEW: Final = """
update outbox set event_id = $3::uuid
where position = $1 and event_id = $2::uuid and exists (
    select from log_partitions where epoch = $4 and partition = $5 and now_ms - $6::bigint > $7::bigint
)
"""


class EventsHalf:
    """One session: from waiting to be the active one to the failure that ends it."""

    def __init__(self, settings: DatabaseSettings, kafka: str, generation: Generation) -> None:
        self._settings = settings
        self._kafka = kafka
        self._generation = generation
        self._schedule = Schedule(generation.retry_ms, MAX_IN_FLIGHT)

    async def run(self, started: Callable[[], None]) -> None:
        """Never returns; raises what ended it. `started` is called when it works, and when it is on standby."""
        generation = self._generation
        async with connected(self._settings, "lockstep-relay-events") as connection:
            await become_active(connection, locks.RELAY_EVENTS, HALF, started)
            await check_epoch(connection, generation)
            async with (
                listening(connection) as woken,
                Appender(
                    self._kafka,
                    generation.events_topic,
                    generation.partitions,
                    max_in_flight=2 * MAX_IN_FLIGHT,
                    on_failure=_say_failed,
                ) as appender,
            ):
                started()
                await self._relay(connection, appender, woken)

    async def _relay(self, connection: asyncpg.Connection, appender: Appender, woken: asyncio.Event) -> None:
        gauges = Gauges(HALF)
        while True:
            began = time.monotonic()
            await self._look(connection, began)
            await self._act(connection, appender, woken)
            await gauges.measure(connection, began)
            await asyncio.sleep((time.monotonic() - began) * (1 / LOOKING_SHARE - 1))
            due = self._schedule.next_due()
            await wait_for(woken, POLL_S if due is None else min(POLL_S, due - time.monotonic()))

    async def _look(self, connection: asyncpg.Connection, now: float) -> None:
        clocks = dict(await connection.fetch(_CLOCKS, self._generation.epoch))
        rows = [
            Waiting(
                position,
                channel,
                partition_of(channel, self._generation.partitions),
                event_id,
                born_ms(event_id),
                created,
            )
            for channel, position, event_id, created in await connection.fetch(_FIRST_ROWS)
        ]
        self._schedule.observe(rows, clocks, now)

    async def _act(self, connection: asyncpg.Connection, appender: Appender, woken: asyncio.Event) -> None:
        actions = self._schedule.take(time.monotonic())
        for action in actions:
            if isinstance(action, Renew):
                await self._renew(action.row, connection, woken)
        appends = [action for action in actions if isinstance(action, Append)]
        for start in range(0, len(appends), BODIES_AT_ONCE):
            some = appends[start : start + BODIES_AT_ONCE]
            positions = [append.row.position for append in some]
            bodies = {
                position: (sender, body, mentions)
                for position, sender, body, mentions in await connection.fetch(_BODIES, positions)
            }
            for append in some:
                self._append(append, bodies.get(append.row.position), appender, woken)

    def _append(
        self,
        action: Append,
        content: tuple[str, bytes, list[str]] | None,
        appender: Appender,
        woken: asyncio.Event,
    ) -> None:
        row = action.row
        if content is None:  # stored and deleted since the snapshot; the next one will not show it
            self._schedule.done(row, False, time.monotonic())
            return
        sender, body, mentions = content
        header = encode_envelope(row.channel, sender, row.event_id, _wall_ms())
        more = [encode_mentions(mentions)] if mentions else []
        try:
            appended = appender.append(row.channel, header, body, *more)
        except Overloaded:
            self._schedule.done(row, False, time.monotonic())
            return
        except ValueError as error:
            # It can never be appended, and what waits behind it in the channel waits for a person to look.
            log.error("an event does not fit into the log", channel=row.channel, error=str(error))
            self._schedule.done(row, True, time.monotonic())
            return
        if action.again:
            metrics.RESENT.inc()
        appended.add_done_callback(lambda future: self._answered(action, future, woken))

    def _answered(self, action: Append, future: asyncio.Future[None], woken: asyncio.Event) -> None:
        if future.cancelled():
            return
        acknowledged = future.exception() is None
        if acknowledged:
            metrics.APPENDED.inc()
            if not action.again:
                metrics.DELAY_SECONDS.labels(HALF).observe(max(0, _wall_ms() - action.row.created) / 1000)
        else:
            metrics.FAILED.inc()
        blocked = self._schedule.full
        self._schedule.done(action.row, acknowledged, time.monotonic())
        if blocked or not acknowledged:
            woken.set()

    async def _renew(self, row: Waiting, connection: asyncpg.Connection, woken: asyncio.Event) -> None:
        # Never born before the log's clock, however wrong this machine's is.
        born = max(_wall_ms(), self._schedule.clock(row.partition))
        renewed = new_event_id(born)
        status = await connection.execute(
            _RENEW,
            row.position,
            row.event_id,
            renewed,
            self._generation.epoch,
            row.partition,
            row.born,
            self._generation.retry_ms,
        )
        if status == "UPDATE 1":
            metrics.RENEWED.inc()
            log.info("expired unnumbered", channel=row.channel, old_id=row.event_id, new_id=renewed)
            woken.set()


def _say_failed(error: AppendFailed) -> None:
    log.warning("append failed; it will be repeated", error=str(error))


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
