"""Produce and Fetch as bytes: the two requests that every message needs.

aiokafka takes a request apart field by field through generic types, which made four tenths of all calls that a lone
message cost a node. These two are packed and unpacked by `struct`; `connection` carries them.

Layouts: Kafka's protocol guide, Produce version 7 and Fetch version 11 (every broker since 2.3), ApiVersions version 0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

from aiokafka.errors import IncompatibleBrokerVersion

_HEADER: Final = struct.Struct(">ihhih")
_HEADER_REST: Final = _HEADER.size - 4
"""Of the header, what its first field, the length, counts."""

_CLIENT: Final = b"lockstep"
_VERSIONS: Final = struct.Struct(">hhh")
_LENGTH: Final = struct.Struct(">h")
_COUNT: Final = struct.Struct(">i")

_PRODUCE: Final = struct.Struct(">hhii")
_PRODUCED_BATCH: Final = struct.Struct(">ii")
_PRODUCED: Final = struct.Struct(">ihqqq")

_THROTTLED: Final = struct.Struct(">i")

_FETCH: Final = struct.Struct(">iiiibiii")
_FETCH_PLACE: Final = struct.Struct(">iiqqi")
_FETCH_END: Final = struct.Struct(">ih")
_FETCHED: Final = struct.Struct(">ihi")
_FETCHED_PLACE: Final = struct.Struct(">ihqqqi")
_ABORTED: Final = struct.Struct(">qq")
_FETCHED_DATA: Final = struct.Struct(">ii")

_NONE: Final = -1
"""No transaction, no replica, no leader epoch, no session: as the protocol says it."""


def _must_be_whole(at: int, end: int) -> None:
    if at != end:
        raise struct.error(f"an answer of {end} bytes was read up to {at}")


class Request:
    """One request; `body` is all of it but the header.

    `read` takes an answer apart: `data` from `at` (behind the header) to `end`. Raises struct.error when it is cut off.
    """

    API_KEY: ClassVar[int]
    API_VERSION: ClassVar[int]

    __slots__ = ("body",)

    def __init__(self, body: bytes) -> None:
        self.body = body

    @classmethod
    def must_be_offered(cls, versions: Mapping[int, tuple[int, int]]) -> None:
        """Raises IncompatibleBrokerVersion. `versions`: what a broker says (`ApiVersions`)."""
        lowest, highest = versions.get(cls.API_KEY, (0, -1))
        if not lowest <= cls.API_VERSION <= highest:
            raise IncompatibleBrokerVersion(
                f"{cls.__name__} version {cls.API_VERSION} is not among the broker's {lowest} to {highest}"
            )

    def framed(self, correlation_id: int) -> bytes:
        """As it goes over the wire: length, header, body."""
        body = self.body
        header = _HEADER.pack(
            _HEADER_REST + len(_CLIENT) + len(body),
            self.API_KEY,
            self.API_VERSION,
            correlation_id,
            len(_CLIENT),
        )
        return b"%b%b%b" % (header, _CLIENT, body)

    def read(self, data: bytes, at: int, end: int) -> Any:
        raise NotImplementedError


class ApiVersions(Request):
    """Which versions of which requests the broker knows: request -> (lowest, highest)."""

    API_KEY = 18
    API_VERSION = 0

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(b"")

    def read(self, data: bytes, at: int, end: int) -> dict[int, tuple[int, int]]:
        (error,) = _LENGTH.unpack_from(data, at)
        if error:
            return {}
        at += _LENGTH.size
        (count,) = _COUNT.unpack_from(data, at)
        at += _COUNT.size
        versions: dict[int, tuple[int, int]] = {}
        for place in range(count):
            key, lowest, highest = _VERSIONS.unpack_from(data, at + place * _VERSIONS.size)
            versions[key] = (lowest, highest)
        _must_be_whole(at + count * _VERSIONS.size, end)
        return versions


class ProduceAnswer(NamedTuple):
    """`errors`: Kafka's error code by partition, 0 for none."""

    errors: dict[int, int]

    @classmethod
    def read(cls, data: bytes, at: int, end: int) -> ProduceAnswer:
        """Of one topic."""
        errors: dict[int, int] = {}
        (topics,) = _COUNT.unpack_from(data, at)
        at += _COUNT.size
        for _ in range(topics):
            at += _LENGTH.size + _LENGTH.unpack_from(data, at)[0]
            (partitions,) = _COUNT.unpack_from(data, at)
            at += _COUNT.size
            for _ in range(partitions):
                partition, errors[partition], *_ = _PRODUCED.unpack_from(data, at)
                at += _PRODUCED.size
        _must_be_whole(at + _THROTTLED.size, end)
        return cls(errors)


