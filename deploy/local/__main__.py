"""`python -m deploy.local`: the native stack's command, behind `make up` and its like."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.local import place as places
from deploy.local import toolchain
from deploy.local.archive import with_archive
from deploy.local.errors import StackError
from deploy.local.stack import Stack
from deploy.local.supervision import without_ours
from deploy.local.toolchain import CLONE


def main(arguments: list[str] | None = None) -> int:
    """Run one command; gives the exit status (1 and one sentence on stderr when it could not be done)."""
    options = _parser().parse_args(arguments)
    try:
        return asyncio.run(_run(options))
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read this has read enough (make status | head)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local", description="The native stack on this machine."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start everything and wait until it is ready")
    commands.add_parser("down", help="stop everything; data stay")
    commands.add_parser("status", help="what runs, and whether it is ready")
    logs = commands.add_parser("logs", help="show the end of the logs and follow them")
    logs.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    logs.add_argument("-n", "--lines", type=int, default=20)
    logs.add_argument("--no-follow", action="store_true")
    clean = commands.add_parser("clean", help="stop, and remove data, logs and secrets")
    clean.add_argument("--yes", action="store_true", help="do not ask")
    commands.add_parser("fetch", help="only find or fetch Java and Kafka's jars")
    run = commands.add_parser("exec", help="run a command with the environment of one process")
    run.add_argument("name", metavar="NAME")
    run.add_argument("arguments", nargs=argparse.REMAINDER, metavar="COMMAND")
    for command, what in (
        ("start", "start these and wait until they are ready"),
        ("stop", "stop these; they stay stopped"),
        ("restart", "stop and start these"),
        ("kill", "kill -9 these; the supervisor starts them again"),
    ):
        named = commands.add_parser(command, help=what)
        named.add_argument("names", nargs="+", metavar="NAME", help="as in `status`")
    return parser


async def _run(options: argparse.Namespace) -> int:
    match options.command:
        case "up":
            return await _up()
        case "fetch":
            with_archive(toolchain.prepare())
            return 0
        case "clean":
            return _clean(options.yes)
        case "logs":
            return _logs(options.names, options.lines, not options.no_follow)
    stack = Stack(places.remembered() or places.requested(), _say)
    match options.command:
        case "down":
            print("stopped; data are kept" if stack.down() else "nothing was running")
        case "status":
            return await _status(stack)
        case "start":
            await stack.start(options.names)
        case "stop":
            await stack.stop(options.names)
        case "restart":
            await stack.stop(options.names)
            await stack.start(options.names)
        case "exec":
            return _exec(stack, options.name, options.arguments)
        case "kill":
            stack.kill(options.names)
            print("killed; the supervisor starts it again")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


async def _up() -> int:
    wanted = places.requested()
    before = places.remembered()
    running = before is not None and Stack(before, _say).supervisor.running()
    if running and before is not None and before.nodes != wanted.nodes:
        raise StackError(
            f"the stack runs already with {before.nodes} nodes, not {wanted.nodes}: `make down` first, or "
            f"`make up NODES={before.nodes}`."
        )
    if running and before is not None and before.ports != wanted.ports:
        moved = next(name for name in wanted.ports if before.ports.get(name) != wanted.ports[name])
        raise StackError(f"the stack runs already with {moved}={before.ports.get(moved)}: `make down` first.")
    stack = Stack(before if running and before is not None else wanted, _say)
    if not running:
        _say("Starting Lockstep on this machine (without containers) ...")
    started = await stack.up()
    _say(_welcome(stack) if started else f"Lockstep is already up.\n{_welcome(stack)}")
    return 0


def _welcome(stack: Stack) -> str:
    web = stack.address("web_app")
    command = _lockstep()
    server = "" if web == "http://127.0.0.1:8000" else f" --url {web}"
    nodes = "\n".join(
        f"  WebSocket       {stack.address(each.name)}   ({each.name})"
        for each in stack.services.values()
        if each.is_node
    )
    return f"""
Lockstep is ready.
  REST            {web}   (documentation: {web}/docs)
{nodes}
  PostgreSQL      {stack.address("postgres")}   database and user lockstep, password in {stack.place.secrets}/database_password
  Kafka           {stack.address("kafka")}
  logs            {stack.place.logs}

Next:
  {command}{server} signup      make a workspace and yourself
  {command}{server} chat general        talk
  make demo                     20 people, a crash in the middle, and the proof that nothing was lost
  make test                     every test, beside this stack
  make status, make logs, make down
"""


def _lockstep() -> str:
    """How the client's command is typed here."""
    found = shutil.which("lockstep")
    inside = Path(sys.executable).parent / "lockstep"
    if found and Path(found) == inside:
        return "lockstep"
    try:
        return str(inside.relative_to(Path.cwd()))
    except ValueError:
        return str(inside)


async def _status(stack: Stack) -> int:
    parts = await stack.parts()
    for part in parts:
        state = "ready" if part.ready else part.state.name.lower()
        since = f"{part.state.uptime} s" if part.state.alive else ""
        print(
            f"{part.name:<13} {state:<9} pid {part.state.pid or '-':<8} {since:>8}  {part.address}  {part.reason}"
        )
    return 0 if all(part.ready for part in parts) else 1


def _logs(names: list[str], lines: int, follow: bool) -> int:
    folder = places.folder() / "logs"
    files = [folder / f"{name}.log" for name in names] or sorted(folder.glob("*.log"))
    there = sorted(file.stem for file in folder.glob("*.log"))
    missing = [str(file) for file in files if not file.exists()]
    if missing or not files:
        raise StackError(f"no such log: {', '.join(missing) or folder} (there are: {', '.join(there)}).")
    sys.stdout.flush()
    command = ["tail", f"--lines={lines}", *(["-F"] if follow else []), *map(str, files)]
    try:
        return subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return 0


def _exec(stack: Stack, name: str, arguments: list[str]) -> int:
    """For an operator's own commands: `exec web_app python -m web_app keys list`."""
    command = arguments[1:] if arguments[:1] == ["--"] else arguments
    if not command:
        raise StackError(f"which command? For example: exec {name} python -m services.database current")
    if command[0] == "python":
        command[0] = sys.executable
    environment = {**without_ours(os.environ), **stack.place.environment(stack.service(name))}
    try:
        return subprocess.run(command, env=environment, check=False).returncode
    except OSError as error:
        raise StackError(f"{command[0]}: {error.strerror}") from error


def _clean(sure: bool) -> int:
    stack = Stack(places.remembered() or places.requested(), _say)
    doomed = [
        path
        for path in (getattr(stack.place, name) for name in ("kafka", "postgres", "secrets", "logs", "run"))
        if path.exists()
    ]
    if not doomed:
        print("nothing to remove")
        return 0
    print("This stops the stack and removes all its data for ever:")
    for path in doomed:
        print(f"  {path}")
    print(f"Kept: the downloads in {CLONE / '.lockstep'} and .venv.")
    if not sure:
        if not sys.stdin.isatty():
            raise StackError("nobody is there to ask: run `make clean YES=1`.")
        if input("Remove? [y/N] ").strip().lower() not in ("y", "yes"):
            print("kept")
            return 1
    stack.down()
    for path in doomed:
        shutil.rmtree(path)
    print("removed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
