"""The topics of the moment: what the core tells is written, what others tell is read. All of it may fail.

A node without these topics goes on: messages and notices need nothing of them. While they cannot be reached, presence
stands still and nobody is seen typing; afterwards reading goes on. A topic that was truncated or made anew is read anew,
from its beginning to its end, and told what it has lost of this node's people.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from channel_server.core.company import Fleeting
from channel_server.core.node import Node
from channel_server.core.presence import Told
from channel_server.core.registry import Registry
from channel_server.core.typing import FORGET_AFTER
from services.contract.envelope import partition_of
from services.contract.generation import Generation
from services.eventlog import consumers, producers
from services.eventlog.errors import LogLost
from services.eventlog.probe import Probe
from services.eventlog.reader import TopicReader
from services.runtime.beat import until_beat

log = structlog.get_logger()

TELL_SECONDS: Final = 0.25
_POLL_MS: Final = 500
_START_S: Final = 10.0
_SEND_S: Final = 5.0
_AGAIN_S: Final = 1.0

# Here alone a log that is another one than before is no disaster: what it holds now is all that there is to know.
_FAILURES: Final = (KafkaError, LogLost, OSError, TimeoutError)


class Gossip:
    """`run` until cancelled; raises nothing of the log's failures."""

    def __init__(self, kafka: str, generation: Generation, node: Node) -> None:
        self._kafka = kafka
        self._generation = generation
        self._node = node
        self._telling = False
        self._told = asyncio.Event()

    async def run(self) -> None:
        """Read and write, again and again after failures."""
        async with asyncio.TaskGroup() as tasks:
            for name, work in (
                ("read sessions", self._read_sessions),
                ("read typing", self._read_typing),
                ("write gossip", self._write),
            ):
                tasks.create_task(self._again(name, work), name=name)

    async def last_words(self) -> None:
        """Return once all that is to be told of sessions has been written. While the log is away, that is never."""
        presence = self._node.state.company.presence
        while self._telling or presence.has_untold:
            self._told.clear()
            await self._told.wait()

    async def _again(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        said = False
        while True:
            began = time.monotonic()
            try:
                await work()
            except _FAILURES as error:
                # Once a failure, not once a second of it.
                if not said or time.monotonic() - began > 10 * _AGAIN_S:
                    log.warning("presence stands still", work=name, error=repr(error))
                said = True
            await asyncio.sleep(_AGAIN_S)

    # --- reading -------------------------------------------------------------------------------------------------------

    async def _read_sessions(self) -> None:
        """Into a registry of its own until the end was reached once, then into the one that presence goes by."""
        presence, clock = self._node.state.company.presence, self._node.state.clock
        registry: Registry | None = Registry(presence.registry.incarnation)
        # Compaction never moves the beginning of a log: there is always an offset 0 to begin at.
        async with TopicReader(
            self._kafka, self._generation.sessions_topic, {0: 0}, last={}, identify=_key, compacted=True
        ) as reader:
            while True:
                batch = await reader.batch(_POLL_MS)
                now = clock.monotonic()
                for record in batch.get(0, ()):
                    if registry is None:
                        presence.heard(_key(record), record.value, now)
                    else:
                        registry.apply(_key(record), record.value, now)
                if registry is not None and reader.proven_current():
                    presence.adopt(registry)
                    registry = None

    async def _read_typing(self) -> None:
        """From the end on; what comes late is passed over."""
        generation, company = self._generation, self._node.state.company
        async with Probe(self._kafka, generation.ephemeral_topic) as probe:
            ends = await probe.ends(range(generation.partitions))
        async with TopicReader(
            self._kafka, generation.ephemeral_topic, ends, last={}, identify=_key
        ) as reader:
            while True:
                batch = await reader.batch(_POLL_MS)
                if time.monotonic() - reader.proven_current() > FORGET_AFTER:
                    continue
                now = self._node.state.clock.monotonic()
                for records in batch.values():
                    for record in records:
                        company.typing_heard(_key(record), record.value or b"", now)

    # --- writing -------------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        company, clock = self._node.state.company, self._node.state.clock
        async with contextlib.AsyncExitStack() as owned:
            lasting = await self._producer(owned, "all")
            passing = await self._producer(owned, 1)
            company.take_fleeting()  # of the time when nothing could be written
            while True:
                told = company.tell(clock.monotonic(), clock.wall_ms())
                fleeting = company.take_fleeting()
                self._telling = True
                try:
                    async with asyncio.timeout(_SEND_S):
                        await self._send(lasting, passing, told, fleeting)
                except _FAILURES:
                    company.presence.again(told)
                    raise
                finally:
                    self._telling = False
                self._told.set()
                await asyncio.sleep(until_beat(TELL_SECONDS, clock.monotonic()))

    async def _send(
        self,
        lasting: AIOKafkaProducer,
        passing: AIOKafkaProducer,
        told: list[Told],
        fleeting: list[Fleeting],
    ) -> None:
        generation = self._generation
        sent = [
            await lasting.send(generation.sessions_topic, record.value, record.key.encode(), partition=0)
            for record in told
        ]
        sent += [
            await passing.send(
                generation.ephemeral_topic,
                record.value,
                record.key.encode(),
                partition=partition_of(record.key, generation.partitions),
            )
            for record in fleeting
        ]
        if sent:
            await asyncio.gather(*sent)

    async def _producer(self, owned: contextlib.AsyncExitStack, acks: int | str) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._kafka,
            acks=acks,
            linger_ms=5,
            request_timeout_ms=consumers.REQUEST_TIMEOUT_MS,
        )
        await producers.start(producer, _START_S)
        owned.push_async_callback(producers.abandon, producer)
        return producer


def _key(record: Any) -> str:
    return (record.key or b"").decode("utf-8", "replace")
