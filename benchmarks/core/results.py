"""Results: rows with figures, the machine they were measured on, kept as JSON."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import msgspec
import psutil

from benchmarks.core.figures import Figure, spell

CLONE = Path(__file__).resolve().parents[2]
KEPT = CLONE / "benchmarks" / "results"
BRIEF = CLONE / ".lockstep" / "bench" / "brief"
"""Where brief runs put theirs: they show that a benchmark works, not how fast anything is."""


class Target(msgspec.Struct, frozen=True):
    """What is wanted of one figure of a row (`figure` names it: "ratio", "subject", or one of `also`)."""

    figure: str
    bound: Literal["<=", ">="]
    value: float
    words: str

    def met(self, figure: Figure) -> bool:
        return figure.median <= self.value if self.bound == "<=" else figure.median >= self.value


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table.

    what        is measured, with its conditions
    against     what the floor is; empty without one
    subject     the product's figure; `floor` the other's; `ratio` of them, round by round
    also        further figures by name
    note        a sentence of context for the reader
    """

    what: str
    subject: Figure
    against: str = ""
    floor: Figure | None = None
    ratio: Figure | None = None
    targets: tuple[Target, ...] = ()
    also: dict[str, Figure] = {}
    note: str = ""

    def figure(self, name: str) -> Figure:
        found = {"subject": self.subject, "floor": self.floor, "ratio": self.ratio, **self.also}[name]
        assert found is not None, f"{self.what} has no {name}"
        return found


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Cost against size: for each name of a line, a figure for each x."""

    title: str
    x: str
    y: str
    points: tuple[float, ...]
    lines: dict[str, tuple[Figure, ...]]
    logarithmic: bool = True


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one benchmark gave. `skipped` says why, when it could not be run, or which part of it could not."""

    benchmark: str
    title: str
    rows: tuple[Row, ...] = ()
    curves: tuple[Curve, ...] = ()
    skipped: str = ""
    brief: bool = False
    seconds: float = 0.0
    at: str = ""
    commit: str = ""
    machine: dict[str, str] = {}


def machine() -> dict[str, str]:
    """Facts that a figure means nothing without."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("aiokafka", "picows", "uvloop", "msgspec", "asyncpg", "fastapi")},
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def commit() -> str:
    """The commit measured; with `+` when files differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=CLONE, capture_output=True, text=True, check=False
        ).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/results", ":!docs")
    return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")


def save(result: Result) -> Path:
    folder = BRIEF if result.brief else KEPT
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.benchmark}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    return path


def load(folder: Path = KEPT) -> dict[str, Result]:
    """All that was kept, by benchmark."""
    found = [msgspec.json.decode(path.read_bytes(), type=Result) for path in sorted(folder.glob("*.json"))]
    return {result.benchmark: result for result in found}


def stamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def lines(row: Row) -> list[str]:
    """How a row is printed."""
    said = [row.what, f"    measured  {row.subject}"]
    if row.floor is not None:
        said.append(f"    floor     {row.floor}   {row.against}")
    if row.ratio is not None:
        said.append(f"    ratio     {row.ratio}")
    said += [f"    {name:<28} {figure}" for name, figure in row.also.items()]
    for target in row.targets:
        verdict = "met" if target.met(row.figure(target.figure)) else "MISSED"
        found = spell(row.figure(target.figure).median)
        said.append(f"    target    {target.words}: {found}, {verdict}")
    if row.note:
        said.append(f"    {row.note}")
    return said


def curve_lines(curve: Curve) -> list[str]:
    """How a curve is printed."""
    said = [f"{curve.title}: {curve.y}"]
    for place, point in enumerate(curve.points):
        figures = "; ".join(f"{name} {figures[place]}" for name, figures in curve.lines.items())
        said.append(f"    {spell(point):>8} {curve.x:<28} {figures}")
    return said
