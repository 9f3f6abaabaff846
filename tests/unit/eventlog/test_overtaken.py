"""A fold that finds its log lost while it starts: overtaken by retention, or contradicted."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import SimpleNamespace
from typing import Any

import pytest

from services.eventlog import replay
from services.eventlog.errors import LogLost, LogRewritten, Overtaken
from services.eventlog.replay import Replay
from services.eventlog.sequencer import Checkpoint
from tests.unit.eventlog.logs import GENERATION


class Begun(AbstractAsyncContextManager["Begun"]):
    """A probe that finds the log to begin at offset 100, as it does after retention."""

    def __init__(self, *_: object) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def begins(self, partitions: Mapping[int, int]) -> dict[int, int]:
        return dict.fromkeys(partitions, 100)


def _lost() -> LogLost:
    return LogLost("offset 10 is not there any more")


def _rewritten() -> LogLost:
    return LogRewritten("another record stands at offset 9", "events.1", 0, 10, None)


@pytest.mark.parametrize(("newer", "error", "raises"), [
    (150, _lost(), Overtaken),
    (10, _lost(), LogLost),
    (150, _rewritten(), LogRewritten),
])  # fmt: skip
async def test_only_what_retention_took_behind_a_newer_checkpoint_overtakes(
    monkeypatch: pytest.MonkeyPatch, newer: int, error: LogLost, raises: type[LogLost]
) -> None:
    async def checkpoints(*_: object) -> dict[int, Any]:
        return {0: (Checkpoint(watermark=newer, now=0, window_start=newer, window_now=0), {})}

    async def batch(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(replay, "Probe", Begun)
    monkeypatch.setattr(replay, "read_checkpoints", checkpoints)
    started: Any = Replay("", GENERATION)
    started.watermarks = {0: 10}
    started.tail = SimpleNamespace(batch=batch, positions={0: 10}, last={0: None})
    with pytest.raises(LogLost) as raised:
        await started.batch(0)
    assert type(raised.value) is raises
