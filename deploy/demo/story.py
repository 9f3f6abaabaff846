"""What a scene of the second act has to tell."""

from __future__ import annotations

from typing import NamedTuple


class Told(NamedTuple):
    """Who did what, and who saw it."""

    what: str
    seen_by: str
