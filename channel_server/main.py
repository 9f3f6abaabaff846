"""The process: replay the log, open the doors, follow both tails, drain on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import secrets
import time
from collections.abc import Coroutine, Iterator
from typing import Any

import structlog
from aiokafka.errors import KafkaError

from channel_server.clients import PATH, Client
from channel_server.core.node import Node
from channel_server.drain import drain
from channel_server.gossip import Gossip
from channel_server.internal import InternalApi
from channel_server.log_writer import LogWriter
from channel_server.loops import Loops
from channel_server.metrics import NodeCollector
from channel_server.settings import ChannelServerSettings
from channel_server.websocket.listener import Server, listen
from services.contract.envelope import UnknownEnvelopeVersion
from services.contract.frames import MAX_MESSAGE_BYTES
from services.contract.generation import Generation
from services.eventlog.appender import Appender
from services.eventlog.condemning import report_lost, watch_epoch
from services.eventlog.directory import DirectoryTail
from services.eventlog.epoch import await_generation
from services.eventlog.errors import AppendFailed, LogLost, LogRewritten, NoGeneration, Overtaken
from services.eventlog.replay import Replay, unless_overtaken
from services.runtime.admin import serving
from services.runtime.process import Fatal, run

log = structlog.get_logger()

SEE_OFF_SECONDS = 2.0
LOOK_SECONDS = 10.0

REPLAYED_OBJECTS = 50_000
"""While it replays, a node makes so many objects before the collector looks for cycles among them: a batch of records is
made of more than a thousand, none is in a cycle, and what stays of millions would be looked at again and again."""


class SystemClock:
    """`core.ports.Clock`."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000


