"""supervisord (the kept library `supervisor`) as the parent of every process of the native stack.

It restarts what crashes, rotates logs, and is asked over a Unix socket. It decides no order: `deploy.local.stack`
starts one thing after the other.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from deploy.local.errors import StackError
from deploy.local.place import MARK, Place
from deploy.local.toolchain import CLONE
from services.runtime.process import EXIT_FATAL, EXIT_SETTINGS

LONGEST_SOCKET = 95
"""Of the 107 bytes that a Unix socket's path may have, supervisord appends its pid to some."""

LOG_BYTES = 10_000_000
LOG_BACKUPS = 3
OPEN_FILES = 65_536


@dataclass(frozen=True, slots=True)
class Program:
    """One process as supervisord keeps it. It stops programs in the reverse order of `priority`."""

    name: str
    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = "TERM"
    stop_seconds: int = 20
    priority: int = 20


@dataclass(frozen=True, slots=True)
class State:
    """What supervisord knows of a program: `name` is its word (RUNNING, STOPPED, BACKOFF, FATAL, EXITED ...)."""

    name: str
    pid: int
    exit_status: int
    uptime: int

    @property
    def alive(self) -> bool:
        return self.name in ("RUNNING", "STARTING")


class Supervisor:
    """The supervisord of one place, running or not."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.socket = _socket_path(place.run)

    def log_file(self, name: str) -> Path:
        return self._place.logs / f"{name}.log"

    def start(self, programs: Iterable[Program]) -> None:
        """Start supervisord itself; it starts none of the programs. Raises StackError."""
        self._place.run.mkdir(parents=True, exist_ok=True)
        self._place.logs.mkdir(parents=True, exist_ok=True)
        self.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        self._configuration.write_text(self._render(programs), "utf-8")
        outcome = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._configuration)],
            env={**without_ours(os.environ), MARK: str(self._place.folder), "PYTHONUNBUFFERED": "1"},
            cwd=CLONE,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if outcome.returncode != 0:
            said = (outcome.stderr or outcome.stdout).strip().splitlines()
            error = next(
                (line for line in said if line.startswith("Error")), said[-1] if said else "it said nothing"
            )
            raise StackError(f"the supervisor did not start: {error}")
        deadline = time.monotonic() + 15
        while not self.running():
            if time.monotonic() > deadline:
                raise StackError(f"the supervisor does not answer; see {self._place.logs}/supervisord.log")
            time.sleep(0.05)

    def running(self) -> bool:
        """Whether supervisord answers."""
        try:
            self._ask("getState")
        except (OSError, http.client.HTTPException):
            return False
        return True

    def states(self) -> dict[str, State]:
        """Every program by name. Raises StackError when supervisord does not answer."""
        return {
            info["name"]: State(
                info["statename"], info["pid"], info["exitstatus"], info["now"] - info["start"]
            )
            for info in self._call("getAllProcessInfo")
        }

    def start_program(self, name: str) -> None:
        """Ask for it to be started, unless it runs."""
        try:
            self._call("startProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if "ALREADY_STARTED" not in fault.faultString:
                raise StackError(f"{name} could not be started: {fault.faultString}") from fault

    def stop_program(self, name: str) -> None:
        """Ask for it to be stopped in its orderly way, unless it does not run; does not wait."""
        try:
            self._call("stopProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if "NOT_RUNNING" not in fault.faultString:
                raise StackError(f"{name} could not be stopped: {fault.faultString}") from fault

    def signal_program(self, name: str, signal: str) -> None:
        """Send it a signal (`KILL`, `STOP`, `CONT`)."""
        try:
            self._call("signalProcess", name, signal)
        except xmlrpc.client.Fault as fault:
            raise StackError(f"{name} could not be sent SIG{signal}: {fault.faultString}") from fault

    def shutdown(self) -> None:
        """Ask supervisord to stop everything and end; does not wait."""
        self._call("shutdown")

    def pid(self) -> int:
        return int(self._call("getPID"))

    @property
    def _configuration(self) -> Path:
        return self._place.run / "supervisord.conf"

    def _ask(self, method: str, *arguments: Any) -> Any:
        proxy = xmlrpc.client.ServerProxy(
            "http://127.0.0.1", transport=SupervisorTransport(None, None, f"unix://{self.socket}")
        )
        with proxy:
            return getattr(proxy.supervisor, method)(*arguments)

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return self._ask(method, *arguments)
        except (OSError, http.client.HTTPException) as error:
            raise StackError("the stack is not running (`make up` starts it).") from error

    def _render(self, programs: Iterable[Program]) -> str:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        files = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
        user = "user=root\n" if os.geteuid() == 0 else ""  # else it warns that it did not drop privileges
        sections = [
            f"[unix_http_server]\nfile={_escape(str(self.socket))}\nchmod=0600\n",
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n",
            "[supervisord]\n"
            f"logfile={_escape(str(self._place.logs / 'supervisord.log'))}\n"
            f"logfile_maxbytes={LOG_BYTES}\nlogfile_backups={LOG_BACKUPS}\n"
            f"pidfile={_escape(str(self._place.run / 'supervisord.pid'))}\n"
            f"childlogdir={_escape(str(self._place.logs))}\n"
            f"directory={_escape(str(CLONE))}\numask=077\n{user}minfds={files}\nminprocs=1\n",
            *(self._section(program) for program in programs),
        ]
        return "\n".join(sections)

    def _section(self, program: Program) -> str:
        environment = ",".join(f"{name}='{value}'" for name, value in program.environment.items())
        return (
            f"[program:{program.name}]\n"
            f"command={_escape(shlex.join(program.command))}\n"
            f"environment={_escape(environment)}\n"
            f"directory={_escape(str(CLONE))}\n"
            f"stdout_logfile={_escape(str(self.log_file(program.name)))}\n"
            f"redirect_stderr=true\nstdout_logfile_maxbytes={LOG_BYTES}\nstdout_logfile_backups={LOG_BACKUPS}\n"
            f"stopsignal={program.stop_signal}\nstopwaitsecs={program.stop_seconds}\nkillasgroup=true\n"
            # What stopped on purpose stays stopped; what crashed comes back; what crashes at once gives up in the end.
            f"autostart=false\nautorestart=unexpected\nexitcodes=0,{EXIT_FATAL},{EXIT_SETTINGS}\n"
            f"startsecs=1\nstartretries=8\npriority={program.priority}\n"
        )


def without_ours(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without LOCKSTEP_ variables: a process gets those from its place alone."""
    return {name: value for name, value in environment.items() if not name.startswith("LOCKSTEP_")}


def _escape(value: str) -> str:
    return value.replace("%", "%%")


def _socket_path(run: Path) -> Path:
    path = run / "supervisor.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET:
        return path
    name = hashlib.sha256(os.fsencode(run)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"lockstep-{os.getuid()}" / f"{name}.sock"
