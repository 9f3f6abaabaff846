"""Whose lines are worth having at which level. In a process of its own, since logging is one for all."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SAYS = """
import logging
from services.runtime.logs import configure
from services.runtime.settings import LogSettings
configure("a process", LogSettings())
for name in ("aiokafka.consumer.subscription_state", "ours"):
    logging.getLogger(name).info(name)
    logging.getLogger(name).warning(name)
"""


@pytest.mark.parametrize(("level", "lines"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 0)])
def test_the_kafka_library_is_quiet_unless_somebody_looks_for_a_defect(level: str, lines: int) -> None:
    said = subprocess.run(
        [sys.executable, "-c", SAYS],
        env={"LOCKSTEP_LOG_LEVEL": level},
        capture_output=True,
        text=True,
        check=True,
    ).stderr.splitlines()
    assert len(said) == lines
    assert all(json.loads(line)["process"] == "a process" for line in said)
