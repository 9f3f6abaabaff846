"""How tests are shared out among processes that play them side by side."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

# How long an example takes, or finding one, says nothing of what is tested: the machine may be busy.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")

_TOGETHER = tuple(
    f"tests/system/{part}/" for part in ("client", "persister", "promises", "relay", "security")
)
"""Folders whose tests share stacks: each is played by one process, so that a stack is started once."""


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """A file stays together, and so do those folders."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return next((folder for folder in _TOGETHER if file.startswith(folder)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _Scheduling(config, log)
