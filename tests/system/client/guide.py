"""Running a page that tells a story: its shell blocks as one script, its Python blocks as one session, each with its answer.

A block's answer is the `json` (shell) or `text` (Python) block right behind it; a block without one says nothing.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

_BLOCK: Final = re.compile(r"^```([a-z ]+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_ANSWERS: Final = {"sh": "json", "python": "text"}
_MARK: Final = "-- end of block --"
_WITHIN_S: Final = 240.0

_SECRET: Final = frozenset(
    {"access_token", "refresh_token", "token", "link", "directory_at", "slug", "first_heartbeat_ms", "nodes", "request_id"}
)  # fmt: skip
_MILLISECONDS: Final = 10**11
_NAMES: Final = (
    (re.compile(r"\b(ws|usr|ch|ses|inv|grp)_[0-9a-f]{32}\b"), r"\1_…"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "<id>"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)"), "<time>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "<address>"),
)


class Block(NamedTuple):
    """`answer`: what must come of it."""

    language: str
    code: str
    answer: str


def blocks(page: str) -> list[Block]:
    """The blocks that are to be run."""
    found = _BLOCK.findall(page)
    told = []
    for (language, code), (follower, answer) in zip(found, [*found[1:], ("", "")], strict=True):
        if language in _ANSWERS:
            told.append(Block(language, code, answer if follower == _ANSWERS[language] else ""))
    return told


async def run_shell(codes: list[str], folder: Path) -> list[str]:
    """Run them as one script, in `folder`; gives what each has printed. Fails at the first command that fails."""
    script = "set -euo pipefail\n" + "".join(f"{code}\necho '{_MARK}'\n" for code in codes)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        script,
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_WITHIN_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    printed = out.decode().split(_MARK + "\n")
    if process.returncode != 0:
        pytest.fail(f"block {len(printed) - 1} of the shell failed:\n{printed[-1]}{err.decode()}")
    return printed[:-1]


async def run_python(codes: list[str]) -> list[str]:
    """Run them one after another as `python -m asyncio` does; gives what each has printed."""
    names: dict[str, object] = {}
    printed = []
    async with asyncio.timeout(_WITHIN_S):
        for number, code in enumerate(codes):
            work = compile(code, f"block {number}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            screen = io.StringIO()
            with contextlib.redirect_stdout(screen):
                begun = eval(work, names)
                if begun is not None:
                    await begun
            printed.append(screen.getvalue())
    return printed


def values(text: str) -> list[Any]:
    """The JSON values in it, without what is different in each run."""
    return [_plain(value) for value in _decoded(text)]


def plain_text(text: str) -> str:
    """Text without what is different in each run."""
    for pattern, instead in _NAMES:
        text = pattern.sub(instead, text)
    return text


def _decoded(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    rest = text.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        yield value
        rest = rest[end:].lstrip()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            plain_text(key): "…" if key in _SECRET and each is not None else _plain(each)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, int) and value > _MILLISECONDS:
        return "<ms>"
    return value
