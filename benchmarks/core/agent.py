"""A process that is told what to do by lines on its standard input, and answers each by a line of JSON."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import IO, Any, Self

from benchmarks.core.results import CLONE

ANSWER_S = 120.0
_LINE_BYTES = 64 * 1024 * 1024


class AgentFailed(Exception):
    """It ended or gave no answer; the message ends with what it said on standard error."""


class Agent:
    """`async with Agent(command) as agent`: runs as long as the block, and never longer than this process."""

    def __init__(self, *command: str) -> None:
        killer = shutil.which("setpriv")
        self._command = [killer, "--pdeathsig=KILL", "--", *command] if killer else list(command)
        self._process: asyncio.subprocess.Process | None = None
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, stderr=self._errors, cwd=CLONE, limit=_LINE_BYTES
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self.process
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        self._errors.close()

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        """`setpriv` executes the command in its own place: the number is the program's."""
        return self.process.pid

    async def hear(self, timeout: float = ANSWER_S) -> dict[str, Any]:
        """Its next line. Raises AgentFailed."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(timeout):
                line = await self.process.stdout.readline()
        except TimeoutError:
            raise AgentFailed(f"{self._name}: no answer within {timeout:g} s") from None
        if not line:
            self._errors.seek(0)
            said = self._errors.read().decode("utf-8", "replace")
            raise AgentFailed(f"{self._name} ended: {said[-2000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise AgentFailed(f"{self._name}: {answer['error']}")
        assert isinstance(answer, dict)
        return answer

    async def ask(self, command: str, timeout: float = ANSWER_S) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n".encode())
        return await self.hear(timeout)

    async def do(self, command: str, **options: Any) -> dict[str, Any]:
        """For programs of `obey`."""
        return await self.ask(json.dumps({"do": command, **options}))

    @property
    def _name(self) -> str:
        return " ".join(word for word in self._command[-6:] if len(word) < 80)


def python(module: str, *words: str) -> Agent:
    """A module of this project as an agent."""
    return Agent(sys.executable, "-m", module, *words)


Handler = Callable[..., Awaitable[Mapping[str, Any]]]


async def obey(handlers: Mapping[str, Handler], hello: Mapping[str, Any] | None = None) -> None:
    """The other side: read `{"do": name, ...}` lines, call the handler, print what it gives, until the input ends."""
    reader = asyncio.StreamReader(limit=_LINE_BYTES)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    if hello is not None:
        print(json.dumps(hello), flush=True)
    while line := await reader.readline():
        command = json.loads(line)
        print(json.dumps(await handlers[command.pop("do")](**command)), flush=True)
