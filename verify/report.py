"""What a person, or a program, is told of a verdict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from verify.findings import RULES, Property
from verify.judge import Verdict

WIDTH: Final = 110
"""Columns that the table of channels needs."""


def as_json(verdict: Verdict) -> str:
    """One object: `holds`, `properties`, `findings` (the first of each broken rule, with counts), `figures`."""
    findings = verdict.findings
    return json.dumps(
        {
            "holds": verdict.holds,
            "properties": {name.value: not findings.broken(name) for name in Property},
            "findings": [
                {
                    "property": finding.property.value,
                    "rule": finding.rule,
                    "meaning": RULES[finding.rule].sentence,
                    "count": findings.counts[finding.rule],
                    "channel": finding.channel,
                    "seq": finding.seq,
                    "what": finding.what,
                    "evidence": list(finding.evidence),
                }
                for finding in findings.first.values()
            ],
            "figures": verdict.figures.as_dict(),
        },
        ensure_ascii=False,
        indent=2,
    )


def _totals(verdict: Verdict) -> Iterator[tuple[str, str]]:
    figures = verdict.figures
    yield "sources", ", ".join(figures.sources) or "none"
    yield "channels", str(figures.channels)
    yield "events", f"{figures.events:,}"
    if figures.clients:
        unclean = f", {figures.unclean} without a clean end" if figures.unclean else ""
        yield "clients recorded", f"{figures.clients}{unclean}"
        yield "sent", f"{figures.sent:,}"
        yield "acknowledged", f"{figures.acknowledged:,}"
        yield "delivered", f"{figures.delivered:,}"
        if figures.gaps_open:
            yield "told lacking, not fetched", f"{figures.gaps_open:,}"
    if figures.log is not None:
        yield (
            "records in the log",
            (
                f"{figures.log.records:,}: {figures.log.duplicates:,} duplicate, {figures.log.expired:,} expired,"
                f" {figures.log.future:,} future, {figures.log.skipped:,} skipped"
            ),
        )
    yield "lost", f"{figures.lost:,}"
    yield "duplicated", f"{figures.duplicated:,}"
    yield "out of order", f"{figures.out_of_order:,}"


def print_report(verdict: Verdict, console: Console) -> None:
    """Tables of the figures, then each property, with the first counter-example of every broken rule."""
    totals = Table(show_header=False, box=None, padding=(0, 2))
    for name, value in _totals(verdict):
        totals.add_row(name, value)
    console.print(totals)
    console.print()
    channels = Table(box=None, padding=(0, 1), header_style="bold")
    channels.add_column("channel", no_wrap=True)
    for name in ("epoch", "head", "sent", "acked", "shown", "log", "postgres", "history"):
        channels.add_column(name, justify="right")
    shown = verdict.figures.by_channel[:50]
    for row in shown:
        numbers = (
            row.epoch,
            row.head,
            row.sent,
            row.acknowledged,
            row.delivered,
            row.log,
            row.database,
            row.history,
        )
        channels.add_row(row.channel, *("-" if number is None else str(number) for number in numbers))
    console.print(channels)
    if len(verdict.figures.by_channel) > len(shown):
        console.print(
            f"  ... and {len(verdict.figures.by_channel) - len(shown)} channels more (--json has them all)"
        )
    for note in verdict.figures.notes:
        console.print(f"note: {note}", markup=False)
    console.print()
    for name in Property:
        _print_property(verdict, name, console)
    console.print()
    console.print("[bold green]The order holds.[/]" if verdict.holds else "[bold red]The order is broken.[/]")


def _print_property(verdict: Verdict, name: Property, console: Console) -> None:
    broken = verdict.findings.broken(name)
    console.print(f"[bold]{name.value:12}[/] {'[red]BROKEN[/]' if broken else '[green]holds[/]'}")
    for finding in broken:
        count = verdict.findings.counts[finding.rule]
        times = "" if count == 1 else f" ({count:,} times; the first:)"
        console.print(
            f"  {finding.rule}: {RULES[finding.rule].sentence}{times}", markup=False, highlight=False
        )
        where = f"{finding.channel} seq {finding.seq}: " if finding.channel else ""
        console.print(f"    {escape(where + finding.what)}", highlight=False, soft_wrap=True)
        for evidence in finding.evidence:
            console.print(f"    see {escape(evidence)}", highlight=False, soft_wrap=True)
