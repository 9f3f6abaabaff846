"""Running the `lockstep` command as a person or a script would: a process of its own, pipes or a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from typer.testing import CliRunner

from client.cli.errors import CommandFailed
from client.cli.main import app
from client.errors import LockstepError
from tests.stack.lockstep import Stack
from tests.stack.waiting import PATIENCE_S, until

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]|\r")


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> list[Any]:
        """Each line of the output, read as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class Terminal:
    """A command on a terminal of 100 columns. `text`: all that it wrote, without control sequences."""

    process: asyncio.subprocess.Process
    master: int
    raw: bytearray = field(default_factory=bytearray)

    @property
    def text(self) -> str:
        return _CONTROL.sub("", self.raw.decode("utf-8", "replace"))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    async def shows(self, wanted: str, timeout: float = PATIENCE_S) -> None:
        """Wait until this has been written."""
        await until(
            lambda: wanted in self.text, timeout, what=f"{wanted!r} on the terminal: …{self.text[-600:]}"
        )


class Command:
    """The command with a configuration folder of its own. `stack`: the Lockstep at `url`, to wait for."""

    def __init__(self, home: Path, url: str, stack: Stack | None = None) -> None:
        self._stack = stack
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "LOCKSTEP_URL": url,
            "LC_ALL": "C.UTF-8",
            "TERM": "xterm",
            "COLUMNS": "100",
            "PYTHONPATH": os.getcwd(),
        }

    async def told(self) -> None:
        """Wait until everybody can know what was done by REST so far."""
        if self._stack is not None:
            await self._stack.told()

    async def stored(self) -> None:
        """Wait until what was said so far is in history."""
        if self._stack is not None:
            await self._stack.stored()

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "client.cli.main", *arguments]

    async def _spawn(self, arguments: tuple[str, ...]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._command(arguments),
            env=self.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def __call__(self, *arguments: str, stdin: str | bytes = "", timeout: float = 120.0) -> Result:
        process = await self._spawn(arguments)
        try:
            async with asyncio.timeout(timeout):
                out, err = await process.communicate(stdin.encode() if isinstance(stdin, str) else stdin)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        assert b"Traceback" not in err, err.decode()
        return Result(process.returncode, out.decode(), err.decode())

    async def at_last(self, words: str, *arguments: str) -> Result:
        """Run it until these words are in what it says: the servers hear of the news one after another."""
        result = Result(0, "", "")

        async def said() -> bool:
            nonlocal result
            result = await self(*arguments)
            return words in result.out + result.err

        await until(said, what=f"{words!r} in what {' '.join(arguments)} says", every=0.5)
        return result

    async def ok(self, *arguments: str, stdin: str = "") -> Result:
        """Run it; it must succeed."""
        result = await self(*arguments, stdin=stdin)
        assert result.code == 0, result
        return result

    @contextlib.asynccontextmanager
    async def piped(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Running, with pipes; killed at the end."""
        process = await self._spawn(arguments)
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    @contextlib.asynccontextmanager
    async def terminal(self, *arguments: str) -> AsyncIterator[Terminal]:
        """Running on a terminal; killed at the end."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        process = await asyncio.create_subprocess_exec(
            *self._command(arguments),
            env=self.environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        it = Terminal(process, master)
        loop = asyncio.get_running_loop()

        def readable() -> None:
            try:
                data = os.read(master, 65536)
            except OSError:  # the other side is closed
                data = b""
            if not data:
                loop.remove_reader(master)
            it.raw.extend(data)
            if b"\x1b[6n" in data:  # where is the cursor? as a terminal answers
                os.write(master, b"\x1b[1;1R")

        loop.add_reader(master, readable)
        try:
            yield it
        finally:
            loop.remove_reader(master)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            os.close(master)


class HereCommand(Command):
    """The same command inside of this process: for tests of many commands, of which each process would cost a second."""

    async def _spawn(self, arguments: tuple[str, ...]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._command(arguments),
            env=self.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def __call__(self, *arguments: str, stdin: str | bytes = "", timeout: float = 120.0) -> Result:
        def invoke() -> Result:
            done = CliRunner().invoke(app, arguments, input=stdin, env=self.environment, prog_name="lockstep")
            if done.exception is not None and not isinstance(
                done.exception, SystemExit | CommandFailed | LockstepError
            ):
                raise done.exception
            return Result(done.exit_code, done.stdout, done.stderr)

        async with asyncio.timeout(timeout):
            return await asyncio.to_thread(invoke)


async def _line_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        return (await process.stdout.readline()).decode()


async def next_line(process: asyncio.subprocess.Process) -> str:
    """The next one that is no answer to `hears`."""
    while "are you there?" in (line := await _line_of(process)):
        pass
    return line


async def hears(process: asyncio.subprocess.Process, say: Callable[[], Awaitable[object]]) -> None:
    """Say something until it comes out there: from then on nothing is missed."""
    first = asyncio.create_task(_line_of(process))
    while not first.done():
        await say()
        await asyncio.wait({first}, timeout=1.0)
    assert "are you there?" in await first
