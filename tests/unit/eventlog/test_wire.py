"""Our Produce and Fetch are, byte for byte, what aiokafka makes and reads."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.admin import ApiVersionRequest, ApiVersionResponse_v0
from aiokafka.protocol.fetch import FetchRequest, FetchResponse_v11
from aiokafka.protocol.produce import ProduceRequest, ProduceResponse_v7
from hypothesis import given
from hypothesis import strategies as st

from services.eventlog.wire import ApiVersions, Fetch, FetchAnswer, Fetched, Produce, ProduceAnswer, Request

VERSIONS = {0: (3, 13), 1: (4, 11)}
OLDEST = {0: (7, 7), 1: (4, 11)}
int32 = st.integers(0, 2**31 - 1)
int64 = st.integers(-1, 2**63 - 1)
topics = st.text("abcdefghijklmnopqrstuvwxyz.0123456789", min_size=1, max_size=249)
batches = st.lists(st.tuples(int32, st.binary(max_size=100)), max_size=5)


def framed(request: Any, versions: dict[int, tuple[int, int]]) -> bytes:
    """What aiokafka's connection makes of a request of its own."""
    prepared = request.prepare(versions)
    header = prepared.build_request_header(correlation_id=77, client_id="lockstep")
    message: bytes = header.encode() + prepared.encode()
    return len(message).to_bytes(4) + message


@given(topics, batches, int32)
def test_produce(topic: str, sent: list[tuple[int, bytes]], timeout: int) -> None:
    theirs = ProduceRequest(transactional_id=None, required_acks=-1, timeout=timeout, topics=[(topic, sent)])
    assert Produce(topic, sent, timeout_ms=timeout).framed(77) == framed(theirs, OLDEST)


@given(topics, st.lists(st.tuples(int32, int64), max_size=5), int32, int32, int32, st.booleans())
def test_fetch(
    topic: str, places: list[tuple[int, int]], wait: int, most: int, each: int, committed: bool
) -> None:
    theirs = FetchRequest(
        wait, 1, most, int(committed), [(topic, [(p, offset, each) for p, offset in places])]
    )
    ours = Fetch(
        topic, places, max_wait_ms=wait, max_bytes=most, partition_bytes=each, committed_only=committed
    )
    assert ours.framed(77) == framed(theirs, VERSIONS)


def read(request: Request, encoded: bytes) -> Any:
    """What a connection does with an answer, between two others; one that is cut off, or too long, cannot be read."""
    data, end = b"before" + encoded + b"after", 6 + len(encoded)
    for wrong in (end - 1, end + 1):
        with pytest.raises(struct.error):
            request.read(data, 6, wrong)
    return request.read(data, 6, end)


@given(st.dictionaries(st.integers(0, 100), st.tuples(st.integers(0, 9), st.integers(0, 20)), max_size=80))
def test_what_a_broker_offers(versions: dict[int, tuple[int, int]]) -> None:
    rows = [(key, lowest, highest) for key, (lowest, highest) in versions.items()]
    assert read(ApiVersions(), ApiVersionResponse_v0(0, rows).encode()) == versions
    assert ApiVersions().read(ApiVersionResponse_v0(35, rows).encode(), 0, 999) == {}
    assert ApiVersions().framed(77) == framed(ApiVersionRequest(), {18: (0, 0)})


@given(topics, st.dictionaries(int32, st.integers(-1, 120), max_size=5))
def test_what_produce_is_answered(topic: str, errors: dict[int, int]) -> None:
    rows = [(partition, code, 5, -1, 0) for partition, code in errors.items()]
    encoded = ProduceResponse_v7([(topic, rows)], 0).encode()
    assert read(Produce(topic, [], timeout_ms=1), encoded) == ProduceAnswer(errors)


aborted = st.lists(st.tuples(int64, int64), max_size=3)
places = st.lists(
    st.builds(Fetched, int32, st.integers(-1, 120), int64, int64, aborted, st.binary(max_size=80)), max_size=4
)


@given(topics, st.integers(0, 120), places)
def test_what_fetch_is_answered(topic: str, error: int, found: list[Fetched]) -> None:
    rows = [(f.partition, f.error, f.end, f.stable, 0, f.aborted, -1, f.data) for f in found]
    encoded = FetchResponse_v11(0, error, 0, [(topic, rows)]).encode()
    request = Fetch(topic, [], max_wait_ms=1, max_bytes=1, partition_bytes=1, committed_only=True)
    assert read(request, encoded) == FetchAnswer(error, found)


def test_what_people_say_is_not_shown_when_an_answer_is_logged() -> None:
    answer = FetchAnswer(0, [Fetched(3, 0, 9, 8, [], b"what somebody said")])
    assert "somebody" not in repr(answer)
    assert "18 bytes" in repr(answer)
    assert "somebody" not in repr(Produce("t", [(0, b"what somebody said")], timeout_ms=1))


def test_lists_that_are_null_are_empty() -> None:
    encoded = FetchResponse_v11(0, 0, 0, [("t", [(3, 0, 9, 8, 0, None, -1, None)])]).encode()
    request = Fetch("t", [], max_wait_ms=1, max_bytes=1, partition_bytes=1, committed_only=True)
    assert read(request, encoded).places == [Fetched(3, 0, 9, 8, [], b"")]


@pytest.mark.parametrize("versions", [{}, {0: (0, 6), 1: (0, 10)}, {0: (8, 13), 1: (12, 18)}])
def test_a_broker_that_does_not_know_them_is_refused(versions: dict[int, tuple[int, int]]) -> None:
    for request in (Produce, Fetch):
        with pytest.raises(IncompatibleBrokerVersion, match=request.__name__):
            request.must_be_offered(versions)
