"""The core's way into the log."""

from __future__ import annotations

import asyncio
from functools import partial

from channel_server.core.sends import Outgoing, Sends
from services.contract.envelope import encode_envelope
from services.contract.mentions import encode_mentions
from services.eventlog.appender import Appender
from services.eventlog.errors import Overloaded


class LogWriter:
    """`core.ports.Log` over an `Appender`. `sends` learns what became of each append, and nothing more."""

    def __init__(self) -> None:
        self.appender: Appender | None = None
        self.sends: Sends | None = None

    def append(self, outgoing: Outgoing, stamped: int, value: bytes) -> bool:
        assert self.appender is not None
        header = encode_envelope(outgoing.channel, outgoing.sender, outgoing.id, stamped)
        try:
            more = [encode_mentions(outgoing.mentions)] if outgoing.mentions else []
            appended = self.appender.append(outgoing.channel, header, value, *more)
        except Overloaded:
            return False
        appended.add_done_callback(partial(self._done, outgoing))
        return True

    def _done(self, outgoing: Outgoing, appended: asyncio.Future[None]) -> None:
        if not appended.cancelled() and appended.exception() is None:
            outgoing.confirmed = True
        elif self.sends is not None:
            self.sends.failed(outgoing)
