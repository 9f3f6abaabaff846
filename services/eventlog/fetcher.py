"""Fetching ahead: what the brokers hold of a topic's partitions, as it comes, and proofs of how far that is.

One request to each broker is always waiting there for news. Its answer takes half a round trip, and the next request
another half, during which nothing can be said: far from Kafka that is most of what a record waits for. So while there
is news, a distant broker is asked beside that by a few more connections in turn, evenly over the round trip.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

import structlog
from aiokafka.errors import CorruptRecordException, KafkaError, for_code

from services.eventlog import metrics
from services.eventlog.batches import RawRecord, next_offset, records_of
from services.eventlog.brokers import Brokers
from services.eventlog.wire import Fetch, FetchAnswer
from services.runtime.beat import until_beat
from services.runtime.news import News

log = structlog.get_logger()

IDLE_ANSWER_MS: Final = 250
"""How long a broker waits before it says that there is nothing new: proofs of being current are renewed about this often."""

_AMID_MS: Final = 20
"""The same while a reader catches up, and enough of some partitions waits for it."""

BREAK_S: Final = 1.5
"""A partition without a good answer for longer than this must be compared again."""

REQUEST_TIMEOUT_MS: Final = 3_000
"""A connection whose answer takes longer is cut."""

_PARTITION_BYTES: Final = 1024 * 1024
_REQUEST_BYTES: Final = 16 * 1024 * 1024

_AGAIN_S: Final = 0.1
_LOOK_S: Final = 0.25
"""How often it is looked whether a broker leads that is not followed, none leads, or one says nothing."""

_SLOW_S: Final = 1.0
"""After so long without an answer it is asked, as often, who leads now."""

_MEASURED_S: Final = 2.0
"""How often the round trip is measured, by a request that does not wait for news."""

FAR_S: Final = 0.03
"""A round trip from which on a broker is asked by several connections in turn."""

_TURNS: Final = 5
_BUSY_S: Final = 1.0
"""There is news while the last record is younger than this."""

_FIRST_CONNECTION: Final = 2
_UNREACHED: Final = 64
"""How many ends are remembered that the reader has not come to yet; forgetting one only makes a proof older."""

_ALL: Final = -1
"""In place of a partition: an answer that refuses all of them."""


class Place:
    """One partition: what was fetched and not taken yet, and what is known of its end.

    next        the offset that is fetched next
    breaks      how often what was known has become doubtful: a failed request, an answer with an error, a long silence
    compared    `breaks` as it was when the log was last found to be the same
    """

    __slots__ = (
        "_answered",
        "_ends",
        "_proof",
        "breaks",
        "buffered",
        "compared",
        "next",
        "partition",
        "segments",
    )

    def __init__(self, partition: int, position: int) -> None:
        self.partition = partition
        self.next = position
        self.breaks = 0
        self.compared = 0
        self.segments: deque[tuple[Iterator[RawRecord], int]] = deque()
        self.buffered = 0
        self._ends: deque[tuple[int, float]] = deque(maxlen=_UNREACHED)
        self._proof = 0.0
        self._answered = 0.0

    @property
    def is_doubtful(self) -> bool:
        """Whether the log has to be compared before anything of the partition is taken."""
        return self.breaks != self.compared

    def broken(self, position: int) -> None:
        """Nothing that was fetched since `position` was handed out can be relied on."""
        self.breaks += 1
        self.segments.clear()
        self.buffered = 0
        self.next = position

    def found_same(self, breaks: int, now: float) -> None:
        """The log was compared after so many breaks, and is the same."""
        self.compared = breaks
        self._answered = now

    def ended_at(self, end: int, asked: float, now: float) -> bool:
        """An answer to a request made at `asked` says where the log ends; False: after too long a silence."""
        if now - self._answered > BREAK_S:
            return False
        self._answered = now
        ends = self._ends
        if ends and ends[-1][0] == end:
            asked = max(asked, ends.pop()[1])
        ends.append((end, asked))
        return True

    def proven(self, position: int) -> float:
        """When a reader that has come to `position` was last proven to be at the end, monotonic seconds; 0.0: never."""
        if not self.is_doubtful:
            while self._ends and self._ends[0][0] <= position:
                self._proof = max(self._proof, self._ends.popleft()[1])
        return self._proof


class Fetcher:
    """Fills places. `news` is set whenever there is something to take, or a place has become doubtful.

    `handed(partition)` is the position of what was handed out: where a place goes back to after a break.
    """

    def __init__(
        self, brokers: Brokers, topic: str, places: Iterable[Place], *, committed_only: bool
    ) -> None:
        self.news = News()
        self.places = {place.partition: place for place in places}
        self.handed: dict[int, int] = {place.partition: place.next for place in self.places.values()}
        self._brokers = brokers
        self._topic = topic
        self._committed_only = committed_only
        # Those of the places that something was fetched for since they were last taken from.
        self._filled: dict[int, Place] = {}
        self._wanted = asyncio.Event()
        self._busy = asyncio.Event()
        self._busy_until = 0.0
        self._asked: dict[tuple[int, int], float] = {}
        self._round_trips: defaultdict[int, float] = defaultdict(float)
        self._polled: defaultdict[int, float] = defaultdict(float)
        self._breaks = metrics.BREAKS.labels(topic)

    def resume(self) -> None:
        """Something was taken, or compared: more may be fetched."""
        self._wanted.set()

    def broken(self, place: Place) -> None:
        """What is known of the partition is doubtful from here on."""
        place.broken(self.handed[place.partition])
        self._breaks.inc()
        self.news.set()

    async def run(self) -> None:
        """Never returns; to be cancelled. Failures of brokers are breaks, and never raised."""
        async with asyncio.TaskGroup() as tasks:
            followed: set[int] = set()
            refreshed = 0.0
            while True:
                for broker in (
                    {self._brokers.leader(partition) for partition in self.places} - followed - {None}
                ):
                    assert broker is not None
                    followed.add(broker)
                    tasks.create_task(self._follow(broker), name=f"fetch {self._topic} {broker}")
                    for turn in range(1, _TURNS + 1):
                        tasks.create_task(
                            self._poll(broker, turn), name=f"poll {self._topic} {broker} {turn}"
                        )
                await asyncio.sleep(until_beat(_LOOK_S, time.monotonic()))
                now = time.monotonic()
                slow = any(now - asked > _SLOW_S for asked in self._asked.values())
                leaderless = [p for p in self.places if self._brokers.leader(p) is None]
                self._all_broken({p: self.places[p].compared for p in leaderless})
                if (slow or leaderless) and now > refreshed + _SLOW_S:
                    refreshed = now
                    await self._brokers.refresh()
                    self._wanted.set()

    async def _follow(self, broker: int) -> None:
        """One request after another waits at the broker for news."""
        measure_at = 0.0
        while True:
            places = self._due(broker)
            if not places:
                self._wanted.clear()
                await self._wanted.wait()
                continue
            now = time.monotonic()
            wait_ms = self._patience(broker, now)
            if now > measure_at:
                wait_ms, measure_at = 0, now + _MEASURED_S
            if not await self._ask(broker, 0, places, wait_ms):
                await asyncio.sleep(_AGAIN_S)

    def _patience(self, broker: int, now: float) -> int:
        """How long the broker may wait for news before it says that there is none, milliseconds."""
        if now < self._busy_until:
            return _AMID_MS if self._is_full(broker) else IDLE_ANSWER_MS
        if self._round_trips[broker] >= FAR_S:
            # Its answers are late for every beat: waiting for the one after that would make proofs older still.
            return IDLE_ANSWER_MS
        return round(1000 * until_beat(IDLE_ANSWER_MS / 1000, now))

    async def _poll(self, broker: int, turn: int) -> None:
        """While there is news from afar: ask at once what there is, when it is this connection's turn."""
        while True:
            await self._busy.wait()
            now = time.monotonic()
            if now > self._busy_until:
                self._busy.clear()
                continue
            round_trip = self._round_trips[broker]
            if round_trip < FAR_S:
                await asyncio.sleep(_BUSY_S)
                continue
            due = self._polled[broker] + round_trip / _TURNS
            if now < due:
                await asyncio.sleep(due - now)
                continue
            self._polled[broker] = now
            places = self._due(broker)
            if not places or not await self._ask(broker, turn, places, 0):
                await asyncio.sleep(_AGAIN_S)

    def _is_full(self, broker: int) -> bool:
        """Whether a place is left out of requests, and will be due again as soon as the reader has gone on.

        A reader that catches up empties one place after the other. A request for those alone that have no more to give
        would keep it waiting until the broker answers that there is nothing.
        """
        return any(
            place.buffered >= _PARTITION_BYTES and self._brokers.leader(place.partition) == broker
            for place in self.places.values()
        )

    def _due(self, broker: int) -> list[Place]:
        return [
            place
            for place in self.places.values()
            if not place.is_doubtful
            and place.buffered < _PARTITION_BYTES
            and self._brokers.leader(place.partition) == broker
        ]

    async def _ask(self, broker: int, turn: int, places: list[Place], wait_ms: int) -> bool:
        """One request and its answer; False when there was none."""
        request = Fetch(
            self._topic,
            [(place.partition, place.next) for place in places],
            max_wait_ms=wait_ms,
            max_bytes=_REQUEST_BYTES,
            partition_bytes=_PARTITION_BYTES,
            committed_only=self._committed_only,
        )
        breaks = {place.partition: place.breaks for place in places}
        asked = self._asked[broker, turn] = time.monotonic()
        try:
            answer: FetchAnswer = await self._brokers.exchange(broker, request, _FIRST_CONNECTION + turn)
        except KafkaError as error:
            log.warning("fetch failed", topic=self._topic, broker=broker, error=repr(error))
            self._all_broken(breaks)
            await self._brokers.refresh()
            return False
        finally:
            self._asked.pop((broker, turn), None)
        now = time.monotonic()
        if not wait_ms:
            self._round_trips[broker] = now - asked
        codes = {found.partition: found.error for found in answer.places if found.error}
        if answer.error:
            codes[_ALL] = answer.error
        if codes:
            refused = {partition: for_code(code).__name__ for partition, code in codes.items()}
            log.warning("fetch refused", topic=self._topic, broker=broker, partitions=refused)
            # A topic that is deleted, and perhaps made anew, goes partition by partition.
            self._all_broken(breaks)
            await self._brokers.refresh()
            return False
        for found in answer.places:
            place = self.places[found.partition]
            if place.breaks != breaks[found.partition]:
                continue
            if not place.ended_at(found.stable if self._committed_only else found.end, asked, now):
                self.broken(place)
            elif found.data:
                self._keep(place, found.data, found.aborted, now)
        return True

    def _all_broken(self, breaks: Mapping[int, int]) -> None:
        """Those that have had so many breaks have one more."""
        for partition, count in breaks.items():
            if self.places[partition].breaks == count:
                self.broken(self.places[partition])

    def _keep(self, place: Place, data: bytes, aborted: Iterable[tuple[int, int]], now: float) -> None:
        """Append what lies behind that which was fetched before, by whichever request."""
        following = next_offset(data)
        if following is None or following <= place.next:
            return
        records = records_of(data, place.next, aborted, committed_only=self._committed_only)
        self._filled[place.partition] = place
        place.segments.append((records, len(data)))
        place.buffered += len(data)
        place.next = following
        self._busy_until = now + _BUSY_S
        self._busy.set()
        self.news.set()

    def take(self, most: int) -> dict[int, list[RawRecord]]:
        """Up to so many records by partition, of those places that are not in doubt."""
        taken: dict[int, list[RawRecord]] = {}
        for place in list(self._filled.values()):
            if place.is_doubtful:
                continue
            found: list[RawRecord] = []
            try:
                while place.segments and len(found) < most:
                    records, size = place.segments[0]
                    found.extend(islice(records, most - len(found)))
                    if len(found) < most:
                        place.segments.popleft()
                        place.buffered -= size
            except CorruptRecordException as error:
                log.warning("a corrupt batch", topic=self._topic, partition=place.partition, error=str(error))
                if found:
                    taken[place.partition] = found
                    self.handed[place.partition] = found[-1].offset + 1
                self.broken(place)
                continue
            if found:
                taken[place.partition] = found
                most -= len(found)
            if place.segments:
                if found:
                    self.handed[place.partition] = max(self.handed[place.partition], found[-1].offset + 1)
                    # To the end: one that is filled as fast as it is taken from must not keep the others waiting.
                    self._filled[place.partition] = self._filled.pop(place.partition)
            else:
                # What lies before `next` are markers and what compaction took away: no records.
                self.handed[place.partition] = place.next
                del self._filled[place.partition]
        self.resume()
        return taken