class ChannelServer:
    """One run of the process."""

    def __init__(self, settings: ChannelServerSettings) -> None:
        self._settings = settings
        self._node: Node | None = None
        self._server: Server | None = None
        self._rng = random.Random()

    def why_not_ready(self) -> str | None:
        """None once the replay is done, the doors are open and both tails are current."""
        node = self._node
        if node is None or self._server is None:
            return "replaying the log"
        if node.state.draining:
            return "draining"
        return node.state.freshness.why_not_ready(node.state.clock.monotonic())

    async def serve(self, stop: asyncio.Event) -> None:
        """Until `stop` is set and the node drained. Raises Fatal."""
        settings = self._settings
        api = InternalApi(settings.secret("service_token"), self.why_not_ready)
        async with serving(api.app(), settings.internal_host, settings.internal_port) as internal_port:
            log.info("internal API", port=internal_port)
            work = asyncio.create_task(self._work(api, stop), name="node")
            await _either(work, stop.wait())
            if self._server is None:
                work.cancel()  # stopped before anybody came: there is nothing to drain
            with contextlib.suppress(asyncio.CancelledError):
                await work

    async def _work(self, api: InternalApi, stop: asyncio.Event) -> None:
        try:
            generation = await await_generation(self._settings.kafka)
        except (NoGeneration, LogLost) as error:
            raise Fatal(str(error)) from error
        try:
            await unless_overtaken(lambda: self._follow(generation, api, stop))
        except UnknownEnvelopeVersion as error:
            raise Fatal(f"{error}: this release cannot read the log; deploy the newer one") from error
        except LogLost as error:
            await report_lost(self._settings.kafka, generation, error, self._settings.node_name)
            raise Fatal(f"the log is lost: {error}") from error

    async def _follow(self, generation: Generation, api: InternalApi, stop: asyncio.Event) -> None:
        settings, limits = self._settings, self._settings.limits()
        started = time.monotonic()
        writer = LogWriter()

        def append_failed(error: AppendFailed) -> None:
            failed = node.appends_failed(error.partition)
            log.warning("append failed", reason=str(error), sends=failed)

        async with (
            Replay(settings.kafka, generation) as replay,
            DirectoryTail(settings.kafka, generation) as directory,
            Appender(
                settings.kafka,
                generation.events_topic,
                generation.partitions,
                max_in_flight=limits.sends_per_node,
                on_failure=append_failed,
            ) as appender,
        ):
            node = self._node = Node(
                epoch=generation.epoch,
                sequencers=replay.sequencers,
                clock=SystemClock(),
                log=writer,
                limits=limits,
                ring_bytes=settings.ring_bytes,
                other_nodes=settings.other_nodes(),
                rng=self._rng,
                name=settings.node_name,
                incarnation=secrets.token_hex(8),
            )
            writer.appender, writer.sends = appender, node.state.sends
            loops = Loops(node, replay, directory)
            with NodeCollector(node):
                try:
                    async with asyncio.TaskGroup() as tasks:
                        gossip = Gossip(settings.kafka, generation, node)
                        following = [
                            tasks.create_task(loop(), name=loop.__name__) for loop in (*loops.all, gossip.run)
                        ]
                        watching = watch_epoch(settings.kafka, generation)
                        following.append(tasks.create_task(watching, name="watch_epoch"))
                        with _collecting_rarely():
                            await loops.replayed.wait()
                        seconds = round(time.monotonic() - started, 2)
                        log.info("replayed", seconds=seconds, events=node.counts.events)
                        server = await self._open_doors(node, loops)
                        api.node = node
                        await stop.wait()
                        await drain(node, server, appender, gossip, settings.drain_seconds, self._rng)
                        for task in following:
                            task.cancel()
                except ExceptionGroup as group:
                    overtaken = group.subgroup(Overtaken)
                    if overtaken is not None:
                        raise overtaken.exceptions[0] from None
                    if group.subgroup(LogLost) is not None:
                        node.log_lost()  # another may have noticed it
                    await self._see_off()
                    if group.subgroup(LogLost) is not None:
                        raise await _what_was_lost(group, replay) from None
                    fatal = group.subgroup(Fatal)
                    raise group if fatal is None else fatal.exceptions[0] from None

    async def _open_doors(self, node: Node, loops: Loops) -> Server:
        settings = self._settings
        # What is here now stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        self._server = await listen(
            settings.websocket_host,
            settings.websocket_port,
            lambda: Client(node, loops.wake),
            path=PATH,
            max_message=MAX_MESSAGE_BYTES,
            high_water=settings.high_water_bytes,
            close_timeout=settings.close_seconds,
            frames_per_second=settings.frames_per_second,
            max_connections=settings.max_connections,
            max_handshakes=settings.max_handshakes,
            handshake_timeout=settings.handshake_seconds,
            origins=settings.allowed_origins or None,
            send_buffer=settings.send_buffer_bytes,
            receive_buffer=settings.receive_buffer_bytes,
            address_limits=settings.address_limits(),
        )
        log.info("open", port=self._server.port)
        return self._server

    async def _see_off(self) -> None:
        """This node stops in the middle of everything: let clients read the CLOSE that says why."""
        if self._node is not None and self._server is not None:
            self._node.end_all("going_away")
            self._server.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SEE_OFF_SECONDS):
                    await self._server.wait_closed()


@contextlib.contextmanager
def _collecting_rarely() -> Iterator[None]:
    usual = gc.get_threshold()
    gc.set_threshold(REPLAYED_OBJECTS, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


async def _what_was_lost(group: BaseExceptionGroup[BaseException], replay: Replay) -> BaseException:
    """Above all that the events are not those that were read: others have to be told of that. The directory's reader, or
    somebody else's word, may only have been quicker to end this node."""
    for error in group.exceptions:
        if isinstance(error, LogRewritten) and error.topic == replay.tail.topic:
            return error
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            await replay.tail.look()
    except LogRewritten as rewritten:
        return rewritten
    except (LogLost, UnknownEnvelopeVersion, KafkaError, OSError, TimeoutError) as error:
        log.warning("the events cannot be looked at once more", error=repr(error))
    lost = group.subgroup(LogLost)
    assert lost is not None
    return lost.exceptions[0]


async def _either(work: asyncio.Task[None], other: Coroutine[Any, Any, Any]) -> None:
    """Return when one of them is done; `other` is cancelled."""
    waiting = asyncio.create_task(other)
    try:
        await asyncio.wait((work, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def _main(settings: ChannelServerSettings, stop: asyncio.Event) -> None:
    await ChannelServer(settings).serve(stop)


def main() -> int:
    return run("channel_server", ChannelServerSettings, _main)
