"""Every way in which log and database can disagree about the epoch."""

from __future__ import annotations

import pytest

from services.bootstrap.agreement import Disagreement, Step, agree
from services.contract.generation import Generation

ONE, TWO = Generation(epoch=1, created_ms=1), Generation(epoch=2, created_ms=2)
OTHER = Generation(epoch=1, created_ms=9)


@pytest.mark.parametrize("empty", [True, False])
def test_agreement(empty: bool) -> None:
    assert agree({}, {}, empty) is Step.CREATE
    assert agree({1: ONE}, {1: ONE}, empty) is Step.NOTHING
    assert agree({1: ONE, 2: TWO}, {1: ONE, 2: TWO}, empty) is Step.NOTHING
    # a new cluster for a new epoch need not know the old ones
    assert agree({2: TWO}, {1: ONE, 2: TWO}, empty) is Step.NOTHING


def test_a_first_epoch_made_half_is_completed_only_while_nothing_was_written() -> None:
    assert agree({1: ONE}, {}, True) is Step.COMPLETE_DATABASE
    with pytest.raises(Disagreement, match="database knows no epoch"):
        agree({1: ONE}, {}, False)
    with pytest.raises(Disagreement, match="database knows no epoch"):
        agree({1: ONE, 2: TWO}, {}, True)


@pytest.mark.parametrize(
    ("log", "database", "word"),
    [
        ({}, {1: ONE}, "the log knows no epoch"),
        ({1: ONE, 2: TWO}, {1: ONE}, "interrupted"),
        ({1: ONE}, {1: ONE, 2: TWO}, "old copy"),
        ({1: ONE}, {1: OTHER}, "another installation"),
    ],
)
def test_disagreements_name_what_to_do(
    log: dict[int, Generation], database: dict[int, Generation], word: str
) -> None:
    with pytest.raises(Disagreement, match=word):
        agree(log, database, True)
