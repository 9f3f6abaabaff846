"""Advisory locks: one number for each thing of which there is to be one at a time, in this database."""

from __future__ import annotations

from typing import Final

MIGRATION: Final = 0x10C5_0001
RELAY_DIRECTORY: Final = 0x10C5_0002
RELAY_EVENTS: Final = 0x10C5_0003
EPOCH: Final = 0x10C5_0004
