"""The decision: what all sources say, held against each other. No I/O.

Feed it the recordings, then the log as it stands, then PostgreSQL and history, then what the log got meanwhile;
in that order a running system can be judged, because each source is held only to what was there before it was read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from verify.bodies import Bodies
from verify.crosscheck import Crosscheck
from verify.figures import Figures, LogCounts, figures_of
from verify.findings import Findings
from verify.ledger import Book, Ledger, pack_id
from verify.lines import Connected, Line, read_line
from verify.numbering import Numbered
from verify.stream import Stream


class Terms(NamedTuple):
    """What the caller vouches for.

    caught_up             every client was given the time to catch up before it left, so each must have been shown
                          everything; else only what was acknowledged `settle_ms` before it left
    all_senders_recorded  the recorded people used no other client, so a message of theirs that no recording has
                          sent is forged
    channels              judge only these; None: those of the recordings, or all without recordings
    """

    caught_up: bool = False
    all_senders_recorded: bool = False
    settle_ms: int = 5_000
    channels: frozenset[str] | None = None


class StoredRow(NamedTuple):
    """A row of PostgreSQL's `events`."""

    epoch: int
    channel: str
    seq: int
    sender: str
    id: str
    at: int
    body: bytes | None


class HistoryEvent(NamedTuple):
    """An event of REST history; `epoch`, that of the answer it came in, is the current one, not the event's own."""

    epoch: int
    channel: str
    seq: int
    sender: str
    id: str
    at: int
    body: bytes


class Verdict(NamedTuple):
    findings: Findings
    figures: Figures

    @property
    def holds(self) -> bool:
        return not self.findings.counts


class Recording:
    """One file of recorded lines; several clients may have written to it."""

    def __init__(self, judge: Judge, name: str) -> None:
        self._judge = judge
        self._name = name
        self._source = judge.ledger.sources.number(name)
        self._streams: dict[str, Stream] = {}

    def take(self, text: bytes, position: int) -> None:
        """The line at this position (from 1). Raises CannotJudge."""
        line = read_line(text, f"{self._name}:{position}")
        if line is None or not self._is_judged(line):
            return
        stream = self._streams.get(line.client)
        if stream is None:
            stream = self._streams[line.client] = self._judge.new_stream(line.client, line.user, self._source)
        stream.take(line, position)

    def finish(self) -> None:
        for stream in self._streams.values():
            stream.finish()

    def _is_judged(self, line: Line) -> bool:
        """Whether the line is about a channel that is judged; a welcome is stripped of the others."""
        judged = self._judge.terms.channels
        if judged is None:
            return True
        if isinstance(line, Connected):
            line.heads = {channel: head for channel, head in line.heads.items() if channel in judged}
            line.resumed = {channel: last for channel, last in line.resumed.items() if channel in judged}
        return getattr(line, "channel", None) in judged or not hasattr(line, "channel")


