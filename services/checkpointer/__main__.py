"""`python -m services.checkpointer`"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final

import structlog
from aiokafka.errors import KafkaError

from services.checkpointer.fold import Fold
from services.checkpointer.progress import retain
from services.checkpointer.settings import CheckpointerSettings
from services.contract.envelope import UnknownEnvelopeVersion
from services.contract.generation import Generation
from services.eventlog.condemning import CHECK_S, look_for_condemnation, report_lost
from services.eventlog.epoch import current_generation
from services.eventlog.errors import Fenced, LogLost, NoGeneration, WriteFailed
from services.eventlog.heads import HeadsWriter, read_checkpoints
from services.runtime.admin import serving_admin
from services.runtime.process import Fatal, run

log = structlog.get_logger()

_RETRY_S: Final = 1.0

_STALE_ROUNDS: Final = 6

_ORDERLY_S: Final = 5.0


class Checkpointer:
    """The process: rounds of the fold at an interval, retention at another one."""

    def __init__(self, settings: CheckpointerSettings) -> None:
        self._settings = settings
        self._round_at: float | None = None

    def ready(self) -> str | None:
        """Ready while rounds come to their end."""
        if self._round_at is None:
            return "no round has come to its end yet"
        silence = time.monotonic() - self._round_at
        if silence > max(30.0, _STALE_ROUNDS * self._settings.checkpoint_interval_s):
            return f"no round has come to its end for {silence:.0f} s"
        return None

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. Raises Fatal when an operator is needed."""
        while not stop.is_set():
            try:
                await self._until_broken(stop)
            except (KafkaError, WriteFailed, OSError, TimeoutError) as error:
                # What was folded is thrown away: the next start reads what really was written.
                log.warning("beginning anew", error=repr(error))
                await _pause(stop, _RETRY_S)
            except Fenced as error:
                raise Fatal(f"{error}: two checkpointers run in this epoch; this one stops") from error
            except (LogLost, NoGeneration) as error:
                raise Fatal(str(error)) from error
            except UnknownEnvelopeVersion as error:
                raise Fatal(f"the log holds records of a newer release ({error}): update this one") from error

    async def _until_broken(self, stop: asyncio.Event) -> None:
        generation = await current_generation(self._settings.kafka)
        try:
            await self._rounds(generation, stop)
        except LogLost as lost:
            await report_lost(self._settings.kafka, generation, lost, "checkpointer")
            raise

    async def _rounds(self, generation: Generation, stop: asyncio.Event) -> None:
        settings = self._settings
        async with HeadsWriter(settings.kafka, generation) as writer:
            # Only now: from here on nobody else can write.
            fold = Fold(
                settings.kafka, generation, writer, await read_checkpoints(settings.kafka, generation)
            )
            retained = looked = time.monotonic()
            while not stop.is_set():
                await fold.round()
                self._round_at = time.monotonic()
                retaining = time.monotonic() - retained >= settings.retention_interval_s
                if retaining or time.monotonic() - looked >= CHECK_S:
                    await look_for_condemnation(settings.kafka, generation)
                    looked = time.monotonic()
                if retaining:
                    await retain(settings, generation, fold.checkpoints)
                    retained = time.monotonic()
                await _pause(stop, settings.checkpoint_interval_s)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass


async def _main(settings: CheckpointerSettings, stop: asyncio.Event) -> None:
    checkpointer = Checkpointer(settings)
    async with serving_admin(checkpointer.ready, settings.admin_host, settings.admin_port):
        working = asyncio.create_task(checkpointer.run(stop), name="checkpointer")
        stopping = asyncio.create_task(stop.wait(), name="signal")
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        # A round that waits for the log would wait for ever; one that is cut off is simply not written.
        await asyncio.wait({working}, timeout=_ORDERLY_S)
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
        elif not working.cancelled():
            working.result()


if __name__ == "__main__":
    sys.exit(run("checkpointer", CheckpointerSettings, _main))
