"""`python -m services.persister`: the log into PostgreSQL."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Annotated, Final

from pydantic import Field

from services.persister.worker import Worker
from services.runtime.admin import serving_admin
from services.runtime.process import run, until_stopped
from services.runtime.settings import AdminSettings, DatabaseSettings, KafkaSettings, LogSettings

GC_THRESHOLD: Final = 250_000
"""New objects after which the garbage collector looks for cycles: more than the batches under way have at once.

All that a batch is made of goes by itself when it is stored. At Python's threshold of 700 the collector walked through
it again and again, for a third of all processor time, and found nothing.
"""


class PersisterSettings(LogSettings, KafkaSettings, DatabaseSettings, AdminSettings):
    """`persister_partitions`: a JSON list; this process persists these partitions (default: all)."""

    persister_partitions: Annotated[frozenset[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None


async def main(settings: PersisterSettings, stop: asyncio.Event) -> None:
    gc.set_threshold(GC_THRESHOLD)
    await until_stopped(_persist(settings), stop)


async def _persist(settings: PersisterSettings) -> None:
    worker = Worker(settings, settings.kafka, settings.persister_partitions)
    async with serving_admin(worker.ready, settings.admin_host, settings.admin_port):
        await worker.run()


if __name__ == "__main__":
    sys.exit(run("persister", PersisterSettings, main))
