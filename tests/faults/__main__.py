"""`python -m tests.faults`, or `make faults`."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from pathlib import Path

from rich.console import Console

from tests.faults.lab import SCENARIOS
from tests.faults.run import Result, chosen, play
from tests.faults.table import as_markdown, print_table


def main() -> int:
    """0: every promise held. 1: one did not. 2: no such scenario."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description="Break a real Lockstep in every way there is, and let the judge look on.",
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="these scenarios (beginnings will do)"
    )
    parser.add_argument("--seed", type=int, help="repeat a run (default: a new one, which is printed)")
    parser.add_argument(
        "--brief",
        action="store_true",
        help="the short form: fewer repetitions; without --only, of those that are part of the tests",
    )
    parser.add_argument("--list", action="store_true", help="name the scenarios and stop")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there, too")
    options = parser.parse_args()
    console = Console(highlight=False)
    try:
        scenarios = chosen(options.only)
    except KeyError as unknown:
        console.print(f"There is no scenario {unknown}. There are: {', '.join(SCENARIOS)}", soft_wrap=True)
        return 2
    if options.brief and not options.only:
        scenarios = [scenario for scenario in scenarios if scenario.brief]
    if options.list:
        for scenario in scenarios:
            console.print(f"{scenario.name:24} {scenario.title}", soft_wrap=True)
        return 0
    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    begun = time.monotonic()
    results: list[Result] = []
    try:
        for scenario in scenarios:
            console.print(f"[bold]{scenario.name}[/] (seed {seed}): {scenario.title}", soft_wrap=True)
            say = lambda text: console.print(f"  {text}", soft_wrap=True, markup=False)  # noqa: E731
            result = asyncio.run(play(scenario, seed, brief=options.brief, say=say))
            results.append(result)
            _tell(result, console)
    except KeyboardInterrupt:
        console.print("interrupted")
    console.print()
    print_table(results, console)
    failed = [result for result in results if result.error]
    console.print(
        f"{len(results)} scenarios in {(time.monotonic() - begun) / 60:.1f} minutes, seed {seed}: "
        + (f"{len(failed)} FAILED" if failed else "every promise held")
    )
    if options.markdown is not None:
        options.markdown.write_text(as_markdown(results) + "\n", "utf-8")
    return 1 if failed else 0


def _tell(result: Result, console: Console) -> None:
    if result.error:
        console.print(result.error, markup=False, style="red")
        console.print(
            f"  FAILED after {result.seconds:.0f} s; logs and recordings are in {result.folder}. Again: "
            f"make faults ONLY={result.scenario.name} SEED={result.seed}",
            soft_wrap=True,
        )
    elif result.skipped:
        console.print(f"  skipped: {result.skipped}", markup=False, soft_wrap=True)
    else:
        console.print(f"  held, {result.seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
