"""Figures into docs/performance.md: `python -m benchmarks.document` writes its tables anew from benchmarks/results.

No figure in that page is typed: what stands between `<!-- figures NAME -->` and `<!-- end -->` is made here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

from benchmarks.core.figures import Figure, spell
from benchmarks.core.results import CLONE, Result, Row, load
from benchmarks.rows.catalogue import BENCHMARKS

PAGE = CLONE / "docs" / "performance.md"

_PLACE = re.compile(r"(<!-- figures (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(results: dict[str, Result]) -> str:
    """One line for each row: what, measured, floor, ratio, target, met or missed."""
    lines = [
        "| what | measured | floor | ratio | target | |",
        "|---|---|---|---|---|---|",
    ]
    for name, module in BENCHMARKS.items():
        if name in ("breakdown", "curves"):
            continue
        result = results.get(name)
        if result is None:
            lines.append(f"| {module.TITLE} | not measured yet | | | | |")
            continue
        if result.skipped:
            lines.append(f"| {module.TITLE} | skipped: {result.skipped} | | | | |")
        lines += [line for row in result.rows for line in _lines(row)]
    return "\n".join(lines) + "\n"


def _lines(row: Row) -> Iterable[str]:
    first = row.targets[0] if row.targets else None
    floor = "" if row.floor is None else f"{_cell(row.floor)}<br>{row.against}"
    ratio = "" if row.ratio is None else _cell(row.ratio)
    yield f"| {row.what} | {_cell(row.subject)} | {floor} | {ratio} | {_target(row, 0)} | {_verdict(row, 0)} |"
    named = {target.figure: place for place, target in enumerate(row.targets) if place or first is None}
    if first is not None and first.figure in row.also:
        named[first.figure] = -1
    for name, figure in row.also.items():
        place = named.get(name)
        wanted = _target(row, place) if place is not None and place >= 0 else ""
        verdict = _verdict(row, place) if place is not None and place >= 0 else ""
        yield f"| · {name} | {_cell(figure)} | | | {wanted} | {verdict} |"
    for name, place in named.items():
        if place > 0 and name not in row.also:
            yield f"| · | | | | {_target(row, place)} | {_verdict(row, place)} |"


def _cell(figure: Figure) -> str:
    return f"{spell(figure.median)} {figure.unit} <sub>{spell(figure.low)} to {spell(figure.high)}</sub>"


def _target(row: Row, place: int) -> str:
    return row.targets[place].words if place < len(row.targets) else ""


def _verdict(row: Row, place: int) -> str:
    if place >= len(row.targets):
        return ""
    target = row.targets[place]
    return "met" if target.met(row.figure(target.figure)) else "**missed**"


def breakdown(results: dict[str, Result]) -> str:
    """The steps of a message, one table for each row."""
    found = results.get("breakdown")
    if found is None:
        return "Not measured yet.\n"
    tables = []
    for row in found.rows:
        lines = [f"| {row.what} | {_cell(row.subject)} |", "|---|---|"]
        lines += [f"| {name} | {_cell(figure)} |" for name, figure in row.also.items()]
        tables.append("\n".join(lines) + f"\n\n{row.note}")
    return "\n\n".join(tables) + "\n"


def conditions(results: dict[str, Result]) -> str:
    """Where and when each benchmark was measured."""
    lines = ["| benchmark | rounds | commit | at | machine |", "|---|---|---|---|---|"]
    for name in BENCHMARKS:
        result = results.get(name)
        if result is None or not (result.rows or result.curves):
            continue
        measured = result.rows[0].subject if result.rows else next(iter(result.curves[0].lines.values()))[0]
        rounds = len(measured.rounds)
        facts = {key: value for key, value in result.machine.items() if key != "python"}
        machine = ", ".join(
            [facts.pop("processor", ""), f"{facts.pop('cores', '')} cores", facts.pop("memory", "")]
        )
        load_before = facts.pop("load before", "")
        lines.append(
            f"| {name} | {rounds} | {result.commit} | {result.at} | {machine}; load before: {load_before} |"
        )
    return "\n".join(lines) + "\n"


def plots(results: dict[str, Result]) -> str:
    """Every plot that was drawn."""
    found = [
        f"![{result.title}](performance/{path.name})"
        for name, result in results.items()
        for path in sorted((PAGE.parent / "performance").glob(f"{name}*.svg"))
    ]
    return "\n\n".join(found) + "\n" if found else ""


def written(page: str, results: dict[str, Result]) -> str:
    """The page with its figures as they are in the results."""
    parts = {"table": table, "conditions": conditions, "breakdown": breakdown, "plots": plots}
    return _PLACE.sub(
        lambda match: (
            f"{match[1]}\n{parts[match[2]](results)}\n{match[3]}" if match[2] in parts else match[0]
        ),
        page,
    )


def main() -> int:
    page = PAGE.read_text("utf-8")
    now = written(page, load())
    if "--check" in sys.argv[1:]:
        return 0 if now == page else 1
    PAGE.write_text(now, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
