"""What stops the native stack from being started or stopped."""

from __future__ import annotations


class StackError(Exception):
    """The message is one sentence (or two) for the person at the terminal: what is wrong, and what to do."""
