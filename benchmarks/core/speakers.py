"""Those who talk: real clients in a process of their own, which post at a given rate and check what they are shown.

`python -m benchmarks.core.speakers` is that process (`agent.obey`); `speakers` starts it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import msgspec
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.core.agent import obey, python
from benchmarks.core.figures import Latencies
from benchmarks.core.rounds import Spoiled
from services.contract.ids import new_event_id

ANSWERS_S = 20.0
MARK = "ns="


class _Body(msgspec.Struct):
    text: str = ""


class _Frame(msgspec.Struct):
    type: str
    id: str = ""
    channel: str = ""
    seq: int = 0
    code: str = ""
    event: _Body | None = None


_decode = msgspec.json.Decoder(_Frame).decode


class Account:
    """What one run came to."""

    def __init__(self) -> None:
        self.sent_at: dict[str, float] = {}
        self.acks: list[float] = []
        self.refused: Counter[str] = Counter()
        self.deliveries: list[float] = []
        self.delivered = 0
        self.holes = 0


class Client(WSListener):
    def __init__(self, token: str) -> None:
        self.welcome = asyncio.Event()
        self.account = Account()
        self.heads: dict[str, int] = {}
        self._token = token
        self.transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        transport.send(WSMsgType.TEXT, msgspec.json.encode({"type": "connect", "token": self._token}))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is not WSMsgType.TEXT:
            return
        said = _decode(frame.get_payload_as_memoryview())
        if said.type == "event":
            self._shown(said)
        elif said.type == "ack":
            now = time.monotonic()
            sent = self.account.sent_at.pop(said.id, None)
            if sent is not None:
                self.account.acks.append(now - sent)
        elif said.type == "refused":
            self.account.refused[said.code] += 1
            self.account.sent_at.pop(said.id, None)
        elif said.type == "welcome":
            self.welcome.set()

    def _shown(self, said: _Frame) -> None:
        account = self.account
        last = self.heads.get(said.channel)
        if last is not None and said.seq != last + 1:
            account.holes += 1
        self.heads[said.channel] = said.seq
        account.delivered += 1
        text = "" if said.event is None else said.event.text
        if text.startswith(MARK):
            account.deliveries.append(time.monotonic() - int(text[3:23]) / 1e9)

    def post(self, channel: str, size: int) -> None:
        assert self.transport is not None
        id = new_event_id()
        now = time.monotonic_ns()
        text = f"{MARK}{now:020d}".ljust(size, "x")
        self.account.sent_at[id] = now / 1e9
        frame = f'{{"type":"send","channel":"{channel}","id":"{id}","text":"{text}"}}'
        self.transport.send(WSMsgType.TEXT, frame.encode())


class _Process:
    def __init__(self) -> None:
        self.clients: list[Client] = []
        self.account = Account()

    async def connect(self, url: str, tokens: list[str]) -> dict[str, Any]:
        for token in tokens:
            _, listener = await ws_connect(lambda token=token: Client(token), url)
            assert isinstance(listener, Client)
            await asyncio.wait_for(listener.welcome.wait(), 30)
            self.clients.append(listener)
        return {"connected": len(self.clients)}

    def _new_account(self) -> Account:
        account = self.account = Account()
        for client in self.clients:
            client.account = account
        return account

    async def begin(self) -> dict[str, Any]:
        self._new_account()
        return {}

    async def heard(self, events: int) -> dict[str, Any]:
        """What was shown since `begin`, once so many events were."""
        deadline = time.monotonic() + ANSWERS_S
        while self.account.delivered < events and time.monotonic() < deadline:  # noqa: ASYNC110 - as in `run`
            await asyncio.sleep(0.01)
        return _told(self.account, sent=events, seconds=0.0, late=0.0)

    async def run(self, rate: float, seconds: float, size: int, channels: list[list[str]]) -> dict[str, Any]:
        """`channels`: for each client in turn, those that it posts to in turn (none: it only listens)."""
        account = self._new_account()
        turns = [(c, itertools.cycle(own)) for c, own in zip(self.clients, channels, strict=False) if own]
        posting = itertools.cycle(turns)
        total, sent, latest = max(1, round(rate * seconds)), 0, 0.0
        started = time.monotonic()
        while sent < total:
            elapsed = time.monotonic() - started
            latest = max(latest, elapsed - sent / rate)
            due = min(total, int(elapsed * rate) + 1)
            if elapsed > 2 * seconds + 5:
                break  # this process cannot go so fast: the rate that it came to says so
            for _ in range(min(due - sent, 500)):
                client, own = next(posting)
                client.post(next(own), size)
                sent += 1
            await asyncio.sleep(max(0.0, started + sent / rate - time.monotonic()))
        spent = time.monotonic() - started
        deadline = time.monotonic() + ANSWERS_S
        while account.sent_at and time.monotonic() < deadline:  # noqa: ASYNC110 - an event would cost every answer
            await asyncio.sleep(0.01)
        return _told(account, sent=sent, seconds=spent, late=latest)


def _told(account: Account, *, sent: int, seconds: float, late: float) -> dict[str, Any]:
    return {
        "sent": sent,
        "seconds": seconds,
        "late": late,
        "unanswered": len(account.sent_at),
        "refused": dict(account.refused),
        "holes": account.holes,
        "delivered": account.delivered,
        "acks": counted(account.acks),
        "deliveries": counted(account.deliveries),
    }


def counted(seconds: Iterable[float]) -> list[tuple[int, int]]:
    """Latencies counted by 10 microseconds."""
    return sorted(Counter(round(each * 1e5) * 10 for each in seconds).items())


class Talk(msgspec.Struct, kw_only=True):
    """What a run came to. `rate` was reached; `late`: how far behind its plan the process was at worst, seconds."""

    sent: int
    seconds: float
    late: float
    unanswered: int
    refused: dict[str, int]
    holes: int
    delivered: int
    acks: list[tuple[int, int]]
    deliveries: list[tuple[int, int]]

    @property
    def rate(self) -> float:
        return self.sent / self.seconds

    @property
    def acknowledged(self) -> int:
        return sum(count for _, count in self.acks)

    @property
    def ack(self) -> Latencies:
        return Latencies(self.acks)

    @property
    def delivery(self) -> Latencies:
        return Latencies(self.deliveries)

    def must_be_whole(self) -> None:
        """A figure of a run that lost, refused or reordered something would be a figure of something else."""
        if self.unanswered or self.refused or self.holes:
            raise Spoiled(
                f"{self.sent} sent: {self.unanswered} unanswered, refused {self.refused}, {self.holes} out of order"
            )


class Speakers:
    def __init__(self, agent: Any) -> None:
        self._agent = agent
        self.pid: int = agent.pid

    async def talk(
        self, channels: Sequence[Sequence[str]], rate: float, seconds: float, size: int = 300
    ) -> Talk:
        """Post `rate` messages a second, by all clients that have channels in turn; waits for the answers."""
        answer = await self._agent.do(
            "run", rate=rate, seconds=seconds, size=size, channels=[list(own) for own in channels]
        )
        return msgspec.convert(answer, Talk)

    async def begin(self) -> None:
        """Count what is shown from here on (`heard`); nobody posts."""
        await self._agent.do("begin")

    async def heard(self, events: int) -> Talk:
        """What was shown since `begin`, once so many events were. Raises ValueError when they do not come."""
        talk = msgspec.convert(await self._agent.do("heard", events=events), Talk)
        if talk.delivered < events or talk.holes:
            raise Spoiled(f"{talk.delivered} of {events} events were shown, {talk.holes} out of order")
        return talk


@contextlib.asynccontextmanager
async def speakers(url: str, tokens: Sequence[str]) -> AsyncIterator[Speakers]:
    """Connected clients, one for each token."""
    async with python("benchmarks.core.speakers") as agent:
        await agent.do("connect", url=url, tokens=list(tokens))
        yield Speakers(agent)


async def _main() -> None:
    process = _Process()
    await obey(
        {
            "connect": process.connect,
            "run": process.run,
            "begin": process.begin,
            "heard": process.heard,
        }
    )


if __name__ == "__main__":
    uvloop.run(_main())
