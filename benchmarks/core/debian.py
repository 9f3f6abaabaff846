"""Programs of Debian's packages, unpacked into .lockstep/bench/debian: nothing of the system is changed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.core.native import CACHE, Unavailable


def unpacked(*packages: str, needing: str = "") -> Path:
    """The folder into which these packages are unpacked (`usr/sbin/...`), and with them those that they need whose names
    begin with `needing`, if it is given. Raises Unavailable, saying why."""
    folder = CACHE / "debian" / "-".join(packages)
    if folder.exists():
        return folder
    for tool in ("apt-get", "apt-cache", "dpkg"):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is not here: {', '.join(packages)} are taken from Debian's packages")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        needed = _needed(packages, needing) if needing else set()
        _run(["apt-get", "download", *packages, *sorted(needed)], Path(place))
        making = Path(place) / "files"
        for package in Path(place).glob("*.deb"):
            _run(["dpkg", "-x", package.name, making.name], Path(place))
        making.rename(folder)
    return folder


def _needed(packages: tuple[str, ...], prefix: str) -> set[str]:
    """What the packages depend on, and what that does in turn: the lines that are not indented."""
    optional = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
    flags = ["--recurse", *(f"--no-{each}" for each in optional)]
    lines = _run(["apt-cache", "depends", *flags, *packages], CACHE).splitlines()
    return {line for line in lines if line.startswith(prefix)}


def _run(command: list[str], place: Path) -> str:
    """What it printed."""
    try:
        said = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, timeout=120)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{' '.join(command)} took too long") from None
    if said.returncode:
        raise Unavailable(f"{' '.join(command)} failed: {(said.stderr or said.stdout).strip()[-300:]}")
    return said.stdout
