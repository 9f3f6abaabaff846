"""The demo from beginning to end: people, conversation, trouble, judgement, table."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.control import Addresses, Control
from deploy.demo.conversation import Conversation, Post, conversation
from deploy.demo.faults import Act, Trouble
from deploy.demo.people import gather_people
from deploy.demo.together import together
from verify.judge import Terms, Verdict
from verify.run import Sources, judge

_OPEN_S: Final = 60.0
_SETTLE_S: Final = 60.0
_AFTERMATH_S: Final = 3.0
"""Posts up to so long after everything was ready again still count as posted in trouble."""


@dataclass(frozen=True)
class Plan:
    """How much of everything. Times in seconds."""

    clients: int = 24
    messages: int = 2_000
    talk_s: float = 40.0
    trouble_after_s: float = 9.0
    away_s: float = 10.0
    seed: int = 1


@dataclass(frozen=True)
class Outcome:
    """What came of it. Latencies in seconds, from pressing *send* to the acknowledgement."""

    posted: int
    acked: int
    expected: int
    shown: int
    reconnects: int
    quiet: list[float]
    troubled: list[float]
    acts: list[Act]
    failures: list[str]
    verdict: Verdict
    seconds: float

    @property
    def good(self) -> bool:
        return (
            self.verdict.holds
            and not self.failures
            and self.acked == self.posted == self.verdict.figures.sent
            and self.shown == self.expected
        )


async def play(control: Control, plan: Plan, folder: Path, console: Console) -> Outcome:
    """Play it on a running stack. Raises LockstepError, StackError, DemoFailed or CannotJudge."""
    begun = time.monotonic()
    addresses = await control.addresses()
    console.print(f"{plan.clients} people sign up, make five channels and connect ...")
    crowd = await gather_people(addresses.web, plan.clients)
    async with conversation(addresses.web, crowd, folder) as talk:
        await talk.until_open(_OPEN_S)
        console.print(f"  connected: {_over_nodes(talk, addresses)}")
        before = sum(member.connections for member in talk.members)
        trouble = Trouble(control, away_s=plan.away_s, say=lambda act: _tell(console, act))
        async with _progress(console, talk, plan.messages):
            talking = talk.talk(plan.messages, plan.talk_s, plan.seed)
            await together(talking, trouble.make(plan.trouble_after_s))
        await talk.until_settled(_SETTLE_S)
        reconnects = sum(member.connections for member in talk.members) - before
        console.print(f"  connected: {_over_nodes(talk, addresses)}")
    console.print("Recordings, REST history, PostgreSQL and the log are compared ...")
    verdict = await _judge(addresses, folder, [person.access_token for person in crowd.people])
    quiet, troubled = _latencies(talk.posts, trouble)
    return Outcome(
        posted=len(talk.posts),
        acked=talk.acked,
        expected=len(talk.posts) * plan.clients,
        shown=talk.shown,
        reconnects=reconnects,
        quiet=quiet,
        troubled=troubled,
        acts=trouble.acts,
        failures=talk.failures,
        verdict=verdict,
        seconds=time.monotonic() - begun,
    )


async def _judge(addresses: Addresses, folder: Path, tokens: list[str]) -> Verdict:
    sources = Sources(
        recordings=[folder],
        rest=addresses.web,
        tokens=tokens,
        database=addresses.dsn,
        kafka=addresses.kafka,
        wait_s=30.0,
    )
    return await judge(sources, Terms(caught_up=True, all_senders_recorded=True))


def _latencies(posts: list[Post], trouble: Trouble) -> tuple[list[float], list[float]]:
    """(of those posted while all was well, of the others), in seconds, ascending."""
    quiet: list[float] = []
    troubled: list[float] = []
    for post in posts:
        if post.acked:
            in_trouble = trouble.began <= post.posted <= trouble.ended + _AFTERMATH_S
            (troubled if in_trouble else quiet).append(post.acked - post.posted)
    return sorted(quiet), sorted(troubled)


def _over_nodes(talk: Conversation, addresses: Addresses) -> str:
    names = {address: name for name, address in addresses.websockets.items()}
    return ", ".join(f"{count} to {names.get(node, node)}" for node, count in sorted(talk.nodes().items()))


def _tell(console: Console, act: Act) -> None:
    console.print(f"  {act.at:5.1f} s  [yellow]{act.what}[/]")


@contextlib.asynccontextmanager
async def _progress(console: Console, talk: Conversation, messages: int) -> AsyncIterator[None]:
    """A bar of acknowledged messages, on a terminal; a line every five seconds elsewhere."""
    columns = (TextColumn("  acknowledged"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=console, disable=not console.is_terminal)
    with progress:
        watching = asyncio.create_task(_watch(console, progress, talk, messages))
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def _watch(console: Console, progress: Progress, talk: Conversation, messages: int) -> None:
    bar = progress.add_task("", total=messages)
    begun = told = time.monotonic()
    while True:
        await asyncio.sleep(0.25)
        acked = talk.acked
        progress.update(bar, completed=acked)
        now = time.monotonic()
        if not console.is_terminal and now - told >= 5.0:
            told = now
            console.print(
                f"  {now - begun:5.1f} s  {acked:,} of {messages:,} acknowledged, {talk.shown:,} shown"
            )
