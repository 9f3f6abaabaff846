"""What can go wrong between a process and the log."""

from __future__ import annotations

from services.eventlog.sequencer import LastRecord


class LogLost(Exception):
    """The log is not the one that was read before: wiped, truncated, rewritten, or no longer where the reader stands.

    The reader must stop, loudly; nothing that it holds may be shown as this log's any more. Says which topic and
    partition, and what was found.
    """


class LogRewritten(LogLost):
    """What stands in the log contradicts what was read: no reader may go on, whatever each has seen itself.

    The evidence: `topic`, `partition`, how far was read, and the last record if it is known.
    """

    def __init__(
        self, reason: str, topic: str, partition: int, position: int, last: LastRecord | None
    ) -> None:
        super().__init__(f"{topic}, partition {partition}: {reason}")
        self.topic = topic
        self.partition = partition
        self.position = position
        self.last = last


class Overtaken(LogLost):
    """Retention has followed a newer checkpoint past a fold that was still starting: throw it away, begin anew from that."""


class AppendFailed(Exception):
    """It is not known whether the log took the record: append it again under the same id. `partition`: where it failed."""

    def __init__(self, reason: str, partition: int) -> None:
        super().__init__(reason)
        self.partition = partition


class Overloaded(Exception):
    """Too many records wait for the log: nothing was appended. Try again later."""


class NoGeneration(Exception):
    """The cluster holds no generation record: `python -m services.bootstrap` has not run, or the log was wiped."""


class Fenced(Exception):
    """Another writer has taken over this transactional id; this one must not write again."""


class WriteFailed(Exception):
    """A transaction did not go through, or its outcome is not known: write the same again."""
