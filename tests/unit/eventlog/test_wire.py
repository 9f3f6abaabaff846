"""Our Produce and Fetch are, byte for byte, what aiokafka makes and reads."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.fetch import FetchRequest, FetchResponse_v11
from aiokafka.protocol.produce import ProduceRequest, ProduceResponse_v7
from hypothesis import given
from hypothesis import strategies as st

from services.eventlog.wire import Fetch, FetchAnswer, Fetched, Produce, ProduceAnswer

VERSIONS = {0: (3, 13), 1: (4, 11)}
OLDEST = {0: (7, 7), 1: (4, 11)}
int32 = st.integers(0, 2**31 - 1)
int64 = st.integers(-1, 2**63 - 1)
topics = st.text("abcdefghijklmnopqrstuvwxyz.0123456789", min_size=1, max_size=249)
batches = st.lists(st.tuples(int32, st.binary(max_size=100)), max_size=5)


def of(request: Any, versions: dict[int, tuple[int, int]]) -> tuple[Any, bytes]:
    """What a connection does with a request before it writes it."""
    prepared = request.prepare(versions)
    header = prepared.build_request_header(correlation_id=77, client_id="lockstep")
    return prepared, header.encode() + prepared.encode()


@given(topics, batches, int32)
def test_produce(topic: str, sent: list[tuple[int, bytes]], timeout: int) -> None:
    theirs = ProduceRequest(transactional_id=None, required_acks=-1, timeout=timeout, topics=[(topic, sent)])
    prepared, ours = of(Produce(topic, sent, timeout_ms=timeout), VERSIONS)
    assert ours == of(theirs, OLDEST)[1]
    assert prepared.RESPONSE_TYPE is ProduceAnswer


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
    assert of(ours, VERSIONS)[1] == of(theirs, VERSIONS)[1]


def read(answer: type[Any], request: Any, encoded: bytes) -> Any:
    """What a connection does with an answer."""
    buffer = BytesIO((77).to_bytes(4) + encoded)
    assert request.parse_response_header(buffer).correlation_id == 77
    return answer.decode(buffer)


@given(topics, st.dictionaries(int32, st.integers(-1, 120), max_size=5))
def test_what_produce_is_answered(topic: str, errors: dict[int, int]) -> None:
    rows = [(partition, code, 5, -1, 0) for partition, code in errors.items()]
    encoded = ProduceResponse_v7([(topic, rows)], 0).encode()
    assert read(ProduceAnswer, Produce(topic, [], timeout_ms=1), encoded) == ProduceAnswer(errors)


aborted = st.lists(st.tuples(int64, int64), max_size=3)
places = st.lists(
    st.builds(Fetched, int32, st.integers(-1, 120), int64, int64, aborted, st.binary(max_size=80)), max_size=4
)


@given(topics, st.integers(0, 120), places)
def test_what_fetch_is_answered(topic: str, error: int, found: list[Fetched]) -> None:
    rows = [(f.partition, f.error, f.end, f.stable, 0, f.aborted, -1, f.data) for f in found]
    encoded = FetchResponse_v11(0, error, 0, [(topic, rows)]).encode()
    request = Fetch(topic, [], max_wait_ms=1, max_bytes=1, partition_bytes=1, committed_only=True)
    assert read(FetchAnswer, request, encoded) == FetchAnswer(error, found)


def test_what_people_say_is_not_shown_when_an_answer_is_logged() -> None:
    answer = FetchAnswer(0, [Fetched(3, 0, 9, 8, [], b"what somebody said")])
    assert "somebody" not in repr(answer)
    assert "18 bytes" in repr(answer)
    assert "somebody" not in repr(Produce("t", [(0, b"what somebody said")], timeout_ms=1))


def test_lists_that_are_null_are_empty() -> None:
    encoded = FetchResponse_v11(0, 0, 0, [("t", [(3, 0, 9, 8, 0, None, -1, None)])]).encode()
    request = Fetch("t", [], max_wait_ms=1, max_bytes=1, partition_bytes=1, committed_only=True)
    assert read(FetchAnswer, request, encoded).places == [Fetched(3, 0, 9, 8, [], b"")]


@pytest.mark.parametrize("versions", [{}, {0: (0, 6), 1: (0, 10)}, {0: (8, 13), 1: (12, 18)}])
def test_a_broker_that_does_not_know_them_is_refused(versions: dict[int, tuple[int, int]]) -> None:
    requests = (
        Produce("t", [], timeout_ms=1),
        Fetch("t", [], max_wait_ms=1, max_bytes=1, partition_bytes=1, committed_only=True),
    )
    for request in requests:
        with pytest.raises(IncompatibleBrokerVersion):
            request.prepare(versions)
