"""The C programs: compiled once for each text of theirs, into .lockstep/bench."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from benchmarks.core.results import CLONE

SOURCES = CLONE / "benchmarks" / "native"
CACHE = CLONE / ".lockstep" / "bench"


class Unavailable(Exception):
    """Something that a benchmark is measured with or against cannot be had here; the message says what."""


def compiled(name: str) -> Path:
    """The program of benchmarks/native/<name>.c. Raises Unavailable without a C compiler."""
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        raise Unavailable(
            "no C compiler: install one (Debian: apt-get install gcc libc6-dev) or name it in CC"
        )
    source = SOURCES / f"{name}.c"
    texts = b"".join(part.read_bytes() for part in [*sorted(SOURCES.glob("*.h")), source])
    program = CACHE / f"{name}-{hashlib.sha256(texts).hexdigest()[:12]}"
    if not program.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        making = program.with_suffix(f".{os.getpid()}")
        command = [compiler, "-O2", "-Wall", "-o", str(making), str(source)]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        if said.returncode:
            raise Unavailable(f"{compiler} could not compile {source.name}: {said.stderr.strip()[:500]}")
        making.rename(program)
    return program
