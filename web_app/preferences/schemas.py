"""Preferences as they travel."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Final, Literal

from pydantic import Field, StrictBool, model_validator

from web_app.fields import Body, Moment, Reply, examples

Level = Literal["all", "mentions", "nothing"]

MAX_SNOOZE_DAYS: Final = 31

TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class ChannelPreferences(Reply):
    """`muted`: the channel shows no unread messages. `level`: what one is notified of."""

    model_config = examples({"muted": False, "level": "mentions"})

    muted: bool
    level: Level


class NewChannelPreferences(Body):
    """What is not given stays as it is."""

    model_config = examples({"muted": False, "level": "mentions"})

    muted: StrictBool | None = None
    level: Level | None = None

    @model_validator(mode="after")
    def _something(self) -> NewChannelPreferences:
        if self.muted is None and self.level is None:
            raise ValueError("give `muted` or `level`")
        return self


class DoNotDisturb(Reply):
    """`active`: whether it holds now; `starts` and `ends` are times of the day in your time zone, or both null."""

    model_config = examples(
        {
            "active": False,
            "starts": "22:00",
            "ends": "07:30",
            "snoozed_until": None,
            "time_zone": "Europe/London",
        }
    )

    active: bool
    starts: str | None = None
    ends: str | None = None
    snoozed_until: dt.datetime | None = None
    time_zone: str


class NewSchedule(Body):
    """Every day from `starts` to `ends`, over midnight if that is earlier; both null: no schedule."""

    model_config = examples({"starts": "22:00", "ends": "07:30"})

    starts: TimeOfDay | None
    ends: TimeOfDay | None

    @model_validator(mode="after")
    def _both(self) -> NewSchedule:
        if (self.starts is None) != (self.ends is None):
            raise ValueError("give both or neither")
        if self.starts is not None and self.starts == self.ends:
            raise ValueError("a schedule has a beginning and another end")
        return self


class Snooze(Body):
    """`until`: within the next 31 days."""

    model_config = examples({"until": "2026-01-05T12:00:00Z"})

    until: Moment
