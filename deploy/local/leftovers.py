"""Processes of a stack whose supervisor is gone (killed, or the machine's temporary folder was emptied)."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from deploy.local.place import MARK


def find(folder: Path) -> list[psutil.Process]:
    """Every process that carries this stack's mark, or is a server on its data (`setpriv` hides PostgreSQL's mark)."""
    found = []
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter():
        if process.pid in mine:
            continue
        try:
            arguments = process.cmdline()
            marked = process.environ().get(MARK) == str(folder)
        except psutil.Error:
            continue
        if marked or _is_server_of(arguments, f"{folder}{os.sep}"):
            found.append(process)
    return found


def _is_server_of(arguments: list[str], prefix: str) -> bool:
    program = Path(arguments[0]).name if arguments else ""
    return program in ("postgres", "java") and any(argument.startswith(prefix) for argument in arguments)


def end(processes: list[psutil.Process], patience: float = 15.0) -> None:
    """Ask them to stop, then kill what is left after `patience` seconds. The supervisors first: they would restart."""

    def rank(process: psutil.Process) -> int:
        try:
            return 0 if any("supervisord" in part for part in process.cmdline()) else 1
        except psutil.Error:
            return 1

    for process in sorted(processes, key=rank):
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(processes, timeout=patience)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=5)


def alive(pid: int) -> bool:
    """Whether a process exists that is more than a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
