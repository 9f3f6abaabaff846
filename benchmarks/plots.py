"""Plots from the kept results: `python -m benchmarks.plots` draws docs/performance/*.svg. Needs matplotlib
(requirements/bench.txt)."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas

from benchmarks.core.results import CLONE, Curve, Result, load

FOLDER = CLONE / "docs" / "performance"


def bars(result: Result, path: Path) -> None:
    """Every row with a floor: the median of the ratio, with its spread, and the target."""
    rows = [row for row in result.rows if row.ratio is not None]
    if not rows:
        return
    figure = Canvas(figsize=(8, 0.6 + 0.55 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(reversed(rows)):
        ratio = row.ratio
        assert ratio is not None
        axes.barh(place, ratio.median, color="#4878a8", height=0.6)
        axes.errorbar(
            ratio.median,
            place,
            xerr=[[ratio.median - ratio.low], [ratio.high - ratio.median]],
            color="#222222",
            capsize=3,
        )
        for target in row.targets:
            if target.figure == "ratio":
                axes.plot([target.value] * 2, [place - 0.4, place + 0.4], color="#c03030", linewidth=2)
    axes.axvline(1, color="#888888", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(rows)), [row.what for row in reversed(rows)], fontsize=7)
    axes.set_xlabel("times the floor (red: target)")
    axes.set_title(result.title, fontsize=9)
    figure.savefig(path, metadata={"Date": None})


def curve(drawn: Curve, path: Path) -> None:
    figure = Canvas(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, figures in drawn.lines.items():
        medians = [each.median for each in figures]
        below = [each.median - each.low for each in figures]
        above = [each.high - each.median for each in figures]
        axes.errorbar(drawn.points, medians, yerr=[below, above], marker="o", capsize=3, label=name)
    if drawn.logarithmic:
        axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(drawn.x)
    axes.set_ylabel(drawn.y)
    axes.set_title(drawn.title, fontsize=9)
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


def draw(results: dict[str, Result], folder: Path = FOLDER) -> list[Path]:
    """One file for the ratios of each benchmark, one for each of its curves."""
    mpl.rcParams["svg.hashsalt"] = "lockstep"
    folder.mkdir(parents=True, exist_ok=True)
    drawn: list[Path] = []
    for name, result in results.items():
        if any(row.ratio is not None for row in result.rows):
            drawn.append(folder / f"{name}.svg")
            bars(result, drawn[-1])
        for number, each in enumerate(result.curves, 1):
            drawn.append(folder / f"{name}-{number}.svg")
            curve(each, drawn[-1])
    return drawn


if __name__ == "__main__":
    for path in draw(load()):
        print(path.relative_to(CLONE))
