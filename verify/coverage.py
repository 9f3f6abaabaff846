"""Which numbers each of the standing sources has: the log, PostgreSQL, REST history."""

from __future__ import annotations

from typing import NamedTuple

from verify.bodies import Body
from verify.ledger import Book, Ledger, key_of, pack_id
from verify.numbering import Numbered
from verify.spans import Spans


class Loose(NamedTuple):
    """A record whose number is known only relative to others of its channel."""

    id: bytes
    sender: int
    body: Body
    source: int
    offset: int
    seq: int


class LogSide:
    """What the log numbers. `heads` and `first_heads`: at the end, and when the other sources began to be read."""

    def __init__(self, ledger: Ledger) -> None:
        self.epochs: dict[int, bool] = {}
        self.heads: dict[tuple[int, str], int] = {}
        self.first_heads: dict[tuple[int, str], int] = {}
        self.starts: dict[tuple[int, str], int] = {}
        self._loose: dict[tuple[int, str], list[Loose]] = {}
        self._ledger = ledger

    def begins(self, epoch: int, *, based: bool) -> None:
        self.epochs[epoch] = self.epochs.get(epoch, True) and based

    def record(self, epoch: int, source: int, offset: int, numbered: Numbered, body: Body) -> None:
        copy = numbered.copy
        id, sender = pack_id(copy.id), self._ledger.people.number(copy.sender)
        if self.epochs[epoch]:
            self.heads[epoch, copy.channel] = numbered.seq
            book = self._ledger.book(epoch, copy.channel)
            self._ledger.see(book, numbered.seq, id, sender, numbered.at, body, source, offset)
        elif numbered.sure:
            loose = Loose(id, sender, body, source, offset, numbered.seq)
            self._loose.setdefault((epoch, copy.channel), []).append(loose)

    def paused(self) -> None:
        self.first_heads = dict(self.heads)

    def anchor(self) -> list[str]:
        """Give loose records the numbers that follow from the first of them that another source knows.

        Gives the channels of which no source knows any.
        """
        floating = []
        for (epoch, channel), records in self._loose.items():
            book = self._ledger.book(epoch, channel)
            known = {key: seq for seq, key in book.entries()}
            for record in records:
                seq = known.get(key_of(record.id, record.sender))
                if seq is not None:
                    shift = seq - record.seq
                    break
            else:
                floating.append(channel)
                continue
            for record in records:
                self._ledger.see(
                    book, record.seq + shift, record.id, record.sender, None, record.body, record.source, record.offset
                )  # fmt: skip
            self.starts[epoch, channel] = records[0].seq + shift
            self.heads[epoch, channel] = records[-1].seq + shift
        return floating

    def head(self, book: Book) -> int | None:
        """The last number that the log gives in this book; None when it was not read or cannot tell."""
        based = self.epochs.get(book.epoch)
        if based is None:
            return None
        return self.heads.get((book.epoch, book.channel), 0 if based else None)


class DatabaseSide:
    """What PostgreSQL has, by channel and epoch. `required`: the number up to which it had to have everything."""

    def __init__(self) -> None:
        self.read = False
        self.channels: dict[str, dict[int, Spans]] = {}
        self.required: dict[str, int] = {}

    def add(self, epoch: int, channel: str, seq: int) -> bool:
        epochs = self.channels.setdefault(channel, {})
        spans = epochs.get(epoch)
        if spans is None:
            spans = epochs[epoch] = Spans()
        return seq < 1 or spans.add(seq)

    def of(self, book: Book) -> Spans:
        return self.channels.get(book.channel, {}).get(book.epoch) or Spans()

    def runs(self, channel: str) -> list[tuple[int, int]]:
        return sorted(run for spans in self.channels.get(channel, {}).values() for run in spans.runs())

    def head(self, channel: str) -> int:
        return max((spans.last for spans in self.channels.get(channel, {}).values()), default=0)


class Reading:
    """One reading of one channel's history."""

    def __init__(self, source: int, channel: str, required: int, *, from_start: bool) -> None:
        self.source = source
        self.channel = channel
        self.required = required
        self.from_start = from_start
        self.spans = Spans()

    @property
    def first(self) -> int:
        """The number with which it has to begin."""
        return 1 if self.from_start else max(1, self.spans.first)
