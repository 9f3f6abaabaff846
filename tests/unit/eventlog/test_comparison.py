"""Whether a topic is gone: not for one glance of a broker that is starting."""

from __future__ import annotations

from typing import Any

import pytest

from services.eventlog import comparison
from services.eventlog.comparison import must_exist
from services.eventlog.errors import LogLost


class FakeProbe:
    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)

    async def exists(self) -> bool:
        return self.answers.pop(0)


@pytest.mark.parametrize("answers", [[True], [False, True], [False, False, True]])
async def test_a_topic_that_is_known_in_the_end_is_there(
    monkeypatch: pytest.MonkeyPatch, answers: list[bool]
) -> None:
    monkeypatch.setattr(comparison, "_RETRY_S", 0.0)
    probe: Any = FakeProbe(*answers)
    await must_exist(probe, "events.1")
    assert probe.answers == []


async def test_one_that_stays_unknown_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "_RETRY_S", 0.0)
    probe: Any = FakeProbe(False, False, False)
    with pytest.raises(LogLost, match="the topic is gone"):
        await must_exist(probe, "events.1")
