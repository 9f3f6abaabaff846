"""The rule of the sequencer once more, as an oracle: written for plainness, from the rule's text alone.

It keeps every acceptance for ever and asks what the rule asks, record by record, without a window that is emptied:
a copy counts as known while the clock is within the window of the original's acceptance. Slow, and meant to be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Entry(NamedTuple):
    """One record of a partition. Times in ms; `digest` stands for the body."""

    offset: int
    appended: int
    stamped: int
    channel: str
    sender: str
    id: str
    born: int
    digest: int


class Said(NamedTuple):
    """What the oracle says: a word, a number if there is one, and the clock."""

    word: str
    seq: int | None
    now: int


@dataclass
class Oracle:
    retry_ms: int
    future_ms: int
    now: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    acceptances: dict[tuple[str, str, str], list[tuple[int, int, int]]] = field(default_factory=dict)

    def judge(self, entry: Entry) -> Said:
        self.now = max(self.now, min(entry.appended, entry.stamped))
        if entry.born - self.now > self.future_ms:
            return Said("future", None, self.now)
        if self.now > entry.born + self.retry_ms:
            return Said("expired", None, self.now)
        key = (entry.channel, entry.sender, entry.id)
        for accepted_at, seq, digest in self.acceptances.get(key, []):
            if self.now <= accepted_at + self.retry_ms + self.future_ms:
                return Said("duplicate" if digest == entry.digest else "id_reused", seq, self.now)
        seq = self.counts.get(entry.channel, 0) + 1
        self.counts[entry.channel] = seq
        self.acceptances.setdefault(key, []).append((self.now, seq, entry.digest))
        return Said("numbered", seq, self.now)


def judge_all(log: list[Entry], retry_ms: int, future_ms: int) -> list[Said]:
    oracle = Oracle(retry_ms, future_ms)
    return [oracle.judge(entry) for entry in log]
