"""The brokers behind one topic: who leads what, and requests to them, each kind on a connection of its own.

aiokafka keeps the metadata, and asks what is asked seldom. What a request means is its caller's business.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import (
    KafkaConnectionError,
    NodeNotReadyError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.structs import TopicPartition

from services.eventlog.closing import close
from services.eventlog.connection import Connection
from services.eventlog.pipeline import Producer
from services.eventlog.wire import Request

_METADATA_TIMEOUT_MS: Final = 1_000
"""A broker that is stopped answers nothing: soon the next one is asked."""

_METADATA_PAUSE_S: Final = 0.1

_INSIST_S: Final = 5.0
"""How long it is tried to reach anybody at all: brokers may be starting, or busy for longer than a request may take."""

_INSIST_PAUSE_S: Final = 0.3


class Brokers:
    """Connections for one topic's partitions. `request_timeout_ms`: a connection whose answer takes longer is cut."""

    def __init__(self, kafka: str, topic: str, *, request_timeout_ms: int) -> None:
        self._topic = topic
        self._kafka = kafka
        self._request_timeout_ms = request_timeout_ms
        self._client: AIOKafkaClient | None = None
        # Of its own: the client makes one connection at a time, and one to a broker that is stopped takes long.
        self._metadata: AIOKafkaClient | None = None
        self._starting_over: asyncio.Task[bool] | None = None
        self._leaders: dict[int, int] = {}
        self._connections: dict[tuple[int, int], Connection] = {}

    async def start(self) -> None:
        """Connect, and learn who leads. Raises KafkaError, OSError or TimeoutError; then nothing is left behind."""
        metadata = self._metadata = AIOKafkaClient(
            bootstrap_servers=self._kafka, request_timeout_ms=_METADATA_TIMEOUT_MS
        )
        self._client = AIOKafkaClient(
            bootstrap_servers=self._kafka, request_timeout_ms=self._request_timeout_ms
        )
        self._client.cluster = metadata.cluster
        metadata.cluster.add_listener(self._note_leaders)
        try:
            await _insist(metadata.bootstrap)
            await metadata.set_topics([self._topic])
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Cut all connections; what is under way fails."""
        clients = [client for client in (self._client, self._metadata) if client is not None]
        self._client = self._metadata = None
        for connection in list(self._connections.values()):
            connection.close("not needed any more")
        closing: list[Coroutine[Any, Any, Any]] = [client.close() for client in clients]
        if self._starting_over is not None:
            self._starting_over.cancel()
            closing.append(asyncio.wait([self._starting_over]))
        await close(_every(closing), self._topic)

    def leader(self, partition: int) -> int | None:
        """The broker that leads the partition, as far as is known."""
        return self._leaders.get(partition)

    def _note_leaders(self, cluster: ClusterMetadata) -> None:
        # Kept, because it is asked for with every record, and changes seldom.
        known = {
            partition: cluster.leader_for_partition(TopicPartition(self._topic, partition))
            for partition in cluster.partitions_for_topic(self._topic) or ()
        }
        self._leaders = {p: int(leader) for p, leader in known.items() if leader is not None and leader >= 0}
        for (broker, _), connection in list(self._connections.items()):
            there = cluster.broker_metadata(broker)
            if there is not None and (there.host, there.port) != connection.address:
                connection.close("the broker is somewhere else now")

    def everybody(self) -> list[int]:
        """All brokers that are known."""
        assert self._metadata is not None
        return [int(broker.nodeId) for broker in self._metadata.cluster.brokers()]

    async def know_topic(self) -> bool:
        """Whether there is such a topic, asked now. Raises KafkaConnectionError when nobody answers."""
        assert self._metadata is not None
        await _insist(self._ask_anew)
        return bool(self._metadata.cluster.partitions_for_topic(self._topic))

    async def _ask_anew(self) -> None:
        if not await self._update():
            raise KafkaConnectionError(f"nobody says who leads {self._topic}")

    async def refresh(self) -> None:
        """Ask who leads. Never raises; when nobody answers, nothing has changed."""
        if self._metadata is not None:
            await self._update()
            await asyncio.sleep(_METADATA_PAUSE_S)

    async def _update(self) -> bool:
        """Ask those who were alive when last asked; when none of them is any more, begin again with the addresses given."""
        if self._metadata is None:
            return False
        if await self._metadata.force_metadata_update():
            return True
        if self._starting_over is None or self._starting_over.done():
            self._starting_over = asyncio.create_task(
                self._start_over(self._metadata), name=f"bootstrap {self._topic}"
            )
        return await asyncio.shield(self._starting_over)

    async def _start_over(self, metadata: AIOKafkaClient) -> bool:
        try:
            await metadata.bootstrap()
        except KafkaConnectionError:
            return False
        return bool(await metadata.force_metadata_update())

    async def exchange(self, broker: int, request: Request, connection: int) -> Any:
        """The answer. Raises KafkaError, as `send` does and says."""
        return await self.send(broker, request, connection)

    def send(self, broker: int, request: Request, connection: int) -> asyncio.Future[Any]:
        """The answer to come. `connection`: requests of the same number share one and are answered in their order.

        Raises KafkaError when it cannot even be sent. The future's exception is a KafkaError, too: no answer, or none in
        time; then there is no such connection any more.
        """
        key = broker, connection
        known = self._connections.get(key)
        if known is None:
            assert self._metadata is not None
            address = self._metadata.cluster.broker_metadata(broker)
            if address is None:
                raise NodeNotReadyError(f"nobody says where broker {broker} is")

            def forget(lost: Connection) -> None:
                if self._connections.get(key) is lost:
                    del self._connections[key]

            known = Connection(address.host, address.port, self._request_timeout_ms / 1000, on_lost=forget)
            self._connections[key] = known
        return known.ask(request)

    async def ask(self, broker: int, request: Any, connection: int) -> Any:
        """As `exchange`, for a request of aiokafka's, over a connection of its own."""
        assert self._client is not None
        try:
            return await self._client.send(broker, request, group=connection)
        except KeyError as error:
            # It looks for the connection in order to cut it; another request on it was quicker, and it is gone already.
            raise KafkaConnectionError(f"broker {broker} did not answer in time") from error

    def cut(self, broker: int, connection: int) -> None:
        """Close one connection, if it is there: what is under way on it fails at once."""
        known = self._connections.get((broker, connection))
        if known is not None:
            known.close("cut")

    async def new_producer(self) -> Producer:
        """A fresh producer id. Raises KafkaError."""
        assert self._client is not None
        broker = self._client.get_random_node()
        if broker is None:
            raise UnknownTopicOrPartitionError(self._topic)
        # A timeout matters to transactions only; None is no transactional id.
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=0)
        answer = await self._client.send(broker, request)
        error = for_code(answer.error_code)
        if answer.error_code:
            raise error()
        return Producer(answer.producer_id, answer.producer_epoch)


async def _every(works: Iterable[Coroutine[Any, Any, Any]]) -> None:
    """All of them to their end; then the first error, if there was one."""
    for ended in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended


async def _insist(ask: Callable[[], Awaitable[None]]) -> None:
    """Ask until somebody answers. Raises KafkaConnectionError when nobody has for long enough."""
    gives_up = time.monotonic() + _INSIST_S
    while True:
        try:
            return await ask()
        except KafkaConnectionError:
            if time.monotonic() > gives_up:
                raise
        await asyncio.sleep(_INSIST_PAUSE_S)
