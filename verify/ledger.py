"""Who showed what first: one fact for each (epoch, channel, number), against which every other source is held.

A fact is 53 bytes in pages of 256, so that a few million events fit in a few hundred megabytes.
"""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final, NamedTuple

from verify.bodies import Body, Membership, outline
from verify.findings import Findings

# id, sender, at, text, digest | source, position, marks
_FACT: Final = struct.Struct("<16sIqIQIQB")
_IDENTITY: Final = 40  # bytes that must be the same everywhere
_KEY: Final = 20  # id and sender
_PAGE: Final = 256
_EMPTY: Final = bytes(_FACT.size)
_CANONICAL: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

_MARKS: Final = _FACT.size - 1

ACKED: Final = 1
"""Mark: somebody got an acknowledgement for it."""

LOST: Final = 2
"""Mark: acknowledged, and missing somewhere where it should be."""

REDACTED: Final = 4
"""Mark: so far only what a redaction leaves has been shown."""

NUMBERS: Final = (1 << 53) - 1
"""The greatest number that every JSON reader keeps exactly."""


def pack_id(id: str) -> bytes:
    """16 bytes for an event id; an id in any other spelling than the canonical one gets bytes of its own."""
    if _CANONICAL.fullmatch(id):
        return bytes.fromhex(id.replace("-", ""))
    return blake2b(id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def show_id(id: bytes) -> str:
    return str(uuid.UUID(bytes=id))


class Fact(NamedTuple):
    """`id` packed; `sender` and `source` are the ledger's small numbers; `at` in Unix milliseconds."""

    id: bytes
    sender: int
    at: int
    text: int
    digest: int
    source: int
    position: int
    marks: int


class Names:
    """Small numbers for strings, both ways."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []

    def number(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._names)
            self._names.append(name)
        return number

    def __getitem__(self, number: int) -> str:
        return self._names[number]


class Book:
    """The facts of one channel in one epoch."""

    __slots__ = ("_pages", "channel", "deleted", "epoch", "head", "memberships", "redacted", "rows")

    def __init__(self, epoch: int, channel: str) -> None:
        self.epoch = epoch
        self.channel = channel
        self.head = 0
        self.rows = 0
        self.memberships: dict[int, Membership] = {}
        self.deleted: set[int] = set()
        """Numbers of messages that an event of the channel deletes."""
        self.redacted: dict[int, tuple[int, int, int]] = {}
        """Number of a redacted event -> the message that must have been deleted for it, and where it was shown."""
        self._pages: dict[int, bytearray] = {}

    def get(self, seq: int) -> Fact | None:
        page = self._pages.get(seq // _PAGE)
        if page is None:
            return None
        fact = Fact(*_FACT.unpack_from(page, seq % _PAGE * _FACT.size))
        return None if fact.id == _EMPTY[:16] else fact

    def slot(self, seq: int) -> tuple[bytearray, int]:
        """The page and the place in it of this number."""
        page = self._pages.get(seq // _PAGE)
        if page is None:
            page = self._pages[seq // _PAGE] = bytearray(_PAGE * _FACT.size)
        return page, seq % _PAGE * _FACT.size

    def mark(self, seq: int, mark: int) -> bool:
        """Mark a fact that is there. False when it had the mark."""
        page, place = self.slot(seq)
        had = page[place + _MARKS] & mark
        page[place + _MARKS] |= mark
        return not had

    def seqs(self, first: int, last: int) -> Iterator[int]:
        """The numbers within `first` .. `last` that have a fact, ascending; the cost is that of the facts there."""
        if first > last:
            return
        pages = sorted(page for page in self._pages if first // _PAGE <= page <= last // _PAGE)
        for number in pages:
            page = self._pages[number]
            for index in range(max(0, first - number * _PAGE), min(_PAGE, last - number * _PAGE + 1)):
                if page[index * _FACT.size : index * _FACT.size + 16] != _EMPTY[:16]:
                    yield number * _PAGE + index

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """(number, id and sender) of every fact, ascending."""
        for number in sorted(self._pages):
            page = self._pages[number]
            for index in range(_PAGE):
                key = bytes(page[index * _FACT.size : index * _FACT.size + _KEY])
                if key[:16] != _EMPTY[:16]:
                    yield number * _PAGE + index, key


def key_of(id: bytes, sender: int) -> bytes:
    """As in `Book.entries`."""
    return id + sender.to_bytes(4, "little")


def _one_is_redacted(first: Fact, other: Fact) -> bool:
    """The one documented exception of agreement: a deleted message or an edit of it, and what is left of that."""
    return bool((first.marks ^ other.marks) & REDACTED) and outline(first.digest) == outline(other.digest)


class Ledger:
    """All books, the names of people and sources, and the disagreements found while writing."""

    def __init__(self, findings: Findings) -> None:
        self.people = Names()
        self.sources = Names()
        self.books: dict[tuple[int, str], Book] = {}
        self._findings = findings

    def book(self, epoch: int, channel: str) -> Book:
        key = epoch, channel
        book = self.books.get(key)
        if book is None:
            book = self.books[key] = Book(epoch, channel)
        return book

    def epochs(self, channel: str) -> list[int]:
        """The epochs in which anybody showed something of this channel, ascending."""
        return sorted(epoch for epoch, name in self.books if name == channel)

    def where(self, source: int, position: int) -> str:
        """`anna.jsonl:17`, `Kafka events.1-3 offset 99`, or the bare name of a source without positions."""
        name = self.sources[source]
        if position == 0 and not name.endswith(" offset"):
            return name
        return f"{name} {position}" if name.endswith(" offset") else f"{name}:{position}"

    def see(
        self,
        book: Book,
        seq: int,
        id: bytes,
        sender: int,
        at: int | None,
        body: Body,
        source: int,
        position: int,
    ) -> None:
        """Write down what a source shows, or hold it against what is there. `at` None: not known, not compared."""
        if not 1 <= seq <= NUMBERS:
            self._findings.add(
                "bad_number", book.channel, seq, f"the event {show_id(id)} has the number {seq}",
                self.where(source, position),
            )  # fmt: skip
            return
        if body.redacts is not None:
            book.redacted.setdefault(seq, (body.redacts or seq, source, position))
        page, place = book.slot(seq)
        mark = 0 if body.redacts is None else REDACTED
        packed = _FACT.pack(id, sender, at or 0, body.text, body.digest, source, position, mark)
        there = page[place : place + _FACT.size]
        if there[:_IDENTITY] == packed[:_IDENTITY]:
            return
        if there[:16] == _EMPTY[:16]:
            page[place : place + _FACT.size] = packed
            book.rows += 1
            if seq > book.head:
                book.head = seq
            if body.membership is not None:
                book.memberships[seq] = body.membership
            if body.deletes:
                book.deleted.add(body.deletes)
            return
        first, other = Fact(*_FACT.unpack(there)), Fact(*_FACT.unpack(packed))
        self._compare(book, seq, first, other, at is None)
        if first.marks & REDACTED and not other.marks & REDACTED and _one_is_redacted(first, other):
            # From here on the others are held against what it was.
            kept = first._replace(text=other.text, digest=other.digest, marks=first.marks & ~REDACTED)
            page[place : place + _FACT.size] = _FACT.pack(*kept)

    def _compare(self, book: Book, seq: int, first: Fact, other: Fact, any_time: bool) -> None:
        differences = []
        if first.id != other.id:
            differences.append(f"id {show_id(first.id)} and {show_id(other.id)}")
        if first.sender != other.sender:
            differences.append(f"sender {self.people[first.sender]} and {self.people[other.sender]}")
        if first.at != other.at and not any_time:
            differences.append(f"at {first.at} and {other.at}")
        if (first.digest != other.digest or first.text != other.text) and not _one_is_redacted(first, other):
            differences.append("different bodies")
        if differences:
            self._findings.add(
                "different_event", book.channel, seq, f"epoch {book.epoch}: {', '.join(differences)}",
                self.where(first.source, first.position), self.where(other.source, other.position),
            )  # fmt: skip
