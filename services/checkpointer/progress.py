"""Deleting what nobody needs: asks PostgreSQL how far the persister is, and the log what is old enough."""

from __future__ import annotations

import time
from collections.abc import Mapping

import structlog
from aiokafka.errors import KafkaError

from services.checkpointer import metrics
from services.checkpointer.settings import CheckpointerSettings
from services.contract.generation import Generation
from services.database.connection import connected, is_unavailable
from services.eventlog.probe import Probe
from services.eventlog.retention import deletable_below, delete_below
from services.eventlog.sequencer import Checkpoint

log = structlog.get_logger()


async def retain(
    settings: CheckpointerSettings, generation: Generation, checkpoints: Mapping[int, Checkpoint | None]
) -> None:
    """Delete what lies below everybody's progress. Skipped, with a log line, when a server does not answer."""
    try:
        persisted = await _persisted(settings, generation)
    except Exception as error:
        if not is_unavailable(error):
            raise
        metrics.RETENTION_SKIPPED.inc()
        log.warning("retention skipped: no database", error=repr(error))
        return
    try:
        await _delete(settings, generation, checkpoints, persisted)
    except (KafkaError, OSError, TimeoutError) as error:
        metrics.RETENTION_SKIPPED.inc()
        log.warning("retention skipped: no answer from the log", error=repr(error))


async def _persisted(settings: CheckpointerSettings, generation: Generation) -> dict[int, int]:
    """The persister's next offset by partition; a partition without a row is missing."""
    async with connected(settings, "lockstep-checkpointer") as connection:
        rows = await connection.fetch(
            "select partition, next_offset from log_partitions where epoch = $1", generation.epoch
        )
    return {row["partition"]: row["next_offset"] for row in rows}


async def _delete(
    settings: CheckpointerSettings,
    generation: Generation,
    checkpoints: Mapping[int, Checkpoint | None],
    persisted: Mapping[int, int],
) -> None:
    known = {
        p: checkpoint for p, checkpoint in checkpoints.items() if checkpoint is not None and p in persisted
    }
    if not known:
        return
    youngest_deletable = int((time.time() - settings.retention_min_age_s) * 1000)
    async with Probe(settings.kafka, generation.events_topic) as probe:
        begins = await probe.begins(known)
        young = await probe.at_times(dict.fromkeys(known, max(0, youngest_deletable)))
    bounds = {p: deletable_below(checkpoint, persisted[p], young[p]) for p, checkpoint in known.items()}
    offsets = {p: bound for p, bound in bounds.items() if bound > begins[p]}
    if not offsets:
        return
    await delete_below(settings.kafka, generation, offsets)
    for partition, offset in offsets.items():
        metrics.DELETED_BELOW.labels(partition).set(offset)
    log.info("deleted", below=offsets)
