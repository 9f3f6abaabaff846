"""The native stack as a whole: brought up in order, taken down, looked at.

Whatever a start started is stopped again when the start fails or is interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.local import leftovers, secrets, toolchain
from deploy.local.archive import with_archive
from deploy.local.errors import StackError
from deploy.local.health import unready
from deploy.local.kafka import KafkaServer
from deploy.local.place import Place
from deploy.local.ports import accepts, holder, is_free
from deploy.local.postgres import PostgresServer
from deploy.local.supervision import Program, State, Supervisor, without_ours
from deploy.local.toolchain import CLONE
from deploy.settings import (
    BOOTSTRAP,
    DATABASE_NAME,
    KAFKA,
    KAFKA_CONTROLLER,
    MINIMUM_DISK_MB,
    POSTGRES,
    Service,
)

SERVERS = ("kafka", "postgres")
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Part:
    """One line of `status`."""

    name: str
    state: State
    ready: bool
    address: str
    reason: str


class Stack:
    """The native stack in one place. `say` gets progress, line by line."""

    def __init__(self, place: Place, say: Say) -> None:
        self.place = place
        self.supervisor = Supervisor(place)
        self._say = say
        self._site = place.site()
        self.services = {service.name: service for service in self._site.services}
        self.names = (*SERVERS, *self.services)

    async def up(self, timeout: float = 120.0) -> bool:
        """Bring everything up and wait until all are ready; False when it was up already.

        Raises StackError, and then leaves nothing running that it started.
        """
        with self._alone():
            if self.supervisor.running():
                return await self._complete(timeout)
            self._check()
            chain = await asyncio.to_thread(lambda: with_archive(toolchain.prepare()))
            kafka, postgres = self._servers(chain)
            await asyncio.gather(asyncio.to_thread(kafka.prepare), asyncio.to_thread(postgres.prepare))
            async with self._all_or_nothing():
                self.supervisor.start(self._programs(kafka, postgres))
                self.place.remember()
                for name in SERVERS:
                    self.supervisor.start_program(name)
                await self._wait(SERVERS, timeout)
                await postgres.create_database(DATABASE_NAME)
                await self._bootstrap(timeout)
                await self._start_services(timeout)
            return True

    def down(self, patience: float = 60.0) -> bool:
        """Stop everything in an orderly way; False when nothing ran. Raises StackError when something stays."""
        with self._alone():
            return self._down(patience)

    async def parts(self) -> list[Part]:
        """What runs, and whether it is ready. Raises StackError when the stack is not running."""
        states = self.supervisor.states()

        async def look(name: str) -> Part:
            reason = await self._unready(name) if states[name].alive else "not running"
            return Part(name, states[name], reason is None, self.address(name), reason or "")

        return list(await asyncio.gather(*(look(name) for name in self.names)))

    async def start(self, names: list[str], timeout: float = 60.0) -> None:
        """Start these and wait until they are ready."""
        self._must_know(names)
        for name in names:
            self.supervisor.start_program(name)
        await self._wait(names, timeout)

    async def stop(self, names: list[str], timeout: float = 60.0) -> None:
        """Stop these in an orderly way and wait until they have ended; they stay stopped."""
        self._must_know(names)
        for name in names:
            self.supervisor.stop_program(name)
        deadline = time.monotonic() + timeout
        while still := [
            name for name in names if self.supervisor.states()[name].name in ("RUNNING", "STOPPING")
        ]:
            if time.monotonic() > deadline:
                raise StackError(f"{', '.join(still)} did not stop within {timeout:g} s.")
            await asyncio.sleep(0.1)

    def kill(self, names: list[str]) -> None:
        """kill -9; the supervisor starts them again by itself."""
        self._must_know(names)
        for name in names:
            self.supervisor.signal_program(name, "KILL")

    def address(self, name: str) -> str:
        """What a person uses to reach a part."""
        ports = self.place.ports
        if name == "kafka":
            return f"127.0.0.1:{ports[KAFKA.setting]}"
        if name == "postgres":
            return f"127.0.0.1:{ports[POSTGRES.setting]}"
        service = self.services[name]
        port = ports[service.listeners[0].setting]
        if service.is_node:
            return f"ws://127.0.0.1:{port}/v1/websocket"
        return f"http://127.0.0.1:{port}"

    def service(self, name: str) -> Service:
        """Raises StackError for a name that is none of its processes'."""
        if name not in self.services:
            raise StackError(f"no process is called {name}: {', '.join(self.services)}.")
        return self.services[name]

    def _must_know(self, names: Iterable[str]) -> None:
        if unknown := [name for name in names if name not in self.names]:
            raise StackError(f"nothing here is called {', '.join(unknown)}: {', '.join(self.names)}.")

    def _check(self) -> None:
        """Everything that can be known to be wrong before anything is started."""
        self.place.folder.mkdir(parents=True, exist_ok=True)
        if orphans := leftovers.find(self.place.folder):
            self._say(f"Ending {len(orphans)} processes of an earlier stack whose supervisor is gone ...")
            leftovers.end(orphans)
        free = shutil.disk_usage(self.place.folder).free // 1_000_000
        if free < MINIMUM_DISK_MB:
            raise StackError(
                f"only {free} MB are free where {self.place.folder} lies and {MINIMUM_DISK_MB} MB are needed: "
                "make room, or move the stack's data by setting LOCKSTEP_STACK_HOME."
            )
        for listener in self.place.listeners:
            port = self.place.ports[listener.setting]
            if not is_free(port):
                raise StackError(
                    f"port {port} is in use by {holder(port) or 'another process'}: stop that, or choose another "
                    f"port, for example: {listener.setting}={port + 1000} make up"
                )

    def _servers(self, chain: toolchain.Toolchain) -> tuple[KafkaServer, PostgresServer]:
        secrets.make(self.place.secrets)
        ports = self.place.ports
        password = secrets.read(self.place.secrets, "database_password")
        kafka = KafkaServer(chain, self.place.kafka, ports[KAFKA.setting], ports[KAFKA_CONTROLLER.setting])
        return kafka, PostgresServer(self.place.postgres / "data", ports[POSTGRES.setting], password)

    def _programs(self, kafka: KafkaServer, postgres: PostgresServer) -> list[Program]:
        return [
            Program("kafka", kafka.command(), stop_seconds=40, priority=10),
            Program("postgres", postgres.command(), stop_signal="INT", stop_seconds=40, priority=10),
            *(
                Program(service.name, [sys.executable, "-m", service.module], self.place.environment(service))
                for service in self.services.values()
            ),
        ]

    async def _bootstrap(self, timeout: float) -> None:
        begun = time.monotonic()
        log = self.supervisor.log_file("bootstrap")
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", BOOTSTRAP,
                env={**without_ours(os.environ), **self._site.common(), **self.place.extra},
                cwd=CLONE, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            status = await asyncio.wait_for(process.wait(), timeout)
        except TimeoutError as error:
            raise StackError(f"bootstrap took longer than {timeout:g} s; see {log}") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if status != 0:
            raise StackError(f"bootstrap failed: {_last_words(log)} (log: {log})")
        self._say(f"  {'bootstrap':<13} done   {time.monotonic() - begun:5.1f} s")

    async def _start_services(self, timeout: float) -> None:
        for name in self.services:
            self.supervisor.start_program(name)
        await self._wait(self.services, timeout)

    async def _wait(self, names: Iterable[str], timeout: float) -> None:
        """Until all are ready, telling each one that is. Raises StackError as soon as one has ended, or after
        `timeout` seconds."""
        begun = told = time.monotonic()
        waiting = dict.fromkeys(names, "not started")
        gone: dict[str, float] = {}
        while waiting:
            states = self.supervisor.states()
            for name in waiting:
                if states[name].alive:
                    gone.pop(name, None)
                # After a kill it may be seen between its end and its next start, for a second at most.
                elif (
                    states[name].name != "EXITED"
                    or time.monotonic() - gone.setdefault(name, time.monotonic()) > 2
                ):
                    log = self.supervisor.log_file(name)
                    raise StackError(f"{name} ended while starting: {_last_words(log)} (log: {log})")
            reasons = await asyncio.gather(*(self._unready(name) for name in waiting))
            waited = time.monotonic() - begun
            for name, reason in zip(list(waiting), reasons, strict=True):
                if reason is None:
                    self._say(f"  {name:<13} ready  {waited:5.1f} s  {self.address(name)}")
                    del waiting[name]
                else:
                    waiting[name] = reason
            summary = ", ".join(f"{name} ({reason})" for name, reason in waiting.items())
            if waiting and waited > timeout:
                raise StackError(f"not ready after {timeout:g} s: {summary} (logs: {self.place.logs})")
            if waiting and time.monotonic() - told > 10:
                told = time.monotonic()
                self._say(f"  ... after {waited:.0f} s still waiting for {summary}")
            await asyncio.sleep(0.2 if waiting else 0)

    async def _unready(self, name: str) -> str | None:
        """None when it is ready, else why not."""
        if name in SERVERS:
            return None if await self._server_ready(name) else "does not answer yet"
        port = self.place.ports[self.services[name].health.setting]
        return await unready(f"http://127.0.0.1:{port}/health/ready")

    async def _server_ready(self, name: str) -> bool:
        port = self.place.ports[(KAFKA if name == "kafka" else POSTGRES).setting]
        if not await accepts(port):
            return False
        kafka, postgres = self._servers(toolchain.Toolchain(Path(), Path()))
        ready: Callable[[], Awaitable[bool]] = kafka.ready if name == "kafka" else postgres.ready
        return await ready()

    async def _complete(self, timeout: float) -> bool:
        """The supervisor runs: start what does not."""
        missing = [name for name, state in self.supervisor.states().items() if not state.alive]
        for name in self.names:
            if name in missing:
                self.supervisor.start_program(name)
        await self._wait(missing, timeout)
        return bool(missing)

    @contextlib.asynccontextmanager
    async def _all_or_nothing(self) -> AsyncIterator[None]:
        try:
            yield
        except BaseException:
            self._say("Stopping what was started ...")
            self._down(30.0)
            raise

    def _down(self, patience: float) -> bool:
        if not self.supervisor.running():
            orphans = leftovers.find(self.place.folder)
            leftovers.end(orphans)
            return bool(orphans)
        pid = self.supervisor.pid()
        for name in self.services:  # all at once; shutdown alone would stop one after the other
            self.supervisor.stop_program(name)
        self.supervisor.shutdown()
        deadline = time.monotonic() + patience
        while leftovers.alive(pid):
            if time.monotonic() > deadline:
                leftovers.end(leftovers.find(self.place.folder), patience=1.0)
                raise StackError(f"the stack did not stop within {patience:g} s and was killed.")
            time.sleep(0.05)
        leftovers.end(leftovers.find(self.place.folder), patience=5.0)
        return True

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One `up`, `down` or `clean` at a time. Raises StackError."""
        self.place.folder.mkdir(parents=True, exist_ok=True)
        with (self.place.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StackError(
                    f"another command is starting or stopping the stack in {self.place.folder}."
                ) from error
            yield


def _last_words(log: Path) -> str:
    """The last line of a log, shortened."""
    try:
        lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return "it wrote no log"
    return lines[-1][:500] if lines else "it wrote nothing"
