"""Loud people and their audience, in a process of their own: what they do must not be taken for what others feel.

`python -m tests.faults.noise NODE CHANNEL COUNT SEED`: reads lines of JSON. The first holds the tokens of the audience
(`COUNT` viewers, in turn), and is answered when they are all there; each further one is a `Round`, answered by a `Heard`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from services.contract.codes import CLOSES
from tests.faults.apart import Apart, apart
from tests.faults.flood import Sender, flooding, flooding_on, refusals
from tests.faults.swarm import swarm

FLOOD: Final = 2_000.0
MAY_BE_SAID: Final = 40.0
"""Messages a second of one connection: a little less than it is allowed (LOCKSTEP_CONNECTION_RATE)."""

_LINE: Final = 64 * 1024 * 1024
_READY_S: Final = 120.0
_ANSWER_S: Final = 30.0
_LAST_ANSWERS_S: Final = 1.0


class Round(msgspec.Struct, frozen=True):
    """The tokens of one who sends `FLOOD` messages a second, and is back whenever sent away, and of those who send what they
    may; for so long."""

    flooder: str
    speakers: list[str]
    seconds: float


class Heard(msgspec.Struct, frozen=True):
    """What came of a round.

    sent, refused, sent_away, taken     of the flooder: messages, refusals by code, closes as flooding, acknowledgements
    said                                what the others said and was acknowledged
    acked                               of all of them: id -> (channel, seq)
    shown                               events, to all viewers together, so far
    wrong                               what they must not have been shown, so far
    """

    sent: int
    refused: dict[str, int]
    sent_away: int
    taken: int
    said: int
    acked: dict[str, tuple[str, int]]
    shown: int
    wrong: list[str]


class Noise:
    def __init__(self, process: Apart) -> None:
        self._process = process

    async def make(self, round: Round) -> Heard:
        """One round of it."""
        line = await self._ask(round, round.seconds + _ANSWER_S)
        return msgspec.json.decode(line, type=Heard)

    async def _ask(self, what: object, timeout: float) -> bytes:
        self._process.orders.write(msgspec.json.encode(what) + b"\n")
        line = await asyncio.wait_for(self._process.lines.readline(), timeout)
        assert line, "the noisy process has ended"
        return line


@contextlib.asynccontextmanager
async def noise(
    node: str, channel: str, tokens: Sequence[str], count: int, rng: random.Random
) -> AsyncIterator[Noise]:
    """`count` viewers are connected as the people of these tokens, until the end of the block."""
    async with apart("tests.faults.noise", node, channel, str(count), str(rng.random())) as process:
        made = Noise(process)
        await made._ask(tokens, _READY_S)
        yield made


async def _noisy(node: str, channel: str, count: int, seed: str) -> None:
    orders = asyncio.StreamReader(limit=_LINE)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin.buffer
    )
    tokens = msgspec.json.decode(await orders.readline(), type=list[str])
    async with swarm([node], random.Random(seed)) as viewers:
        await viewers.enter(tokens, count)
        _say("ready")
        while line := await orders.readline():
            round = msgspec.json.decode(line, type=Round)
            speakers = [Sender(token, channel) for token in round.speakers]
            async with (
                flooding_on(node, partial(Sender, round.flooder, channel), FLOOD) as floods,
                flooding(node, speakers, MAY_BE_SAID),
            ):
                await asyncio.sleep(round.seconds)
            await asyncio.sleep(_LAST_ANSWERS_S)
            for sender in speakers:
                sender.drop()
            _say(
                Heard(
                    sent=sum(sender.sent for sender in floods),
                    refused=dict(refusals(floods)),
                    sent_away=sum(sender.closed == CLOSES["flooding"].code for sender in floods),
                    taken=sum(len(sender.acked) for sender in floods),
                    said=sum(len(sender.acked) for sender in speakers),
                    acked={id: at for sender in (*floods, *speakers) for id, at in sender.acked.items()},
                    shown=sum(viewer.events for viewer in viewers.viewers),
                    wrong=viewers.wrong()[:10],
                )
            )


def _say(what: Any) -> None:
    print(msgspec.json.encode(what).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(_noisy(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
