"""What the core wants to know from REST: the events of a gap, and the fate of a message.

The fate of a message is asked for until it is known. A gap is given up, and told, when history says that it will not
give its events, or says nothing for too long: a channel must not be held back in silence.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from client.backoff import delay_s
from client.buffer import ReceiveBuffer
from client.effects import Effect
from client.errors import ApiError, LockstepError, NotLoggedIn, Unreachable
from client.model import CatchingUp
from client.noticed import NOTICES
from client.rest import RestClient
from client.search import find_in_history
from client.session import Session
from client.streams import Lacking
from services.contract.codes import ERRORS

_GAP_PAGE: Final = 100  # of up to 48 KiB an event
_NOT_FOR_YOU: Final = frozenset({"not_found", "not_a_member", "forbidden"})
_ONE_TRY_S: Final = 5.0
"""Even when its time is over, a gap is asked for once more, for so long: history may have come back meanwhile."""


class _Waited(NamedTuple):
    """For how many seconds history has been asked in vain for what follows `after`, while connected."""

    epoch: int
    after: int
    seconds: float


class _Hopeless(Exception):
    """History will not give these events; the message says why."""


def _same_epoch(epoch: int, lacking: Lacking) -> None:
    if epoch != lacking.epoch:
        raise _Hopeless(f"History is of epoch {epoch}, and they are of epoch {lacking.epoch}.")


class Errands:
    """Runs for one session. `apply` carries out the effects of what was learnt.

    fill_within_s   how long a gap is asked for without any progress before it is given up; the time in which the
                    application takes nothing, or there is no connection, does not count
    on_catching_up  called when a channel begins to be held back because history does not answer
    """

    def __init__(
        self,
        rest: RestClient,
        session: Session,
        buffer: ReceiveBuffer,
        rng: random.Random,
        apply: Callable[[Iterable[Effect]], object],
        *,
        fill_within_s: float,
        on_catching_up: Callable[[CatchingUp], None] | None = None,
    ) -> None:
        self._rest = rest
        self._session = session
        self._buffer = buffer
        self._rng = rng
        self._apply = apply
        self._fill_within_s = fill_within_s
        self._on_catching_up = on_catching_up
        self._waited: dict[str, _Waited] = {}
        self.catching_up: dict[str, CatchingUp] = {}

    async def fill(self, channel: str) -> None:
        """Fetch what is lacking of one channel, page by page, at the application's pace."""
        failures = 0
        try:
            while True:
                await self._buffer.room()
                lacking = self._session.lacking(channel)
                if lacking is None:
                    return
                try:
                    with self._waiting(channel, lacking) as waited:
                        failure = await self._fill_some(channel, lacking, waited)
                        if failure is not None and self._still(channel, lacking):
                            self._hold(channel, lacking, str(failure))
                            if waited() >= self._fill_within_s:
                                raise _Hopeless(f"History gave nothing for {waited():.0f} s: {failure}")
                            await self._pause(failures, failure)
                            failures += 1
                            continue
                except _Hopeless as reason:
                    if self._still(channel, lacking):
                        self._apply(self._session.unfillable(channel, str(reason)))
                        return
                failures = 0
                self.catching_up.pop(channel, None)
        finally:
            self.catching_up.pop(channel, None)

    async def _fill_some(
        self, channel: str, lacking: Lacking, waited: Callable[[], float]
    ) -> LockstepError | None:
        """Fetch one page and show it; the error if that may succeed later. Raises _Hopeless."""
        upto = min(lacking.to, lacking.after + _GAP_PAGE)
        left = max(_ONE_TRY_S, self._fill_within_s - waited())
        try:
            async with asyncio.timeout(left):
                effects = await self._fetch(channel, lacking, upto)
        except TimeoutError:
            return Unreachable(f"No answer from {self._rest.base_url}.")
        except ApiError as error:
            if isinstance(error, NotLoggedIn) or (not error.retry and error.status < 500):
                raise _Hopeless(str(error)) from error
            return error
        except LockstepError as error:
            return error
        self._apply(effects)
        return None

    async def _fetch(self, channel: str, lacking: Lacking, upto: int) -> Iterable[Effect]:
        """Raises _Hopeless when the answer brings nothing nearer, and what the call raises."""
        if channel == NOTICES:
            noticed = await self._rest.notices(after=lacking.after, at_least=upto)
            _same_epoch(noticed.epoch, lacking)
            if noticed.position <= lacking.after:
                raise _Hopeless(f"The notices go up to {noticed.head}, not to {lacking.after + 1}.")
            return self._session.filled_notices(noticed.epoch, noticed.position, noticed.notices)
        page = await self._rest.events(channel, after=lacking.after, limit=_GAP_PAGE, at_least=upto)
        _same_epoch(page.epoch, lacking)
        effects = self._session.filled(channel, page.epoch, page.events)
        if not effects:
            raise _Hopeless(f"History goes up to {page.head} and does not have {lacking.after + 1}.")
        return effects

    def _still(self, channel: str, lacking: Lacking) -> bool:
        """Whether this is what is lacking still: not fetched, closed or made void by somebody else meanwhile."""
        now = self._session.lacking(channel)
        return now is not None and (now.epoch, now.after) == (lacking.epoch, lacking.after)

    @contextlib.contextmanager
    def _waiting(self, channel: str, lacking: Lacking) -> Iterator[Callable[[], float]]:
        """Count the time of the block; gives how many seconds it is by now, with those of earlier connections."""
        begun = time.monotonic()
        before = self._waited.pop(channel, None)
        earlier = 0.0
        if before is not None and (before.epoch, before.after) == (lacking.epoch, lacking.after):
            earlier = before.seconds
        try:
            yield lambda: earlier + time.monotonic() - begun
        finally:
            # Of use only if nothing was shown: otherwise `after` is another one next time.
            self._waited[channel] = _Waited(lacking.epoch, lacking.after, earlier + time.monotonic() - begun)

    def _hold(self, channel: str, lacking: Lacking, reason: str) -> None:
        news = channel not in self.catching_up
        held = CatchingUp(channel=channel, first=lacking.after + 1, last=lacking.to, reason=reason)
        self.catching_up[channel] = held
        if news and self._on_catching_up is not None:
            self._on_catching_up(held)

    async def look_up(self, ticket: int) -> None:
        """Learn from history whether a message of ours is stored."""
        failures = 0
        while (question := self._session.look_up(ticket)) is not None:
            epoch = self._session.epoch
            failure: LockstepError | None = None
            try:
                found = await find_in_history(self._rest, question, self._session.user_id, epoch)
            except LockstepError as error:
                failure = error
            if self._session.look_up(ticket) != question or self._session.epoch != epoch:
                continue  # the log was replaced meanwhile: what was learnt is about the old one
            if failure is None:
                if found is None:
                    self._apply(self._session.absent(ticket, time.monotonic()))
                else:
                    self._apply(self._session.found(ticket, found))
                return
            if isinstance(failure, ApiError) and (
                isinstance(failure, NotLoggedIn) or failure.code in _NOT_FOR_YOU
            ):
                message = f"{ERRORS[failure.code].meaning} Whether the message was stored cannot be known."
                self._apply(self._session.unanswerable(ticket, failure.code, message))
                return
            await self._pause(failures, failure)
            failures += 1

    async def _pause(self, failures: int, error: LockstepError | None) -> None:
        dictated = error.retry_after_ms if isinstance(error, ApiError) else None
        await asyncio.sleep(delay_s(failures, self._rng, dictated_ms=dictated))
