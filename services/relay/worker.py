"""Runs the halves side by side, each begun anew after a failure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

import asyncpg
import structlog
from aiokafka.errors import KafkaError
from sqlalchemy.exc import SQLAlchemyError

from services.contract.envelope import UnknownEnvelopeVersion
from services.contract.generation import Generation
from services.database.engine import is_unavailable
from services.database.epochs import WrongEpoch
from services.eventlog.condemning import report_lost
from services.eventlog.epoch import await_generation
from services.eventlog.errors import Fenced, LogLost, NoGeneration, WriteFailed
from services.relay import directory, events, metrics
from services.relay.directory import DirectoryHalf
from services.relay.events import EventsHalf
from services.relay.watch import watch_log
from services.runtime.process import Fatal
from services.runtime.sessions import run_sessions
from services.runtime.settings import DatabaseSettings
from services.runtime.side_by_side import side_by_side

log = structlog.get_logger()


class Half(Protocol):
    def __init__(self, settings: DatabaseSettings, kafka: str, generation: Generation) -> None: ...

    async def run(self, started: Callable[[], None]) -> None: ...


HALVES: Final[dict[str, type[Half]]] = {directory.HALF: DirectoryHalf, events.HALF: EventsHalf}


class Relay:
    """Relays until it is cancelled or must not go on."""

    def __init__(self, settings: DatabaseSettings, kafka: str, halves: Iterable[str]) -> None:
        self._settings = settings
        self._kafka = kafka
        self._why_not: dict[str, str | None] = dict.fromkeys(halves, "starting")

    def ready(self) -> str | None:
        """None when each half works or stands by behind another relay, else what keeps it (runtime.admin.Readiness)."""
        reasons = [f"{half}: {reason}" for half, reason in self._why_not.items() if reason is not None]
        return "; ".join(reasons) or None

    async def run(self) -> None:
        """Never returns. Raises Fatal when an operator is needed."""
        try:
            generation = await await_generation(self._kafka)
        except (NoGeneration, LogLost) as error:
            raise Fatal(str(error)) from error
        try:
            await side_by_side(
                *(self._run_half(half, generation) for half in self._why_not),
                watch_log(self._settings, self._kafka, generation),
            )
        except LogLost as error:
            await report_lost(self._kafka, generation, error, "relay")
            raise Fatal(str(error)) from error
        except (WrongEpoch, NoGeneration, UnknownEnvelopeVersion) as error:
            raise Fatal(str(error)) from error

    async def _run_half(self, half: str, generation: Generation) -> None:
        def started() -> None:
            self._why_not[half] = None

        def failed(error: BaseException) -> None:
            metrics.RESTARTS.labels(half).inc()
            metrics.ACTIVE.labels(half).set(0)
            self._why_not[half] = f"begins anew after {type(error).__name__}: {error}"
            log.warning("begins anew", half=half, error=str(error), kind=type(error).__name__)

        await run_sessions(
            lambda: HALVES[half](self._settings, self._kafka, generation).run(started),
            is_transient=is_transient,
            on_failure=failed,
        )


def is_transient(error: BaseException) -> bool:
    """Whether beginning anew may help. Fenced is one of these: the other relay has the lock by now, or will lose it."""
    return is_unavailable(error) or isinstance(
        error,
        (
            KafkaError,
            WriteFailed,
            Fenced,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            SQLAlchemyError,
        ),
    )
