"""HTTP for clients that may be slow on purpose: a request has to be here, whole, within its time (RFC 9110, 15.5.9).

uvicorn itself bounds only the pause between requests of a connection. Without this, whoever sends a byte now and then
holds a connection and its memory for as long as they please.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS: Final = 20.0
"""From a connection's opening, or the first byte of a further request, to the last byte of the request."""

_TOO_LATE: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class PromptProtocol(H11Protocol):
    """`request_seconds`: see REQUEST_SECONDS. How long an answer takes is not bounded here."""

    def __init__(self, *arguments: Any, request_seconds: float = REQUEST_SECONDS, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._request_seconds = request_seconds
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY) and not self.transport.is_closing():
            self._expect()
        else:
            self._expect_nothing()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self._expect_nothing()  # the pause before a further request has a bound of its own

    def _expect(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._request_seconds, self._late)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(_TOO_LATE)
        self.transport.close()