class Produce(Request):
    """Record batches, one a partition, to the leader of all of them; answered once all in-sync replicas have them."""

    API_KEY = 0
    API_VERSION = 7

    __slots__ = ()

    def __init__(self, topic: str, batches: Sequence[tuple[int, bytes]], *, timeout_ms: int) -> None:
        name = topic.encode()
        parts = [
            _PRODUCE.pack(_NONE, _NONE, timeout_ms, 1),
            _LENGTH.pack(len(name)),
            name,
            _COUNT.pack(len(batches)),
        ]
        for partition, batch in batches:
            parts += _PRODUCED_BATCH.pack(partition, len(batch)), batch
        super().__init__(b"".join(parts))

    def read(self, data: bytes, at: int, end: int) -> ProduceAnswer:
        return ProduceAnswer.read(data, at, end)


class Fetched(NamedTuple):
    """What a broker says of one partition.

    error       Kafka's error code, 0 for none
    end         behind the last record that all in-sync replicas have
    stable      behind the last record whose transaction is over
    aborted     (producer id, first offset) of transactions that were given up
    data        record batches, the last of which may be cut off
    """

    partition: int
    error: int
    end: int
    stable: int
    aborted: list[tuple[int, int]]
    data: bytes

    def __repr__(self) -> str:
        # What people say belongs in no log.
        return f"Fetched({self.partition}, error={self.error}, end={self.end}, {len(self.data)} bytes)"


class FetchAnswer(NamedTuple):
    """`error`: Kafka's error code for the request as a whole, 0 for none."""

    error: int
    places: list[Fetched]

    @classmethod
    def read(cls, data: bytes, at: int, end: int) -> FetchAnswer:
        """Of one topic."""
        _, error, _ = _FETCHED.unpack_from(data, at)
        at += _FETCHED.size
        places: list[Fetched] = []
        (topics,) = _COUNT.unpack_from(data, at)
        at += _COUNT.size
        for _ in range(topics):
            at += _LENGTH.size + _LENGTH.unpack_from(data, at)[0]
            (partitions,) = _COUNT.unpack_from(data, at)
            at += _COUNT.size
            for _ in range(partitions):
                partition, code, known, stable, _, count = _FETCHED_PLACE.unpack_from(data, at)
                at += _FETCHED_PLACE.size
                aborted: list[tuple[int, int]] = []
                for _ in range(count):
                    producer, first = _ABORTED.unpack_from(data, at)
                    aborted.append((producer, first))
                    at += _ABORTED.size
                _, length = _FETCHED_DATA.unpack_from(data, at)
                at += _FETCHED_DATA.size
                records = data[at : at + length] if length > 0 else b""
                at += max(length, 0)
                places.append(Fetched(partition, code, known, stable, aborted, records))
        _must_be_whole(at, end)
        return cls(error, places)


class Fetch(Request):
    """What there is in these partitions, each from an offset on, at the leader of all of them.

    places              (partition, offset)
    max_wait_ms         how long the broker waits for a first byte
    max_bytes           of the whole answer, `partition_bytes` of each partition; one batch comes in any case
    committed_only      nothing of transactions that are not over
    """

    API_KEY = 1
    API_VERSION = 11

    __slots__ = ()

    def __init__(
        self,
        topic: str,
        places: Iterable[tuple[int, int]],
        *,
        max_wait_ms: int,
        max_bytes: int,
        partition_bytes: int,
        committed_only: bool,
    ) -> None:
        name = topic.encode()
        packed = [
            _FETCH_PLACE.pack(partition, _NONE, offset, _NONE, partition_bytes)
            for partition, offset in places
        ]
        parts = [
            _FETCH.pack(_NONE, max_wait_ms, 1, max_bytes, committed_only, 0, _NONE, 1),
            _LENGTH.pack(len(name)),
            name,
            _COUNT.pack(len(packed)),
            *packed,
            _FETCH_END.pack(0, 0),
        ]
        super().__init__(b"".join(parts))

    def read(self, data: bytes, at: int, end: int) -> FetchAnswer:
        return FetchAnswer.read(data, at, end)
