"""A connection to a broker, over a transport that is a list: whatever comes, in whatever pieces, every request is answered
once, in order, or fails."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    CorrelationIdError,
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    RequestTimedOutError,
)
from aiokafka.protocol.admin import ApiVersionResponse_v0
from aiokafka.protocol.produce import ProduceResponse_v7
from hypothesis import given
from hypothesis import strategies as st

from deploy.local.ports import free_ports
from services.eventlog.brokers import Brokers
from services.eventlog.connection import Connection
from services.eventlog.wire import Produce, ProduceAnswer

REQUEST = Produce("t", [], timeout_ms=1)
PATIENCE_S = 30.0


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.aborted = 0

    def write(self, data: Any) -> None:
        assert not self.aborted
        self.written.append(bytes(data))

    def abort(self) -> None:
        self.aborted += 1

    def correlation_ids(self) -> list[int]:
        return [int.from_bytes(frame[8:12]) for frame in self.written]


class Wired(Connection):
    """Over a `Transport` instead of a socket."""

    async def _connect(self) -> None:
        self.connection_made(Transport())


async def opened(timeout_s: float = PATIENCE_S) -> tuple[Connection, Transport, list[Connection]]:
    lost: list[Connection] = []
    connection = Wired("a broker", 1, timeout_s, lost.append)
    early = connection.ask(REQUEST)
    await asyncio.sleep(0)
    transport = connection._transport
    assert isinstance(transport, Transport)
    assert transport.correlation_ids() == [1], "nothing is asked before it is known what the broker knows"
    connection.data_received(offer(KNOWN))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert transport.correlation_ids() == [1, 2]
    connection.data_received(answer(2, 7))
    assert early.result() == ProduceAnswer({7: 0})
    transport.written.clear()
    return connection, transport, lost


KNOWN = [(0, 3, 13), (1, 4, 17)]


def offer(versions: list[tuple[int, int, int]]) -> bytes:
    """The answer to the first request."""
    body: bytes = (1).to_bytes(4) + ApiVersionResponse_v0(0, versions).encode()
    return len(body).to_bytes(4) + body


def answer(correlation_id: int, partition: int) -> bytes:
    body: bytes = (
        correlation_id.to_bytes(4) + ProduceResponse_v7([("t", [(partition, 0, 5, -1, 0)])], 0).encode()
    )
    return len(body).to_bytes(4) + body


@given(st.integers(1, 8), st.lists(st.integers(0, 400), max_size=12))
def test_answers_come_in_any_pieces(count: int, cuts: list[int]) -> None:
    async def run() -> None:
        connection, transport, _ = await opened()
        asked = [connection.ask(REQUEST) for _ in range(count)]
        said = b"".join(answer(id, place) for place, id in enumerate(transport.correlation_ids()))
        bounds = sorted({0, len(said), *(cut for cut in cuts if cut < len(said))})
        for begin, end in pairwise(bounds):
            connection.data_received(said[begin:end])
        assert [future.result() for future in asked] == [ProduceAnswer({p: 0}) for p in range(count)]
        connection.close("done")

    asyncio.run(run())


async def test_who_does_not_wait_any_more_keeps_nobody_from_an_answer() -> None:
    connection, transport, lost = await opened()
    first, second = connection.ask(REQUEST), connection.ask(REQUEST)
    first.cancel()
    for place, id in enumerate(transport.correlation_ids()):
        connection.data_received(answer(id, place))
    assert second.result() == ProduceAnswer({1: 0})
    assert connection.is_open
    assert not lost
    connection.close("done")


@pytest.mark.parametrize(
    ("said", "error", "reason"),
    [
        (answer(99, 0), CorrelationIdError, "not asked"),
        ((4).to_bytes(4) + (3).to_bytes(4), KafkaConnectionError, "cannot be read"),
        ((6).to_bytes(4) + (3).to_bytes(4) + b"\0\0", KafkaConnectionError, "cannot be read"),
        ((3).to_bytes(4) + b"\0\0\0", KafkaConnectionError, "no answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", KafkaConnectionError, "no answer"),
        (b"\xff\xff\xff\xff....", KafkaConnectionError, "no answer"),
    ],
)
async def test_what_is_no_answer_ends_it(said: bytes, error: type[KafkaError], reason: str) -> None:
    connection, transport, lost = await opened()
    asked = [connection.ask(REQUEST) for _ in range(2)]
    connection.data_received(said)
    assert [type(future.exception()) for future in asked] == [error] * 2
    assert all(reason in str(future.exception()) for future in asked)
    assert (transport.aborted, lost) == (1, [connection])
    connection.connection_lost(None)
    assert (transport.aborted, lost) == (1, [connection]), "once is enough"
    with pytest.raises(KafkaConnectionError, match="closed"):
        connection.ask(REQUEST)


async def test_an_answer_that_was_not_asked_for_ends_it() -> None:
    connection, _, lost = await opened()
    connection.data_received(answer(1, 0))
    assert lost == [connection]


async def test_a_broker_that_goes_away_is_noticed_at_once() -> None:
    connection, _, lost = await opened()
    asked = connection.ask(REQUEST)
    connection.connection_lost(ConnectionResetError())
    assert isinstance(asked.exception(), KafkaConnectionError)
    assert lost == [connection]


async def test_one_that_does_not_answer_in_time_is_given_up() -> None:
    connection, transport, lost = await opened(timeout_s=0.05)
    answered = connection.ask(REQUEST)
    connection.data_received(answer(transport.correlation_ids()[0], 0))
    assert answered.result() == ProduceAnswer({0: 0})
    await asyncio.sleep(0.12)
    assert connection.is_open, "nothing is unanswered"
    asked = [connection.ask(REQUEST) for _ in range(3)]
    done, _ = await asyncio.wait(asked, timeout=PATIENCE_S)
    assert [type(future.exception()) for future in asked] == [RequestTimedOutError] * 3
    assert len(done) == 3
    assert lost == [connection]
    assert not connection.is_open


async def test_the_time_of_each_request_is_its_own() -> None:
    connection, transport, lost = await opened(timeout_s=0.4)
    first = connection.ask(REQUEST)
    await asyncio.sleep(0.2)
    second = connection.ask(REQUEST)
    begun = asyncio.get_running_loop().time()
    connection.data_received(answer(transport.correlation_ids()[0], 0))
    assert first.result() == ProduceAnswer({0: 0})
    await asyncio.wait([second], timeout=PATIENCE_S)
    assert isinstance(second.exception(), RequestTimedOutError)
    assert asyncio.get_running_loop().time() - begun >= 0.39, "the first one's time was over sooner"
    assert lost == [connection]


async def test_a_broker_that_does_not_know_our_requests_is_refused() -> None:
    lost: list[Connection] = []
    connection = Wired("a broker", 1, PATIENCE_S, lost.append)
    asked = [connection.ask(REQUEST) for _ in range(2)]
    await asyncio.sleep(0)
    connection.data_received(offer([(0, 8, 13), (1, 4, 17)]))
    await asyncio.wait(asked, timeout=PATIENCE_S)
    assert [type(future.exception()) for future in asked] == [IncompatibleBrokerVersion] * 2
    assert lost == [connection]
    assert not connection.is_open


async def test_nobody_there_fails_all_that_were_asked_meanwhile() -> None:
    lost: list[Connection] = []
    connection = Connection("127.0.0.1", free_ports(1)[0], PATIENCE_S, lost.append)
    asked = [connection.ask(REQUEST) for _ in range(2)]
    await asyncio.wait(asked, timeout=PATIENCE_S)
    assert [type(future.exception()) for future in asked] == [KafkaConnectionError] * 2
    assert lost == [connection]


async def test_one_that_is_closed_while_it_is_being_opened_writes_nothing() -> None:
    lost: list[Connection] = []
    connection = Wired("a broker", 1, PATIENCE_S, lost.append)
    asked = connection.ask(REQUEST)
    connection.close("not needed")
    assert isinstance(asked.exception(), KafkaConnectionError)
    transport = Transport()
    connection.connection_made(transport)
    assert (transport.written, transport.aborted, lost) == ([], 1, [connection])


async def test_a_broker_that_has_moved_is_not_looked_for_where_it_was() -> None:
    lost: list[Connection] = []
    brokers = Brokers("nowhere:1", "t", request_timeout_ms=1_000)
    stayed, moved = (Wired("host", port, PATIENCE_S, lost.append) for port in (1, 2))
    brokers._connections = {(1, 5): stayed, (2, 5): moved}
    cluster: Any = SimpleNamespace(
        partitions_for_topic=lambda topic: {0, 1, 2},
        leader_for_partition=lambda place: (7, -1, None)[place.partition],
        broker_metadata=lambda broker: SimpleNamespace(host="host", port={1: 1, 2: 22}[broker]),
    )
    brokers._note_leaders(cluster)
    assert (stayed.is_open, moved.is_open, lost) == (True, False, [moved])
    assert [brokers.leader(partition) for partition in range(3)] == [7, None, None]
    stayed.close("done")
