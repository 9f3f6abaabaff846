"""docs/client.md and docs/guide.md say what is: every example on them is run, in the order of the page; the answers that
the guide shows are what is answered."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.stack.lockstep import Stack
from tests.system.client import guide
from tests.system.client.command import Command

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "client.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
GUIDE = guide.blocks((ROOT / "docs" / "guide.md").read_text("utf-8"))
PASSWORD = "analytical engine no. 1"
SLUG = "acme-of-the-docs"


def test_there_is_something_to_run() -> None:
    languages = [language for language, _ in BLOCKS]
    assert set(languages) == {"console", "python"}
    assert languages.count("python") >= 4


async def test_the_examples_work(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "password.txt").write_text(PASSWORD, "utf-8")
    shim = tmp_path / "bin" / "lockstep"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m client.cli.main "$@"\n', "utf-8")
    shim.chmod(0o755)
    environment = {
        **Command(tmp_path, stack.web_url).environment,
        "PATH": f"{shim.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    for number, (language, block) in enumerate(BLOCKS):
        block = block.replace("http://127.0.0.1:8000", stack.web_url)
        if language == "python":
            script = tmp_path / f"example-{number}.py"
            script.write_text(block.replace('workspace_slug="acme"', f'workspace_slug="{SLUG}"'), "utf-8")
            commands = [f"{shlex.quote(sys.executable)} {script.name}"]
        else:
            commands = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
            commands = [line.replace("-w acme ", f"-w {SLUG} ") for line in commands]
        for command in commands:
            await succeed(command, environment, tmp_path)
            await stack.told()


def test_the_guide_tells_its_story_twice() -> None:
    languages = [block.language for block in GUIDE]
    assert languages.count("sh") >= 15
    assert languages.count("python") >= 15
    assert sum(1 for block in GUIDE if block.answer) >= 30


async def test_the_guide_in_the_shell(stack: Stack, tmp_path: Path) -> None:
    told = [block for block in GUIDE if block.language == "sh"]
    printed = await guide.run_shell([_here(stack, block.code) for block in told], tmp_path)
    for block, answer in zip(told, printed, strict=True):
        assert guide.values(answer) == guide.values(block.answer), f"{block.code}\n{answer}"


async def test_the_guide_in_python(stack: Stack) -> None:
    told = [block for block in GUIDE if block.language == "python"]
    printed = await guide.run_python([_here(stack, block.code) for block in told])
    for block, answer in zip(told, printed, strict=True):
        assert guide.plain_text(answer) == guide.plain_text(block.answer), f"{block.code}\n{answer}"


def test_an_answer_that_says_something_else_is_found() -> None:
    real = '{"seq": 4, "id": "ch_0199d2a1c0007abc9def0123456789ab", "at": 1795393563227, "token": "a"}'
    shown = '{"seq": 4, "id": "ch_0199d2a1c0007abc9def000000000000", "at": 1700000000000, "token": "b…"}'
    assert guide.values(real) == guide.values(shown)
    for changed in (
        shown.replace("4", "5", 1),
        shown.replace("ch_", "ws_"),
        shown.replace('"at"', '"on"'),
        "",
    ):
        assert guide.values(changed) != guide.values(real)


def _here(stack: Stack, code: str) -> str:
    return code.replace("http://127.0.0.1:8000", stack.web_url)


async def succeed(command: str, environment: dict[str, str], folder: Path) -> None:
    process = await asyncio.create_subprocess_shell(
        command,
        env=environment,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(240):
            out, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        pytest.fail(f"no end: {command}")
    assert process.returncode == 0, f"{command}\n{out.decode()}"
    assert out or command.endswith(".py"), f"{command} said nothing"
