"""One operating system process that a test owns: it can be frozen, killed, restarted, and its log be read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import psutil

from deploy.local.health import unready
from tests.stack.waiting import PATIENCE_S, until

Ready = Callable[[], Awaitable[bool]]


class NotRunning(AssertionError):
    """A process ended while a test waited for it; the message ends with what it said last."""


class Process:
    """`command` with `environment` on top of the caller's (whose LOCKSTEP_ variables are left out).

    `ready` is a coroutine function, or the address of a /health/ready. Output goes to `log`, over restarts. The
    process ends with the test run, even when that is killed.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        ready: Ready | str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self.environment = dict(environment or {})
        self._ready = _http_ready(ready) if isinstance(ready, str) else ready
        self._stop_signal = stop_signal
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Raises NotRunning when it was never started."""
        if self._process is None:
            raise NotRunning(f"{self.name} was not started")
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs (or before the first start); negative after a signal."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def spawn(self) -> None:
        """Start it and return at once."""
        if self.running:
            raise RuntimeError(f"{self.name} runs already")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LOCKSTEP_")}
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                _dying_with_us(self.command),
                env={**inherited, "PYTHONUNBUFFERED": "1", **self.environment},
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    async def start(self, timeout: float = PATIENCE_S) -> None:
        """Start it and wait until it is ready."""
        self.spawn()
        await self.wait_ready(timeout)

    async def wait_ready(self, timeout: float = PATIENCE_S) -> None:
        """Raises NotRunning when it ends first, TimeoutError when it takes longer than `timeout` seconds."""
        if self._ready is None:
            return
        ready = self._ready

        async def answered() -> bool:
            if not self.running:
                raise NotRunning(
                    f"{self.name} ended with {self.returncode} instead of being ready:\n{self.tail()}"
                )
            return await ready()

        try:
            await until(answered, timeout, what=f"{self.name} is ready")
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it said:\n{self.tail()}") from error

    async def answers_ready(self) -> bool:
        """Whether it is ready at this moment."""
        return self.running and self._ready is not None and await self._ready()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the process and its children, SIGKILL unless told otherwise; does not wait."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def freeze(self) -> None:
        """SIGSTOP: it lives and does nothing. Returns once it does: a thread on another core stops a little later."""
        self.kill(signal.SIGSTOP)
        deadline = time.monotonic() + PATIENCE_S
        while self._is_moving():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} goes on {PATIENCE_S:g} s after SIGSTOP")
            time.sleep(0.001)

    def _is_moving(self) -> bool:
        assert self._process is not None
        states = []
        for task in Path(f"/proc/{self._process.pid}/task").glob("*/stat"):
            with contextlib.suppress(OSError):
                states.append(task.read_text().rpartition(")")[2].split()[0])
        return any(state not in "TtZX" for state in states)

    def thaw(self) -> None:
        self.kill(signal.SIGCONT)

    async def wait(self, timeout: float = PATIENCE_S) -> int:
        """Its exit status. Raises TimeoutError."""
        await until(lambda: not self.running, timeout, what=f"{self.name} ended")
        status = self.returncode
        assert status is not None
        return status

    async def stop(self, timeout: float = PATIENCE_S) -> int | None:
        """Ask it to stop in the orderly way and wait; its exit status. Killed (and TimeoutError) if it does not."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.send_signal(self._stop_signal)
            try:
                await self.wait(timeout)
            except TimeoutError:
                await self.destroy()
                raise
        return self._process.returncode

    async def destroy(self) -> None:
        """Kill it, whatever state it is in, and wait until it and the processes that it had started are gone."""
        children = self._children()
        self.kill()
        if self._process is not None:
            await self.wait()
        # PostgreSQL's find out by themselves that their server is dead, and until then a new one would not start.
        try:
            await until(lambda: not any(map(_lives, children)), 10.0)
        except TimeoutError:
            for child in filter(_lives, children):
                child.kill()
            await until(lambda: not any(map(_lives, children)), what=f"the processes of {self.name} are gone")

    def _children(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self.pid).children(recursive=True) if self.running else []
        return []

    async def crash(self) -> None:
        """kill -9 and wait until the system has cleaned up behind it."""
        await self.destroy()

    async def restart(self, timeout: float = PATIENCE_S) -> None:
        """Stop (orderly) if it runs, start, wait until ready."""
        await self.stop()
        await self.start(timeout)

    def tail(self, characters: int = 3000) -> str:
        """The end of its log."""
        return self.log.read_text("utf-8", "replace")[-characters:] if self.log.exists() else ""


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _dying_with_us(command: list[str]) -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig=KILL", "--", *command] if setpriv else command


def _http_ready(url: str) -> Ready:
    async def ready() -> bool:
        return await unready(url) is None

    return ready


async def gather_stopped(processes: Sequence[Process]) -> None:
    """End all of them at once, without ceremony."""
    for process in processes:
        process.kill()
    await asyncio.gather(*(process.destroy() for process in processes))
