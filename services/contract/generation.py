"""The generation record: the facts of an epoch of the log, fixed when the epoch is made.

They are data of the log and not settings of a process, because every reader must count by the same rule; a test
that wants short windows makes an epoch that has them.
"""

from __future__ import annotations

import msgspec


class Condemned(msgspec.Struct, frozen=True, kw_only=True):
    """A reader's word that an epoch's log is not what it was: nobody reads or writes it any more.

    lost        the epoch
    reason      what was found, for people
    found_by    the service
    found_ms    when, Unix milliseconds
    """

    lost: int
    reason: str
    found_by: str
    found_ms: int


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """One epoch. Times in milliseconds.

    epoch           1, 2, 3 ...; part of the topics' names
    partitions      of `events.<epoch>`, `heads.<epoch>` and `ephemeral.<epoch>`
    retry_ms        an id is expired once the fold's clock is more than this past its birth
    future_ms       an id born more than this ahead of the fold's clock is refused for now
    checkpoint_lag_ms   how far behind the end of the log (in its own time) the checkpointer stays
    created_ms      when the epoch was made
    """

    epoch: int
    partitions: int = 8
    retry_ms: int = 120_000
    future_ms: int = 60_000
    checkpoint_lag_ms: int = 600_000
    created_ms: int = 0

    @property
    def window_ms(self) -> int:
        """How long an accepted id stays in the dedupe window: the longest time in which a copy could be accepted."""
        return self.retry_ms + self.future_ms

    @property
    def events_topic(self) -> str:
        return f"events.{self.epoch}"

    @property
    def heads_topic(self) -> str:
        return f"heads.{self.epoch}"

    @property
    def directory_topic(self) -> str:
        return f"directory.{self.epoch}"

    @property
    def sessions_topic(self) -> str:
        return f"sessions.{self.epoch}"

    @property
    def ephemeral_topic(self) -> str:
        return f"ephemeral.{self.epoch}"
