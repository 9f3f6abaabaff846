"""One whole judgement: read every source that was named, in the order that lets a running system be judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import httpx

from verify.findings import CannotJudge
from verify.judge import Judge, Terms, Verdict
from verify.sources.files import files_of, read_history_files, read_recordings
from verify.sources.kafka import Log
from verify.sources.postgres import read_database
from verify.sources.rest import read_rest


@dataclass(frozen=True)
class Sources:
    """What to read; any subset.

    recordings, history   files or folders of JSON lines
    rest, tokens          base URL of web_app, and access tokens of people who may read the channels
    database              a DSN of PostgreSQL
    kafka                 bootstrap servers
    wait_s                how long PostgreSQL and history may take to catch up with the rest
    """

    recordings: list[Path] = field(default_factory=list)
    history: list[Path] = field(default_factory=list)
    rest: str | None = None
    tokens: list[str] = field(default_factory=list)
    database: str | None = None
    kafka: str | None = None
    wait_s: float = 15.0


async def judge(sources: Sources, terms: Terms) -> Verdict:
    """Read and decide. Raises CannotJudge when a source cannot be read or there is nothing to judge."""
    if not (sources.recordings or sources.history or sources.rest or sources.database or sources.kafka):
        raise CannotJudge("nothing to judge: name recordings, history, PostgreSQL or Kafka")
    if sources.rest and not sources.tokens:
        raise CannotJudge("REST history needs an access token")
    court = Judge(terms)
    names = []
    if sources.recordings:
        names.append("recordings")
        read_recordings(court, files_of(sources.recordings))
    log = None
    if sources.kafka:
        names.append("Kafka")
        log = Log(court, sources.kafka)
        await log.read()
        court.log_paused()
    if sources.database:
        names.append("PostgreSQL")
        await read_database(court, sources.database, wait_s=sources.wait_s)
    if sources.history:
        names.append("exported history")
        read_history_files(court, files_of(sources.history))
    if sources.rest:
        names.append("REST history")
        async with httpx.AsyncClient(base_url=sources.rest.rstrip("/"), timeout=30) as http:
            await read_rest(court, http, sources.tokens, wait_s=sources.wait_s)
    if log is not None:
        await log.read()
        log.count()
    verdict = court.verdict()
    verdict.figures.sources = names
    if verdict.figures.nothing:
        raise CannotJudge(f"nothing to judge: {', '.join(names)} hold no events")
    return verdict
