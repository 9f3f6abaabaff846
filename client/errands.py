"""What the core wants to know from REST: the events of a gap, and the fate of a message. Repeated until it is known."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from typing import Final

from client.backoff import delay_s
from client.buffer import ReceiveBuffer
from client.effects import Effect
from client.errors import ApiError, LockstepError, NotLoggedIn
from client.rest import RestClient
from client.search import find_in_history
from client.session import Session
from services.contract.codes import ERRORS

_GAP_PAGE: Final = 100  # of up to 48 KiB an event
_NOT_FOR_YOU: Final = frozenset({"not_found", "not_a_member", "forbidden"})


class Errands:
    """Runs for one session. `apply` carries out the effects of what was learnt."""

    def __init__(
        self,
        rest: RestClient,
        session: Session,
        buffer: ReceiveBuffer,
        rng: random.Random,
        apply: Callable[[Iterable[Effect]], object],
    ) -> None:
        self._rest = rest
        self._session = session
        self._buffer = buffer
        self._rng = rng
        self._apply = apply

    async def fill(self, channel: str) -> None:
        """Fetch what is lacking of one channel, page by page, at the application's pace."""
        failures = 0
        while (lacking := self._session.lacking(channel)) is not None:
            await self._buffer.room()
            upto = min(lacking.to, lacking.after + _GAP_PAGE)
            failure: LockstepError | None = None
            try:
                page = await self._rest.events(channel, after=lacking.after, limit=_GAP_PAGE, at_least=upto)
            except NotLoggedIn:
                self._apply(self._session.unfillable(channel))
                return
            except LockstepError as error:
                # Not allowed (any more): `closed` is on its way and ends this. Anything else passes.
                failure = error
            else:
                effects = self._session.filled(channel, page.epoch, page.events)
                if effects:
                    self._apply(effects)
                    failures = 0
                    continue
            await self._pause(failures, failure)
            failures += 1

    async def look_up(self, ticket: int) -> None:
        """Learn from history whether a message of ours is stored."""
        failures = 0
        while (question := self._session.look_up(ticket)) is not None:
            try:
                found = await find_in_history(self._rest, question, self._session.user_id)
            except ApiError as error:
                if isinstance(error, NotLoggedIn) or error.code in _NOT_FOR_YOU:
                    message = f"{ERRORS[error.code].meaning} Whether the message was stored cannot be known."
                    self._apply(self._session.unanswerable(ticket, error.code, message))
                    return
                await self._pause(failures, error)
            except LockstepError as error:
                await self._pause(failures, error)
            else:
                if found is None:
                    self._apply(self._session.absent(ticket, time.monotonic()))
                else:
                    self._apply(self._session.found(ticket, found))
                return
            failures += 1

    async def _pause(self, failures: int, error: LockstepError | None) -> None:
        dictated = error.retry_after_ms if isinstance(error, ApiError) else None
        await asyncio.sleep(delay_s(failures, self._rng, dictated_ms=dictated))
