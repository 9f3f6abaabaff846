"""From WebSocket connections to sessions and back: the glue, one small object for each client."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from channel_server.core.node import Node
from channel_server.core.session import Session
from channel_server.websocket.connection import WebSocketConnection

log = structlog.get_logger()

PATH = "/v1/websocket"


class Client:
    """One client's `Application`. `wake` is called when the node's `catch_up` may have something to do."""

    __slots__ = ("_node", "_session", "_wake")

    def __init__(self, node: Node, wake: Callable[[], None]) -> None:
        self._node = node
        self._wake = wake
        self._session: Session | None = None

    def on_open(self, connection: WebSocketConnection) -> None:
        self._session = self._node.connected(connection)

    def on_message(self, connection: WebSocketConnection, message: str | bytes, is_text: bool) -> None:
        assert self._session is not None
        self._session.received(message)
        if self._node.has_laggards:
            self._wake()

    def on_writable(self, connection: WebSocketConnection) -> None:
        assert self._session is not None
        self._node.drained(self._session)
        if self._node.has_laggards:
            self._wake()

    def on_close(self, connection: WebSocketConnection, code: int, reason: str) -> None:
        session = self._session
        if session is None:
            return
        self._node.disconnected(session)
        if self._node.has_laggards:
            self._wake()
        # What this side decided is worth a line; that people come and go is not, and of those who never became clients
        # there may be any number.
        worth_a_line = session.session_id and session.close_name not in ("", "drained")
        say = log.info if worth_a_line else log.debug
        say(
            "connection closed",
            session=session.session_id,
            user=session.user_id,
            connection=session.number,
            code=code,
            because=session.close_name or reason,
        )
