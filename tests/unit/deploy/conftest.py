from __future__ import annotations

import pytest

from deploy.settings import NODE_COUNT


@pytest.fixture(autouse=True)
def _nobody_asks_for_a_number_of_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NODE_COUNT, raising=False)
