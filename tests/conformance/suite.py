"""The Autobahn WebSocket test suite: finding a Python 2.7 for it, its environment, one run, the verdict on each case."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

REQUIREMENTS = Path(__file__).with_name("autobahn.txt")

VIRTUALENV = "virtualenv==16.7.12"
"""The last line of virtualenv that makes environments for 2.7 with what 2.7's own pip can install."""

PASSED = ("OK", "NON-STRICT", "INFORMATIONAL")
"""NON-STRICT: allowed by the RFC, though the suite would prefer otherwise."""


class CannotRun(Exception):
    """The suite cannot run here; the message says what is missing and how to get it."""


class Case(NamedTuple):
    """`number` such as 6.4.1; `passed` by behaviour and by how the connection was closed."""

    number: str
    passed: bool
    behavior: str
    close: str


def find_python27() -> str:
    """$AUTOBAHN_PYTHON27, else pyenv's, else the one of PATH. Raises CannotRun."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [os.environ.get("AUTOBAHN_PYTHON27")]
    candidates += [str(path) for path in sorted(pyenv.glob("versions/2.7*/bin/python2.7"), reverse=True)]
    candidates.append(shutil.which("python2.7"))
    for candidate in filter(None, candidates):
        with contextlib.suppress(OSError):
            if _quiet([candidate, "-c", "import sys, pip; assert sys.version_info[:2] == (2, 7)"]) == 0:
                return candidate
    raise CannotRun(
        "the Autobahn suite needs CPython 2.7 with pip, and none was found; "
        "`pyenv install 2.7.18` gives one, or name one in AUTOBAHN_PYTHON27"
    )


def environment(folder: Path) -> Path:
    """The path of `wstest`, in an environment under `folder` that is made once for each list of requirements.

    Raises CannotRun when it cannot be made; the log stays beside it.
    """
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + VIRTUALENV.encode()).hexdigest()[:12]
    home = folder / f"autobahn-{wanted}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            _make(find_python27(), home)
            (home / "complete").touch()
    return home / "env" / "bin" / "wstest"


def _make(python: str, home: Path) -> None:
    boot, env, log = home / "boot", home / "env", home / "install.log"
    steps: list[tuple[list[str], dict[str, str]]] = [
        ([python, "-m", "pip", "install", "--target", str(boot), VIRTUALENV], {}),
        ([python, "-m", "virtualenv", str(env)], {"PYTHONPATH": str(boot)}),
        ([str(env / "bin" / "pip"), "install", "--requirement", str(REQUIREMENTS)], {}),
    ]
    with log.open("wb") as output:
        for command, extra in steps:
            if subprocess.run(command, env=_clean(extra), stdout=output, stderr=output).returncode:
                raise CannotRun(f"`{' '.join(command)}` failed; see {log}")


def run(wstest: Path, url: str, cases: Sequence[str], excluded: Sequence[str], timeout: float) -> list[Case]:
    """Run the fuzzing client against an echo server at `url`. `cases` and `excluded` are patterns such as `6.*`.

    Raises CannotRun when it does not come to an end within `timeout` seconds or leaves no report.
    """
    with tempfile.TemporaryDirectory(prefix="autobahn-") as folder:
        reports = Path(folder) / "reports"
        spec = Path(folder) / "spec.json"
        spec.write_text(
            json.dumps(
                {
                    "outdir": str(reports),
                    "servers": [{"agent": "server", "url": url}],
                    "cases": list(cases),
                    "exclude-cases": list(excluded),
                    "exclude-agent-cases": {},
                }
            )
        )
        command = [str(wstest), "--mode", "fuzzingclient", "--spec", str(spec)]
        try:
            ended = subprocess.run(
                command, cwd=folder, env=_clean({}), capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired as error:
            raise CannotRun(f"the suite did not end within {timeout:g} s") from error
        index = reports / "index.json"
        if ended.returncode or not index.exists():
            raise CannotRun(
                f"the suite ended with {ended.returncode}: {(ended.stdout + ended.stderr)[-800:]}"
            )
        results: dict[str, dict[str, Any]] = json.loads(index.read_text())["server"]
    return [_judge(number, results[number]) for number in sorted(results, key=_by_number)]


def _judge(number: str, result: dict[str, Any]) -> Case:
    behavior, close = result["behavior"], result["behaviorClose"]
    # FAILED BY CLIENT: the suite's side had to close TCP first, which the RFC leaves to the server as a SHOULD.
    passed = behavior in PASSED and (behavior == "INFORMATIONAL" or close in (*PASSED, "FAILED BY CLIENT"))
    return Case(number, passed, behavior, close)


def _by_number(number: str) -> list[int]:
    return [int(part) for part in number.split(".")]


def _quiet(command: Sequence[str]) -> int:
    return subprocess.run(
        command, env=_clean({}), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ).returncode


def _clean(extra: dict[str, str]) -> dict[str, str]:
    """Our environment without what would lead Python 2.7 to packages of Python 3."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
    }
    return {**inherited, "PYTHONWARNINGS": "ignore", **extra}


@contextlib.contextmanager
def echo_server(python: str, max_message: int) -> Iterator[str]:
    """The address of a running `tests.conformance.echo`."""
    process = subprocess.Popen(
        [python, "-m", "tests.conformance.echo", "--max-message", str(max_message)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("listening on "):
            raise CannotRun("the echo server did not start")
        yield f"ws://127.0.0.1:{line.split()[-1]}"
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()
