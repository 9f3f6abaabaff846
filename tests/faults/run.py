"""Runs scenarios, one after another, each in a folder and with randomness of its own."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tests.faults.scenarios  # noqa: F401 - registers them
from tests.faults.lab import SCENARIOS, Lab, Scenario, Skip
from tests.faults.outcome import Outcome


@dataclass
class Result:
    """`outcome`: None when it failed (`error` says how) or was skipped (`skipped` says why). `folder`: what is left of
    a failure."""

    scenario: Scenario
    seed: int
    seconds: float
    outcome: Outcome | None = None
    error: str = ""
    skipped: str = ""
    folder: Path | None = None


async def play(scenario: Scenario, seed: int, *, brief: bool, say: Callable[[str], None]) -> Result:
    """One scenario. What it wrote is kept when it fails."""
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=f"lockstep-faults-{scenario.name}-"))
    begun = time.monotonic()
    result = Result(scenario, seed, 0.0)
    try:
        async with (
            asyncio.timeout(scenario.limit_s),
            Lab(scenario.name, seed, folder, brief=brief, say=say) as lab,
        ):
            result.outcome = await scenario.run(lab)
    except Skip as reason:
        result.skipped = str(reason)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this scenario's result, and the others go on
        result.error = "".join(traceback.format_exception(error))
        result.folder = folder
    result.seconds = time.monotonic() - begun
    if result.folder is None:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    return result


def chosen(only: Sequence[str]) -> list[Scenario]:
    """The scenarios with these names (or beginnings of names); all without any. Raises KeyError for a name unknown."""
    if not only:
        return list(SCENARIOS.values())
    found = []
    for name in only:
        matching = [scenario for key, scenario in SCENARIOS.items() if key == name] or [
            scenario for key, scenario in SCENARIOS.items() if key.startswith(name)
        ]
        if not matching:
            raise KeyError(name)
        found += matching
    return list(dict.fromkeys(found))
