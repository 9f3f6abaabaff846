"""Somebody who says things over one bare connection, with ids of the test's choosing, and looks at every answer."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Iterable

from services.contract import frames
from tests.faults.swarm import Viewer, _Link

Answer = frames.Ack | frames.Refused

_names = itertools.count(1)


class Speaker(Viewer):
    """A viewer that also speaks. Answers to one id come in the order in which it was sent."""

    def __init__(self, token: str) -> None:
        super().__init__(f"speaker-{next(_names)}", token)
        self._asked: dict[str, deque[asyncio.Future[Answer]]] = {}

    def say(self, channel: str, id: str, text: str) -> asyncio.Future[Answer]:
        """Send it now; the future gives the answer."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(id, deque()).append(future)
        self.send(frames.Send(channel=channel, id=id, text=text))
        return future

    async def ask(self, channel: str, id: str, text: str, *, timeout: float = 30.0) -> Answer:
        """Send it, again when told to slow down, and wait for any other answer. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            while True:
                answer = await self.say(channel, id, text)
                if isinstance(answer, frames.Ack) or answer.code != "slow_down":
                    return answer
                await asyncio.sleep((answer.retry_after_ms or 500) / 1000)

    async def say_all(self, messages: Iterable[tuple[str, str, str]], *, at_once: int = 500) -> list[Answer]:
        """Send all of these (channel, id, text), with so many under way at once; their answers, in the same order."""
        answers: list[Answer] = []
        under_way: deque[asyncio.Future[Answer]] = deque()
        for message in messages:
            under_way.append(self.say(*message))
            if len(under_way) >= at_once:
                answers.append(await asyncio.wait_for(under_way.popleft(), 60.0))
        for future in under_way:
            answers.append(await asyncio.wait_for(future, 60.0))
        return answers

    def _received(self, link: _Link, frame: frames.ServerFrame) -> None:
        if not isinstance(frame, Answer):
            super()._received(link, frame)
        elif frame.id in self._asked:
            waiting = self._asked[frame.id]
            future = waiting.popleft()
            if not waiting:
                del self._asked[frame.id]
            if not future.done():
                future.set_result(frame)
