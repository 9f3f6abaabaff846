"""How far the checkpointer may fold."""

from __future__ import annotations

from services.checkpointer.horizon import Quiet, fold_before


def test_on_a_busy_partition_it_stays_the_lag_behind_the_newest_record() -> None:
    assert fold_before(newest_appended=1_000_000, quiet_ms=0, lag_ms=600_000) == 400_000


def test_quiet_time_counts_until_everything_is_old_enough() -> None:
    newest = 1_000_000
    assert fold_before(newest, 599_000, 600_000) <= newest
    assert fold_before(newest, 600_001, 600_000) > newest


def test_quiet_is_counted_from_when_an_end_was_first_seen_and_anew_with_each_record() -> None:
    quiet = Quiet()
    assert quiet.see(0, 5, 100.0) == 0
    assert quiet.see(0, 5, 101.5) == 1_500
    assert quiet.see(1, 5, 101.5) == 0
    assert quiet.see(0, 6, 102.0) == 0
    assert quiet.see(0, 6, 103.0) == 1_000