class Judge:
    """Takes every source and gives the verdict."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.findings = Findings()
        self.ledger = Ledger(self.findings)
        self.streams: list[Stream] = []
        self.notes: list[str] = []
        self.log_counts: LogCounts | None = None
        self._bodies = Bodies()
        self._cross = Crosscheck(self.ledger, self.findings, self.streams, self.notes)
        self._database = -1

    # --- recordings -----------------------------------------------------------------------------------------

    def recording(self, name: str) -> Recording:
        return Recording(self, name)

    def new_stream(self, client: str, user: str, source: int) -> Stream:
        stream = Stream(client, source, self.ledger, self._bodies, self.findings)
        stream.begin(user)
        self.streams.append(stream)
        return stream

    def channels(self) -> frozenset[str] | None:
        """What the other sources need to be asked for; None: everything."""
        if self.terms.channels is not None:
            return self.terms.channels
        if not self.streams:
            return None
        seen = {channel for _, channel in self.ledger.books}
        for stream in self.streams:
            seen.update(stream.sends, stream.acks)
        return frozenset(seen)

    def required(self, channel: str) -> int:
        """The greatest number that anybody has vouched for so far: what PostgreSQL and history have to have."""
        heads = [book.head for (_, name), book in self.ledger.books.items() if name == channel]
        tops = [stream.acks[channel].top for stream in self.streams if channel in stream.acks]
        named = [
            last
            for stream in self.streams
            for (_, viewed), view in stream.views.items()
            if viewed == channel
            for last, _ in (*view.gaps, *view.openings)
        ]
        return max(heads + tops + named, default=0)

    # --- the log --------------------------------------------------------------------------------------------

    def log_begins(self, epoch: int, partition: int, *, based: bool) -> int:
        """Announce a partition; gives its source number. `based`: it holds the epoch from the first record on and
        channels begin at 1 in it; else its numbers are relative until another source anchors them."""
        self._cross.log_begins(epoch, based=based)
        return self.ledger.sources.number(f"Kafka events.{epoch}-{partition} offset")

    def log_record(
        self, epoch: int, source: int, offset: int, numbered: Numbered, value: bytes | None
    ) -> None:
        self._cross.log_record(epoch, source, offset, numbered, self._bodies.read(value))

    def log_paused(self) -> None:
        """The log was read to its end: what it numbers so far must be in PostgreSQL and history, read after this."""
        self._cross.log_paused()

    # --- PostgreSQL and history -----------------------------------------------------------------------------

    def database_begins(self, channels: Iterable[str] | None) -> None:
        self._database = self.ledger.sources.number("PostgreSQL events")
        self._cross.database_begins({name: self.required(name) for name in self._known(channels)})

    def stored(self, row: StoredRow) -> None:
        book = self.ledger.book(row.epoch, row.channel)
        body = self._bodies.read(row.body)
        sender = self.ledger.people.number(row.sender)
        self.ledger.see(book, row.seq, pack_id(row.id), sender, row.at, body, self._database, row.seq)
        if not self._cross.stored(row.epoch, row.channel, row.seq):
            self.findings.add(
                "stored_twice",
                row.channel,
                row.seq,
                f"PostgreSQL has two events {row.seq}",
                "PostgreSQL events",
            )

    def history_begins(self, name: str, channel: str, *, from_start: bool) -> int:
        """A reading of one channel's history; gives its source number. `from_start`: it must begin with 1."""
        source = self.ledger.sources.number(name)
        self._cross.history_begins(source, channel, self.required(channel), from_start=from_start)
        return source

    def history(self, source: int, event: HistoryEvent, position: int) -> None:
        book = self._book_of(event.epoch, event.channel, event.seq)
        body = self._bodies.read(event.body)
        sender = self.ledger.people.number(event.sender)
        self.ledger.see(book, event.seq, pack_id(event.id), sender, event.at, body, source, position)
        if not self._cross.read(source, event.channel, event.seq):
            self.findings.add(
                "stored_twice", event.channel, event.seq, f"history gives {event.seq} twice",
                self.ledger.where(source, position),
            )  # fmt: skip

    def _book_of(self, epoch: int, channel: str, seq: int) -> Book:
        """Numbers go on from epoch to epoch: the event is of the latest one in which another source has it."""
        for earlier in reversed(self.ledger.epochs(channel)):
            if earlier <= epoch and self.ledger.books[earlier, channel].get(seq) is not None:
                return self.ledger.books[earlier, channel]
        return self.ledger.book(epoch, channel)

    def _known(self, channels: Iterable[str] | None) -> set[str]:
        return {channel for _, channel in self.ledger.books} if channels is None else set(channels)

    # --- the verdict ----------------------------------------------------------------------------------------

    def verdict(self) -> Verdict:
        """Call once, after all sources."""
        self._cross.anchor()
        for stream in self.streams:
            for seen in stream.looked_up:
                book = self._book_of(seen.epoch, seen.channel, seen.seq)
                self.ledger.see(
                    book, seen.seq, seen.id, seen.sender, seen.at, seen.body, stream.source, seen.position
                )
        self._cross.decide(self.terms.caught_up, self.terms.all_senders_recorded, self.terms.settle_ms)
        figures = figures_of(self.ledger, self.findings, self.streams, self._cross, self.notes)
        figures.log = self.log_counts
        return Verdict(self.findings, figures)
