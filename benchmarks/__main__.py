"""`python -m benchmarks`: run them, print a table, keep the results. `make bench` is this with its environment made."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import msgspec
import uvloop

from benchmarks.core import results
from benchmarks.core.bench import Bench
from benchmarks.core.native import Unavailable
from benchmarks.core.results import Result
from benchmarks.rows.catalogue import BENCHMARKS

ROUNDS = 5


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--rounds", type=int, default=0, help=f"of each comparison (default {ROUNDS})")
    parser.add_argument(
        "--brief", action="store_true", help="show that they work, in seconds; figures mean nothing"
    )
    parser.add_argument("--list", action="store_true", help="name them")
    chosen = parser.parse_args()
    if chosen.list:
        for name, module in BENCHMARKS.items():
            print(f"{name:<14}{module.TITLE}")
        return 0
    names = [name for name in chosen.only.split(",") if name] or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    rounds = chosen.rounds or (2 if chosen.brief else ROUNDS)
    return uvloop.run(_run(names, brief=chosen.brief, rounds=rounds))


async def _run(names: list[str], *, brief: bool, rounds: int) -> int:
    folder = Path(tempfile.mkdtemp(prefix="lockstep-bench-"))
    facts = results.machine()
    print("; ".join(f"{name} {fact}" for name, fact in facts.items()))
    if brief:
        print("Brief: this shows that the benchmarks work. The figures mean nothing.")
    failed = 0
    try:
        for name in names:
            result = await _one(name, Bench, folder, brief, rounds)
            if result is None:
                failed += 1
                continue
            kept = msgspec.structs.replace(
                result, brief=brief, at=results.stamp(), commit=results.commit(), machine=facts
            )
            print(f"\n{kept.title}  [{name}, {kept.seconds:.0f} s]", flush=True)
            if kept.skipped:
                print(f"  skipped: {kept.skipped}")
            for row in kept.rows:
                print("\n".join(f"  {line}" for line in results.lines(row)), flush=True)
            for curve in kept.curves:
                print("\n".join(f"  {line}" for line in results.curve_lines(curve)), flush=True)
            print(f"  -> {results.save(kept)}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


async def _one(name: str, make: type[Bench], folder: Path, brief: bool, rounds: int) -> Result | None:
    """None when it failed, which is printed: the others are still worth running."""
    started = time.monotonic()
    try:
        async with contextlib.AsyncExitStack() as owned:
            bench = make(folder / name, brief=brief, rounds=rounds, owned=owned)
            result: Result = await BENCHMARKS[name].run(bench)
    except Unavailable as reason:
        result = Result(benchmark=name, title=BENCHMARKS[name].TITLE, skipped=str(reason))
    except Exception:  # noqa: BLE001 - whatever went wrong, the next benchmark has nothing to do with it
        print(f"\n{name} FAILED\n{traceback.format_exc()}", file=sys.stderr, flush=True)
        return None
    return msgspec.structs.replace(result, seconds=time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main())
