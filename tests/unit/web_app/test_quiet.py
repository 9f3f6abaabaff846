"""When somebody is left alone: by the clock on their wall, over midnight, and while they snooze."""

from __future__ import annotations

import datetime as dt
import zoneinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web_app.preferences.quiet import is_quiet, minutes_of, time_of_day

LONDON, TOKYO = "Europe/London", "Asia/Tokyo"


def at(text: str, zone: str = "UTC") -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(zone))


@pytest.mark.parametrize(
    ("moment", "quiet"),
    [("21:59", False), ("22:00", True), ("23:59", True), ("00:00", True), ("07:29", True), ("07:30", False)],
)
def test_over_midnight_and_without_the_end(moment: str, quiet: bool) -> None:
    now = at(f"2026-07-01T{moment}", LONDON).astimezone(dt.UTC)
    schedule = {"starts": minutes_of("22:00"), "ends": minutes_of("07:30")}
    assert is_quiet(now, **schedule, snoozed_until=None, time_zone=LONDON) is quiet


def test_the_clock_on_the_wall_counts_in_summer_and_in_winter() -> None:
    schedule = {"starts": minutes_of("09:00"), "ends": minutes_of("10:00")}
    for day, utc in (("2026-01-15", "09:30"), ("2026-07-15", "08:30")):
        assert is_quiet(at(f"{day}T{utc}"), **schedule, snoozed_until=None, time_zone=LONDON)
        assert not is_quiet(at(f"{day}T{utc}"), **schedule, snoozed_until=None, time_zone=TOKYO)


def test_snoozing_ends_at_its_moment_and_needs_no_schedule() -> None:
    until = at("2026-01-15T12:00")
    for moment, quiet in (("2026-01-15T11:59", True), ("2026-01-15T12:00", False)):
        assert is_quiet(at(moment), starts=None, ends=None, snoozed_until=until, time_zone="UTC") is quiet


def test_an_unknown_time_zone_is_utc() -> None:
    assert is_quiet(
        at("2026-01-15T09:30"), starts=540, ends=600, snoozed_until=None, time_zone="Mars/Olympus"
    )


minutes = st.integers(0, 24 * 60 - 1)


@given(minutes, minutes, minutes)
def test_a_schedule_and_what_is_left_of_the_day_are_opposites(starts: int, ends: int, minute: int) -> None:
    now = at("2026-03-03T00:00") + dt.timedelta(minutes=minute)
    quiet = [
        is_quiet(now, starts=a, ends=b, snoozed_until=None, time_zone="UTC")
        for a, b in ((starts, ends), (ends, starts))
    ]
    assert quiet[0] != quiet[1] or starts == ends


@given(minutes)
def test_times_of_the_day_are_read_as_they_are_written(minute: int) -> None:
    assert minutes_of(time_of_day(minute)) == minute
