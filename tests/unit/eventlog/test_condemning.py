"""Who is asked before an epoch is condemned, and what counts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from aiokafka.errors import KafkaConnectionError

from services.eventlog import condemning
from services.eventlog.errors import LogRewritten

LOST = LogRewritten("its end is gone", "events.1", 0, 9, None)


class FakeBrokers:
    def __init__(self, *_: object, **__: object) -> None: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def everybody(self) -> list[int]:
        return [1, 2, 3]


@pytest.mark.parametrize(
    ("said", "contradicted"),
    [
        ([True, None, None], True),
        ([None, False, None], False),
        (
            [True, False, None],
            False,
        ),  # the first was cut off from the others, and still takes itself for the leader
        ([False, True, None], False),
        (
            [True, KafkaConnectionError(), True, None, None],
            True,
        ),  # not everybody answered: all are asked again
        ([None, None, None, None, True, None], True),  # nobody leads for a moment
    ],
)
async def test_the_log_is_lost_when_no_broker_that_leads_knows_better(
    monkeypatch: pytest.MonkeyPatch, said: list[bool | Exception | None], contradicted: bool
) -> None:
    answers: Iterator[bool | Exception | None] = iter(said)

    async def answer(*_: object) -> bool | None:
        given = next(answers)
        if isinstance(given, Exception):
            raise given
        return given

    monkeypatch.setattr(condemning, "_AGAIN_S", 0.0)
    monkeypatch.setattr(condemning, "Brokers", FakeBrokers)
    monkeypatch.setattr(condemning, "_contradicts", answer)
    assert await condemning._still_contradicts("", LOST) is contradicted
    assert next(answers, "none left") == "none left"
