"""Programs of Debian's packages, unpacked into .lockstep/bench/debian: nothing of the system is changed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.core.native import CACHE, Unavailable


def unpacked(*packages: str) -> Path:
    """The folder into which these packages are unpacked (`usr/sbin/...`). Raises Unavailable, saying why."""
    folder = CACHE / "debian" / "-".join(packages)
    if folder.exists():
        return folder
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is not here: {', '.join(packages)} are taken from Debian's packages")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        _run(["apt-get", "download", *packages], Path(place))
        making = Path(place) / "files"
        for package in Path(place).glob("*.deb"):
            _run(["dpkg", "-x", package.name, making.name], Path(place))
        making.rename(folder)
    return folder


def _run(command: list[str], place: Path) -> None:
    try:
        said = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, timeout=120)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{' '.join(command)} took too long") from None
    if said.returncode:
        raise Unavailable(f"{' '.join(command)} failed: {(said.stderr or said.stdout).strip()[-300:]}")
