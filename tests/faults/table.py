"""The table at the end, for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tests.faults.run import Result

_HEADINGS = (
    "scenario",
    "what was done",
    "sent",
    "acked",
    "lost",
    "doubled",
    "reordered",
    "longest pause",
    "recovery",
)


WIDTH = 150
"""Columns that the table needs."""


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _row(result: Result) -> tuple[str, ...]:
    name, outcome = result.scenario.name, result.outcome
    if result.skipped:
        return name, f"skipped: {result.skipped}", *"-------"
    if outcome is None:
        return name, f"FAILED: {_last_line(result.error)}", *"-------"
    counts = (outcome.sent, outcome.acknowledged, outcome.lost, outcome.doubled, outcome.reordered)
    return (
        name,
        outcome.did,
        *(f"{count:,}" for count in counts),
        _seconds(outcome.pause_s),
        _seconds(outcome.recovery),
    )


def _facts(result: Result) -> str:
    facts = result.outcome.facts if result.outcome is not None else {}
    return "; ".join(f"{name}: {value}" for name, value in facts.items())


def _last_line(error: str) -> str:
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "?"


def print_table(results: Sequence[Result], console: Console) -> None:
    """The figures of each scenario, and below them what else there is to know."""
    table = Table(header_style="bold", box=None, padding=(0, 1))
    for number, heading in enumerate(_HEADINGS):
        table.add_column(heading, justify="left" if number < 2 else "right", no_wrap=number != 1)
    for result in results:
        style = "red" if result.outcome is None and not result.skipped else None
        table.add_row(*_row(result), style=style)
    Console(width=max(WIDTH, console.width), file=console.file, highlight=False).print(table)
    for result in results:
        if facts := _facts(result):
            console.print(f"{result.scenario.name}: {facts}", soft_wrap=True, markup=False)


def as_markdown(results: Sequence[Result]) -> str:
    """The same, for a document."""
    headings = (*_HEADINGS, "what else")
    lines = ["| " + " | ".join(headings) + " |", "|---|---|" + "---:|" * (len(_HEADINGS) - 2) + "---|"]
    for result in results:
        cells = (cell.replace("|", "/") for cell in (*_row(result), _facts(result)))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
