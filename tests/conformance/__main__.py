"""Run the Autobahn suite against our echo server: `python -m tests.conformance`, or `make conformance`.

Exit: 0 every case passed, 1 a case failed, 2 the suite cannot run here (it says why).
"""

from __future__ import annotations

import argparse
import collections
import os
import sys
import time
from pathlib import Path

from tests.conformance.suite import CannotRun, Case, echo_server, environment, run

EXCLUDED = ("7.1.2", "12.*", "13.*")
"""7.1.2: docs/websocket.md, known deviations. 12 and 13 are permessage-deflate, which is not offered."""

LARGEST = 16 * 1024 * 1024
"""Bytes in the largest message of the suite (9.1.6, 9.2.6, ...)."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.conformance", description=__doc__)
    parser.add_argument("--cases", default="*", help="patterns, comma separated, such as 6.*,7.1.1")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for the whole run")
    arguments = parser.parse_args()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    try:
        wstest = environment(Path(cache) / "lockstep")
        started = time.monotonic()
        with echo_server(sys.executable, LARGEST) as url:
            cases = run(wstest, url, arguments.cases.split(","), EXCLUDED, arguments.timeout)
    except CannotRun as error:
        print(f"conformance: cannot run: {error}", file=sys.stderr)
        return 2
    report(cases)
    failed = [case.number for case in cases if not case.passed]
    took = time.monotonic() - started
    print(f"conformance: {len(cases) - len(failed)} of {len(cases)} cases passed in {took:.0f} s")
    if not cases:
        print("conformance: no case matches", file=sys.stderr)
        return 2
    return 1 if failed else 0


def report(cases: list[Case]) -> None:
    """A line for each section, and one for each case that failed."""
    sections: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for case in cases:
        sections[case.number.split(".")[0]][case.behavior if case.passed else "failed"] += 1
    for section, counts in sections.items():
        print(f"{section:>4}  " + ", ".join(f"{count} {name.lower()}" for name, count in counts.items()))
    for case in cases:
        if not case.passed:
            print(f"failed: {case.number} (behaviour {case.behavior}, close {case.close})")


if __name__ == "__main__":
    sys.exit(main())
