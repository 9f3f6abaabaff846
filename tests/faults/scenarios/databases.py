"""web_app and PostgreSQL go away, singly and together, for as long as a minute; PostgreSQL is killed during COMMIT."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import asyncpg

from client import LockstepClient, RestClient
from services.eventlog.epoch import current_generation
from tests.faults.changes import changing
from tests.faults.lab import Lab, scenario
from tests.faults.load import Load
from tests.faults.outcome import Outcome
from tests.stack.lockstep import Stack
from tests.stack.rawlog import positions
from tests.stack.waiting import until

_MESSAGES_EACH: Final = 5
"""What everybody must get acknowledged, at least, while something is away."""


async def _away(
    lab: Lab, stack: Stack, load: Load, outcome: Outcome, names: Sequence[str], seconds: float
) -> None:
    """Kill these, let people talk for so long, start them again; nobody else is touched."""
    what = " and ".join(names)
    gone = [stack.postgres.process if name == "postgres" else stack.processes[name] for name in names]
    others = {name: process.pid for name, process in stack.processes.items() if name not in names}
    served = Counter(wait.person for wait in load.waits)
    known = load.crowd.owner.client.realtime
    with load.during(f"without {what}"):
        for process in gone:
            await process.crash()
        async with LockstepClient(stack.web_url, realtime=known, name="newcomer") as newcomer:
            # Somebody who comes with a token from before, and has asked web_app nothing.
            assert set(load.crowd.channels) <= set(newcomer.cursors)
        await asyncio.sleep(seconds)
        served = Counter(wait.person for wait in load.waits) - served
        short = [person.name for person in load.crowd.people if served[person.name] < _MESSAGES_EACH]
        assert not short, f"without {what}, hardly served for {seconds:g} s: {short}"
    outcome.facts[f"acknowledged without {what}"] = served.total()
    with load.during(f"{what} back"):
        await asyncio.gather(*(process.start(60.0) for process in gone))
        outcome.recovery_s.append(await _drained(stack, load))
    assert {name: process.pid for name, process in stack.processes.items() if name not in names} == others
    assert all(process.running for process in stack.processes.values()), "a process has ended meanwhile"


async def _drained(stack: Stack, load: Load, timeout: float = 120.0) -> float:
    """Wait until REST history has what had been acknowledged when this was called; how long it took, seconds."""
    heads = load.crowd.heads()
    begun = asyncio.get_running_loop().time()
    async with RestClient(stack.web_url, load.crowd.owner.rest.tokens, patience_s=timeout) as rest:

        async def reached(channel: str, head: int) -> None:
            async def there() -> bool:
                return (await rest.events(channel, limit=1)).head >= head

            await until(there, timeout, what=f"history has {head} of {channel}")

        await asyncio.gather(*(reached(channel, head) for channel, head in heads.items()))
    return asyncio.get_running_loop().time() - begun


@scenario(
    "databases-away",
    "web_app down for 20 s, PostgreSQL for 20 s, both for a minute: people go on talking, then all drains unaided",
    limit_s=420.0,
)
async def databases_away(lab: Lab) -> Outcome:
    stack = await lab.stack()
    outcome = Outcome("web_app, PostgreSQL, then both killed -9 and started again after 20, 20 and 60 s")
    async with lab.load(stack, people=10, channels=3, pause=(0.02, 0.1), alone=True) as load:
        await load.acked(100)
        await _away(lab, stack, load, outcome, ["web_app"], lab.times(20, 3))
        await _away(lab, stack, load, outcome, ["postgres"], lab.times(20, 3))
        await _away(lab, stack, load, outcome, ["web_app", "postgres"], lab.times(60, 5))
        await load.judged(outcome, messages=500)
    return outcome


# --- PostgreSQL killed during COMMIT --------------------------------------------------------------------------------

_ROLLED_BACK: Final = "in COMMIT, and it was lost"
_COMMITTED: Final = "in COMMIT, and it is stored"
_OTHERWISE: Final = "outside of COMMIT"


class _Server:
    """The processes of one PostgreSQL server, each a group of its own, and where the persister's is."""

    def __init__(self, lab: Lab, stack: Stack) -> None:
        self._stack = stack
        self._rng = random.Random(lab.rng.random())

    async def backend(self) -> int:
        """The process that serves the persister."""

        async def found() -> int | None:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                connection = await self._stack.database.connect()
                try:
                    pid: int | None = await connection.fetchval(
                        "select pid from pg_stat_activity where application_name = 'lockstep-persister'"
                    )
                    return pid
                finally:
                    await connection.close()
            return None

        return await until(found, what="the persister is connected") or 0

    async def stop_in_commit(self, pid: int, timeout: float) -> bool:
        """Freeze the backend, again and again, until it is frozen in COMMIT. False: it was not within `timeout` s."""
        deadline = asyncio.get_running_loop().time() + timeout
        while asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(self._rng.uniform(0.0, 0.01))
            os.kill(pid, signal.SIGSTOP)
            if _title(pid).endswith("COMMIT"):
                return True
            os.kill(pid, signal.SIGCONT)
        return False

    async def kill_all(self) -> None:
        """kill -9 for every process of the server at once: its shared memory, and what was not written, is gone.

        Until none is left: one that was just born when the others died would keep the next server from starting.
        """
        home = Path(f"/proc/{self._stack.postgres.process.pid}/cwd").readlink()

        def none_left() -> bool:
            living = list(_living_in(home))
            for pid in living:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not living

        await until(none_left, what="all processes of PostgreSQL are gone", every=0.01)


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def _living_in(home: Path) -> Iterable[int]:
    """The processes whose working directory this is."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if (folder / "cwd").readlink() == home:
                    yield int(folder.name)


async def _set(stack: Stack, **settings: int) -> None:
    """Change settings of the server while it runs."""
    connection = await stack.database.connect()
    try:
        for name, value in settings.items():
            await connection.execute(f"alter system set {name} = {value}")
        await connection.execute("select pg_reload_conf()")
    finally:
        await connection.close()


async def _positions(stack: Stack, epoch: int) -> dict[int, int]:
    connection = await stack.database.connect()
    try:
        async with asyncio.timeout(3):
            return await positions(connection, epoch)
    finally:
        connection.terminate()


@scenario(
    "postgres-in-commit",
    "every process of PostgreSQL killed -9 while it commits what the persister stores, 30 times",
    limit_s=420.0,
)
async def postgres_in_commit(lab: Lab) -> Outcome:
    """Whether the transaction is lost or stored, and the persister not told, the next one must be the right one."""
    stack = await lab.stack()
    generation = await current_generation(stack.kafka.bootstrap)
    server = _Server(lab, stack)
    persister = stack.processes["persister"]
    hits: Counter[str] = Counter()
    outcome = Outcome("")
    kills = lab.times(30, 3)
    async with lab.load(stack, people=6, channels=3, pause=(0.0, 0.02), alone=True) as load:
        async with changing(load.crowd) as changes:
            for number in range(kills):
                # A pause before the log is written; without it nearly every moment lies after that.
                await _set(stack, commit_delay=20_000 * (number % 2), commit_siblings=0)
                await load.acked(20)
                backend = await server.backend()
                committing = await server.stop_in_commit(backend, 5.0)
                persister.freeze()  # it writes nothing else until we have looked
                before = None
                with contextlib.suppress(
                    TimeoutError
                ):  # a backend frozen with a lock keeps others from looking
                    before = await _positions(stack, generation.epoch)
                await server.kill_all()
                await stack.postgres.process.wait()
                await stack.postgres.process.start(60.0)
                after = await _positions(stack, generation.epoch)
                if not committing:
                    hits[_OTHERWISE] += 1
                elif before is not None:
                    hits[_ROLLED_BACK if after == before else _COMMITTED] += 1
                persister.thaw()
                outcome.recovery_s.append(await _drained(stack, load))
        await changes.must_hold()
        await load.judged(outcome, messages=20 * kills)
    assert persister.running
    outcome.did = f"{kills} kills of all of PostgreSQL's processes"
    outcome.facts = {**hits, "changes": changes.made}
    missed = [name for name in (_ROLLED_BACK, _COMMITTED) if not hits[name]]
    assert lab.brief or not missed, f"no kill hit: {missed}; {dict(hits)}"
    return outcome
