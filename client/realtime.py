"""The realtime token: good for a day, so that clients reconnect while the web app is away. Kept, and renewed early."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec

from client.connection import Credential
from client.errors import LockstepError, NotLoggedIn
from client.rest import RestClient

_RENEW_EVERY_S: Final = 60.0
_RENEW_AGAIN_S: Final = 20.0
_DOUBT_S: Final = 2.0


class Realtime(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to connect without the web app: a token, until when (Unix seconds), and the nodes' addresses."""

    token: str
    expires_at: float
    nodes: list[str]


class RealtimeSource:
    """Gives a credential for each connection. `on_realtime` is told of every new token."""

    def __init__(
        self, rest: RestClient, known: Realtime | None, on_realtime: Callable[[Realtime], None] | None
    ) -> None:
        self._rest = rest
        self._on_realtime = on_realtime
        self.known = known

    async def credential(self, *, renew: bool, doubt: bool) -> Credential:
        """The token at hand while it lasts and names a node. Raises LockstepError when there is none to be had.

        `renew`: it was refused, so get another. `doubt`: get another if the web app answers at once.
        """
        known = self.known
        if renew or known is None or known.expires_at <= time.time() or not known.nodes:
            known = await self._fetch(None)
        elif doubt:
            try:
                async with asyncio.timeout(_DOUBT_S):
                    known = await self._fetch(0.0)
            except (LockstepError, TimeoutError):
                pass  # the nodes that are known may come back
        return Credential(known.token, known.nodes)

    async def keep_fresh(self) -> None:
        """Have a new token long before the old one ends. Ends when nobody is logged in (any more)."""
        fetched = time.time()
        least = _RENEW_EVERY_S
        while True:
            half = fetched if self.known is None else (fetched + self.known.expires_at) / 2
            await asyncio.sleep(max(least, half - time.time()))
            try:
                await self._fetch(0.0)
            except NotLoggedIn:
                return
            except LockstepError:
                # The web app is away: what is left of the token is for such times. Soon again, because a refresh
                # whose answer was lost can only be repeated for a minute.
                least = _RENEW_AGAIN_S
                continue
            least = _RENEW_EVERY_S
            fetched = time.time()

    async def _fetch(self, patience_s: float | None) -> Realtime:
        reply = await self._rest.realtime(patience_s=patience_s)
        self.known = Realtime(token=reply.token, expires_at=time.time() + reply.expires_in, nodes=reply.nodes)
        if self._on_realtime is not None:
            self._on_realtime(self.known)
        return self.known
