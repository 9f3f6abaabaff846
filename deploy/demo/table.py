"""The demo's table: what was done, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from deploy.demo.run import Outcome
from verify.report import print_report


def percentile(ascending: Sequence[float], part: float) -> float:
    """The least value that `part` of all do not exceed. Raises IndexError when there are none."""
    return ascending[max(0, math.ceil(len(ascending) * part) - 1)]


def print_outcome(outcome: Outcome, console: Console) -> None:
    """Everything on one screen; a broken order with its counter-examples."""
    done = Table(title="What was done", box=None, padding=(0, 2), show_header=False, title_justify="left")
    for act in outcome.acts:
        done.add_row(f"{act.at:5.1f} s", act.what)
    console.print(done)
    console.print()
    figures = outcome.verdict.figures
    came = Table(title="What came of it", box=None, padding=(0, 2), show_header=False, title_justify="left")
    came.add_column(no_wrap=True)
    came.add_column()
    came.add_row("sent", f"{outcome.posted:,}")
    came.add_row("acknowledged", f"{outcome.acked:,}")
    came.add_row("delivered", f"{outcome.shown:,} of {outcome.expected:,}")
    came.add_row("reconnects", f"{outcome.reconnects:,}")
    if figures.log is not None:
        came.add_row("copies that retries left in the log", f"{figures.log.duplicates:,}")
    for name, value in (
        ("lost", figures.lost),
        ("duplicated", figures.duplicated),
        ("out of order", figures.out_of_order),
    ):
        came.add_row(name, f"[{'red' if value else 'bold green'}]{value:,}[/]")
    for name, seconds in (
        ("all", sorted(outcome.quiet + outcome.troubled)),
        ("all well", outcome.quiet),
        ("in trouble", outcome.troubled),
    ):
        if seconds:
            figure = f"{percentile(seconds, 0.5) * 1000:,.0f} / {percentile(seconds, 0.99) * 1000:,.0f} ms"
            came.add_row(f"ack p50 / p99, {name}", figure)
    came.add_row("judged", ", ".join(figures.sources))
    came.add_row("took", f"{outcome.seconds:.0f} s")
    console.print(came)
    console.print()
    for failure in outcome.failures[:5]:
        console.print(f"[red]not sent:[/] {failure}", highlight=False)
    if outcome.good:
        console.print("[bold green]Nothing lost, nothing doubled, one order for everybody.[/]")
    else:
        print_report(outcome.verdict, console)
