from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.stack.servers import Kafka
from tests.system.channel_server.cell import Cell, new_cell


@pytest.fixture
async def cell(kafka: Kafka, folder: Path) -> AsyncIterator[Cell]:
    async with new_cell(kafka.bootstrap, folder) as made:
        yield made
