"""The table at the end, for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tests.faults.outcome import Outcome
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
        _told(outcome),
        *(f"{count:,}" for count in counts),
        _seconds(outcome.pause_s),
        _seconds(outcome.recovery),
    )


def _told(outcome: Outcome) -> str:
    facts = "; ".join(f"{name}: {value}" for name, value in outcome.facts.items())
    return f"{outcome.did}. {facts}" if facts else outcome.did


def _last_line(error: str) -> str:
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "?"


def print_table(results: Sequence[Result], console: Console) -> None:
    table = Table(header_style="bold", show_lines=True)
    for number, heading in enumerate(_HEADINGS):
        table.add_column(heading, justify="left" if number < 2 else "right", ratio=6 if number == 1 else None)
    for result in results:
        style = "red" if result.outcome is None and not result.skipped else None
        table.add_row(*_row(result), style=style)
    console.print(table)


def as_markdown(results: Sequence[Result]) -> str:
    """The same table, for a document."""
    lines = ["| " + " | ".join(_HEADINGS) + " |", "|---|---|" + "---:|" * (len(_HEADINGS) - 2)]
    lines += ["| " + " | ".join(cell.replace("|", "/") for cell in _row(result)) + " |" for result in results]
    return "\n".join(lines)
