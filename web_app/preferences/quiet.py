"""Whether somebody wants to be left alone at a moment: pure, for the web app and whoever will notify people."""

from __future__ import annotations

import datetime as dt
import zoneinfo


def is_quiet(
    now: dt.datetime,
    *,
    starts: int | None,
    ends: int | None,
    snoozed_until: dt.datetime | None,
    time_zone: str,
) -> bool:
    """`now` with a time zone; `starts` and `ends` in minutes of the day in `time_zone`, `ends` not included.

    A schedule whose end is not after its beginning goes over midnight. On days when the clocks change it is the
    clock on the wall that counts. An unknown time zone is UTC.
    """
    if snoozed_until is not None and now < snoozed_until:
        return True
    if starts is None or ends is None:
        return False
    try:
        zone: dt.tzinfo = zoneinfo.ZoneInfo(time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        zone = dt.UTC
    wall = now.astimezone(zone)
    minute = wall.hour * 60 + wall.minute
    if starts < ends:
        return starts <= minute < ends
    return minute >= starts or minute < ends


def minutes_of(time_of_day: str) -> int:
    """Of `07:30`: 450."""
    hours, _, minutes = time_of_day.partition(":")
    return int(hours) * 60 + int(minutes)


def time_of_day(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
