"""What processes that share PostgreSQL wake each other with (LISTEN, NOTIFY)."""

from __future__ import annotations

from typing import Final

NOTIFY_CHANNEL: Final = "outbox"
"""What the relay listens on. Several notifications of one transaction arrive as one."""
