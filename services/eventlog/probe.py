"""The probe: single questions to the log, beside whoever reads it: where it begins and ends, what stands there."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED
from aiokafka.errors import KafkaError, LeaderNotAvailableError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest

from services.eventlog.batches import RawRecord, next_offset, records_of
from services.eventlog.brokers import Brokers

_REQUEST_TIMEOUT_MS: Final = 3_000
_QUESTION_S: Final = 10.0
"""A question is asked again for so long while who leads is changing."""

_AGAIN_S: Final = 0.1
_FETCH_BYTES: Final = 64 * 1024
_ANSWER_MS: Final = 100

_CONNECTION: Final = 10
"""Of its own, so that no question waits behind a fetch that waits for news."""

_BEGIN: Final = -2
_END: Final = -1
_NONE: Final = -1


class Probe:
    """Asks about one topic. Every method raises aiokafka's KafkaError or TimeoutError when there is no answer in time."""

    def __init__(
        self,
        kafka: str,
        topic: str,
        *,
        committed_only: bool = False,
        brokers: Brokers | None = None,
        of: int | None = None,
    ) -> None:
        """`brokers`: connections to share; otherwise it makes its own, by `async with`. `of`: this broker is asked about
        everything, whoever leads; the error of one that does not lead is raised at once."""
        self._topic = topic
        self._isolation = READ_COMMITTED if committed_only else READ_UNCOMMITTED
        self._is_guest = brokers is not None
        self._of = of
        self._brokers = brokers or Brokers(kafka, topic, request_timeout_ms=_REQUEST_TIMEOUT_MS)

    async def __aenter__(self) -> Self:
        if not self._is_guest:
            await self._brokers.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_guest:
            await self._brokers.close()

    async def exists(self) -> bool:
        """Whether the cluster knows the topic."""
        return await self._brokers.know_topic()

    async def begins(self, partitions: Iterable[int]) -> dict[int, int]:
        """The first offset that can be read, by partition."""
        return await self._offsets(dict.fromkeys(partitions, _BEGIN))

    async def ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """The offset behind the last record (behind the last committed one), by partition."""
        return await self._offsets(dict.fromkeys(partitions, _END))

    async def at_times(self, times: Mapping[int, int]) -> dict[int, int | None]:
        """By partition, the first offset whose record was appended at or after a time (Unix ms); None: no such."""
        found = await self._offsets(times)
        return {partition: None if offset == _NONE else offset for partition, offset in found.items()}

    async def records(self, offsets: Mapping[int, int], ends: Mapping[int, int]) -> dict[int, RawRecord]:
        """By partition, the first record at or after its offset and below its end.

        Partitions without such a record are missing. Raises aiokafka's OffsetOutOfRangeError.
        """
        wanted = {partition: offset for partition, offset in offsets.items() if offset < ends[partition]}
        found: dict[int, RawRecord] = {}
        async with asyncio.timeout(_QUESTION_S):
            while wanted:
                answers = await self._ask_leaders(wanted, self._fetch)
                for partition, (*_, aborted, _, data) in answers.items():
                    committed_only = self._isolation == READ_COMMITTED
                    records = records_of(data, wanted[partition], aborted, committed_only=committed_only)
                    first = next(records, None)
                    following = next_offset(data) or 0
                    if first is not None:
                        found[partition] = first
                        del wanted[partition]
                    elif following >= ends[partition]:
                        del wanted[partition]  # markers, or compacted away to the very end
                    else:
                        wanted[partition] = max(wanted[partition], following)
        return found

    async def _offsets(self, times: Mapping[int, int]) -> dict[int, int]:
        async with asyncio.timeout(_QUESTION_S):
            answers = await self._ask_leaders(times, self._list_offsets)
        return {partition: int(offset) for partition, (*_, offset) in answers.items()}

    def _list_offsets(self, times: Mapping[int, int]) -> OffsetRequest:
        return OffsetRequest(-1, self._isolation, [(self._topic, list(times.items()))])

    def _fetch(self, offsets: Mapping[int, int]) -> FetchRequest:
        places = [(partition, offset, _FETCH_BYTES) for partition, offset in offsets.items()]
        return FetchRequest(
            _ANSWER_MS, 1, _FETCH_BYTES * len(places), self._isolation, [(self._topic, places)]
        )

    async def _ask_leaders(self, wanted: Mapping[int, int], request: Any) -> dict[int, tuple[Any, ...]]:
        """What each partition's leader says of it, behind the error code; asked again while leaders change."""
        while True:
            try:
                return await self._ask_once(wanted, request)
            except KafkaError as error:
                if self._of is not None or not (error.retriable and error.invalid_metadata):
                    raise
            await self._brokers.refresh()
            await asyncio.sleep(_AGAIN_S)

    async def _ask_once(self, wanted: Mapping[int, int], request: Any) -> dict[int, tuple[Any, ...]]:
        by_leader: defaultdict[int, dict[int, int]] = defaultdict(dict)
        for partition, value in wanted.items():
            leader = self._brokers.leader(partition) if self._of is None else self._of
            if leader is None:
                raise LeaderNotAvailableError(f"{self._topic}, partition {partition}")
            by_leader[leader][partition] = value
        answers = await asyncio.gather(
            *(self._brokers.ask(leader, request(part), _CONNECTION) for leader, part in by_leader.items())
        )
        found: dict[int, tuple[Any, ...]] = {}
        for answer in answers:
            for _, partitions in answer.topics:
                for partition, code, *rest in partitions:
                    if code:
                        raise for_code(code)(f"{self._topic}, partition {partition}")
                    found[partition] = tuple(rest)
        return found
