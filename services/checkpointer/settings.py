"""Settings of `python -m services.checkpointer`. How far it stays behind is a fact of the epoch, not a setting."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from services.runtime.settings import AdminSettings, DatabaseSettings, KafkaSettings, LogSettings

_Seconds = Annotated[float, Field(gt=0)]


class CheckpointerSettings(LogSettings, KafkaSettings, DatabaseSettings, AdminSettings):
    """Seconds between checkpoints, seconds between retention runs, and the age below which no record is deleted."""

    checkpoint_interval_s: _Seconds = 10.0
    retention_interval_s: _Seconds = 60.0
    retention_min_age_s: Annotated[float, Field(ge=0)] = 7 * 86_400.0
