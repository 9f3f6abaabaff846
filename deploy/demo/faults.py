"""What is broken in the middle of the conversation, and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from deploy.control import Control
from deploy.demo.together import together

WEB_TIER: Final = ("web_app", "postgres")
NODE: Final = "node-1"


class Act(NamedTuple):
    """Something that was done, `at` seconds after the conversation began."""

    at: float
    what: str


class Trouble:
    """Stops the web tier for a while, and kills a channel server meanwhile.

    `say` hears of each act as it happens. `began` and `ended`: monotonic seconds, 0.0 until then.
    """

    def __init__(self, control: Control, *, away_s: float, say: Callable[[Act], None]) -> None:
        self.acts: list[Act] = []
        self.began = self.ended = 0.0
        self._control = control
        self._away_s = away_s
        self._say = say
        self._zero = time.monotonic()

    async def make(self, after_s: float) -> None:
        """Wait so long, then do it all; returns when everything is ready again, however it ends. Raises StackError."""
        await asyncio.sleep(after_s)
        self.began = time.monotonic()
        try:
            await self._break_and_mend()
        finally:
            if not self.ended:
                self._note("interrupted: what was stopped is started again")
                await self._control.start(*WEB_TIER, NODE)

    async def _break_and_mend(self) -> None:
        await self._control.stop(*WEB_TIER)
        self._note("web_app and PostgreSQL stopped")
        back = time.monotonic() + self._away_s
        await asyncio.sleep(self._away_s * 0.3)
        await self._control.kill(NODE)
        self._note(f"{NODE} killed with -9")
        await together(self._node_back(), self._web_tier_back(back))
        self.ended = time.monotonic()

    async def _node_back(self) -> None:
        await self._control.start(NODE)
        self._note(f"{NODE} ready again")

    async def _web_tier_back(self, at: float) -> None:
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        self._note("PostgreSQL and web_app are started")
        await self._control.start(*WEB_TIER)
        self._note("PostgreSQL and web_app ready again")

    def _note(self, what: str) -> None:
        act = Act(time.monotonic() - self._zero, what)
        self.acts.append(act)
        self._say(act)
