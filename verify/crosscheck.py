"""What only several sources together can tell, channel by channel."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

from verify.bodies import Body
from verify.coverage import DatabaseSide, LogSide, Reading
from verify.findings import Findings
from verify.ledger import ACKED, LOST, Book, Ledger, key_of, show_id
from verify.numbering import Numbered
from verify.stream import Stream
from verify.view import Acks, Sends, View


class Crosscheck:
    """Holds what the standing sources have, and decides at the end."""

    def __init__(self, ledger: Ledger, findings: Findings, streams: list[Stream], notes: list[str]) -> None:
        self.log = LogSide(ledger)
        self.database = DatabaseSide()
        self.readings: dict[tuple[int, str], Reading] = {}
        self.lost_everywhere = 0
        self._ledger = ledger
        self._findings = findings
        self._streams = streams
        self._notes = notes

    # --- what is there ------------------------------------------------------------------------------------------

    def log_begins(self, epoch: int, *, based: bool) -> None:
        self.log.begins(epoch, based=based)

    def log_record(self, epoch: int, source: int, offset: int, numbered: Numbered, body: Body) -> None:
        self.log.record(epoch, source, offset, numbered, body)

    def log_paused(self) -> None:
        self.log.paused()

    def database_begins(self, required: dict[str, int]) -> None:
        self.database.read = True
        self.database.required = required

    def stored(self, epoch: int, channel: str, seq: int) -> bool:
        return self.database.add(epoch, channel, seq)

    def history_begins(self, source: int, channel: str, required: int, *, from_start: bool) -> None:
        self.readings.setdefault((source, channel), Reading(source, channel, required, from_start=from_start))

    def read(self, source: int, channel: str, seq: int) -> bool:
        return seq < 1 or self.readings[source, channel].spans.add(seq)

    def anchor(self) -> None:
        """Tie the numbers of a log without its beginning to those of the other sources; before `decide`."""
        for channel in self.log.anchor():
            self._notes.append(f"the log's numbers of {channel} could not be tied to any other source's")

    # --- the decision -------------------------------------------------------------------------------------------

    def decide(self, caught_up: bool, all_senders_recorded: bool, settle_ms: int) -> None:
        self._resolve_epochs()
        for key in sorted(self._ledger.books):
            book = self._ledger.books[key]
            index = self._index(book)
            self._acks(book, index)
            self._log(book)
            self._redactions(book)
            self._database(book)
            for reading in self.readings.values():
                if reading.channel == book.channel:
                    self._history(reading, book)
            self._clients(book, caught_up, settle_ms)
            self._senders(book, index, all_senders_recorded)
        self._twice_over_epochs()
        for channel in sorted(self.database.channels):
            self._dense(channel, "PostgreSQL", 1, self.database.runs(channel), "PostgreSQL events")
        for reading in self.readings.values():
            name = self._ledger.sources[reading.source]
            self._dense(reading.channel, name, reading.first, list(reading.spans.runs()), name)

    def _resolve_epochs(self) -> None:
        """An acknowledgement over REST may come before the client knows an epoch: then the latest one is meant."""
        for stream in self._streams:
            for channel, acks in stream.acks.items():
                latest = max(self._ledger.epochs(channel), default=1)
                for at, epoch in enumerate(acks.epochs):
                    acks.epochs[at] = epoch or latest
                for epoch in set(acks.epochs):
                    self._ledger.book(epoch, channel)

    def _index(self, book: Book) -> dict[bytes, int]:
        """(id, sender) -> number, finding what has two."""
        index: dict[bytes, int] = {}
        for seq, key in book.entries():
            first = index.setdefault(key, seq)
            if first != seq:
                sender = self._ledger.people[int.from_bytes(key[16:], "little")]
                self._findings.add(
                    "numbered_twice", book.channel, seq,
                    f"{show_id(key[:16])} of {sender} is {first} and {seq}",
                    self._seen(book, first), self._seen(book, seq),
                )  # fmt: skip
        return index

    def _twice_over_epochs(self) -> None:
        """PostgreSQL holds all epochs: no message may be in it once for each of two."""
        for channel, epochs in self.database.channels.items():
            if len(epochs) < 2:
                continue
            first: dict[bytes, tuple[Book, int]] = {}
            for epoch, spans in sorted(epochs.items()):
                book = self._ledger.book(epoch, channel)
                for seq, key in book.entries():
                    if seq not in spans:
                        continue
                    before, number = first.setdefault(key, (book, seq))
                    if before is not book:
                        self._findings.add(
                            "numbered_twice", channel, seq,
                            f"{show_id(key[:16])} is {number} in epoch {before.epoch} and {seq} in epoch {epoch}",
                            self._seen(before, number), self._seen(book, seq),
                        )  # fmt: skip

    def _seen(self, book: Book, seq: int) -> str:
        fact = book.get(seq)
        return "nowhere" if fact is None else self._ledger.where(fact.source, fact.position)

    def _acks(self, book: Book, index: dict[bytes, int]) -> None:
        for stream in self._streams:
            acks = stream.acks.get(book.channel)
            if acks is None:
                continue
            known: dict[bytes, int] = {}
            for at in range(len(acks)):
                if acks.epochs[at] == book.epoch:
                    self._ack(stream, acks, at, book, index)
                    first = known.setdefault(acks.id(at), at)
                    if acks.seqs[first] != acks.seqs[at]:
                        self._findings.add(
                            "numbered_twice", book.channel, acks.seqs[at],
                            f"{show_id(acks.id(at))} was acknowledged as {acks.seqs[first]} and {acks.seqs[at]}",
                            self._ledger.where(stream.source, acks.positions[first]),
                            self._ledger.where(stream.source, acks.positions[at]),
                        )  # fmt: skip

    def _ack(self, stream: Stream, acks: Acks, at: int, book: Book, index: dict[bytes, int]) -> None:
        id, seq = acks.id(at), acks.seqs[at]
        where = self._ledger.where(stream.source, acks.positions[at])
        fact = book.get(seq)
        if fact is not None and fact.id == id and fact.sender == stream.user:
            book.mark(seq, ACKED)
            if fact.at != acks.ats[at] and not acks.duplicates[at] and fact.at:
                self._findings.add(
                    "ack_differs", book.channel, seq,
                    f"{show_id(id)} was acknowledged with at {acks.ats[at]}, and is shown with {fact.at}",
                    where, self._seen(book, seq),
                )  # fmt: skip
            return
        if fact is not None:
            self._findings.add(
                "ack_differs", book.channel, seq,
                f"{stream.name} got {seq} for {show_id(id)} of {self._ledger.people[stream.user]},"
                f" and {seq} is {show_id(fact.id)} of {self._ledger.people[fact.sender]}",
                where, self._seen(book, seq),
            )  # fmt: skip
        elsewhere = index.get(key_of(id, stream.user))
        if elsewhere is not None:
            book.mark(elsewhere, ACKED)
            if fact is None:
                self._findings.add(
                    "ack_differs", book.channel, seq,
                    f"{stream.name} got {seq} for {show_id(id)}, which is {elsewhere}",
                    where, self._seen(book, elsewhere),
                )  # fmt: skip
            return
        if self._only_told_lacking(book, seq):
            return
        self.lost_everywhere += 1
        self._findings.add(
            "acked_nowhere",
            book.channel,
            seq,
            f"{show_id(id)}, acknowledged to {stream.name} as {seq}",
            where,
        )

    def _only_told_lacking(self, book: Book, seq: int) -> bool:
        """Whether clients are the only witnesses, and one was told that it lacks this number: it may be elsewhere."""
        if self.log.epochs or self.database.read or self.readings:
            return False
        views = (stream.views.get((book.epoch, book.channel)) for stream in self._streams)
        return any(view.lacks(seq) for view in views if view is not None)

    def _missing(self, book: Book, first: int, last: int, acked: str, other: str, where: str) -> None:
        """Every fact of this run is missing in `where`."""
        for seq in book.seqs(first, last):
            fact = book.get(seq)
            if fact is None:
                continue
            rule = acked if fact.marks & ACKED else other
            if fact.marks & ACKED:
                book.mark(seq, LOST)
            self._findings.add(
                rule, book.channel, seq, f"epoch {book.epoch}: {show_id(fact.id)} is {seq}, and not in {where}",
                self._seen(book, seq),
            )  # fmt: skip

    def _log(self, book: Book) -> None:
        head = self.log.head(book)
        if head is not None and head < book.head:
            self._missing(book, head + 1, book.head, "acked_not_in_log", "not_in_log", "the log")

    def _redactions(self, book: Book) -> None:
        """Only the log surely holds the deletion, which is later than everything that it is about."""
        if self.log.head(book) is None:
            return
        for seq, (message, source, position) in sorted(book.redacted.items()):
            if message not in book.deleted:
                self._findings.add(
                    "redacted_undeleted", book.channel, seq, f"{message} is not deleted",
                    self._ledger.where(source, position),
                )  # fmt: skip

    def _database(self, book: Book) -> None:
        if not self.database.read:
            return
        required = self.database.required.get(book.channel, 0)
        for first, last in self.database.of(book).missing(1, min(required, book.head)):
            self._missing(book, first, last, "acked_not_in_database", "not_in_database", "PostgreSQL")

    def _history(self, reading: Reading, book: Book) -> None:
        name = self._ledger.sources[reading.source]
        for first, end in reading.spans.missing(reading.first, min(reading.required, book.head)):
            self._missing(book, first, end, "acked_not_in_history", "not_in_history", name)

    def _dense(self, channel: str, name: str, first: int, runs: list[tuple[int, int]], where: str) -> None:
        for low, high in runs:
            if low > first:
                self._findings.add(
                    "hole", channel, first, f"{name} has {low}, and nothing from {first} to {low - 1}", where
                )
            first = max(first, high + 1)

    # --- clients ------------------------------------------------------------------------------------------------

    def _clients(self, book: Book, caught_up: bool, settle_ms: int) -> None:
        views = [
            (stream, view)
            for stream in self._streams
            if (view := stream.views.get((book.epoch, book.channel))) is not None
        ]
        if not views:
            return
        top = max(view.shown.last for _, view in views)
        acked = [] if caught_up else sorted(self._acked_when(book))
        walls = [wall for wall, _ in acked]
        tops = list(accumulate((seq for _, seq in acked), max))
        for stream, view in views:
            for first, last, _ in view.skipped:
                self._not_shown(book, stream, view, first, last, only_acked=True)
            self._beyond(book, stream, view)
            self._membership(book, stream, view)
            if not (view.open and stream.clean and stream.epoch == book.epoch):
                continue
            if caught_up:
                self._not_shown(book, stream, view, view.next, max(top, book.head), only_acked=False, top=top)
            else:
                before = bisect_right(walls, stream.ended_wall - settle_ms)
                last = tops[before - 1] if before else 0
                self._not_shown(book, stream, view, view.next, last, only_acked=True)

    def _acked_when(self, book: Book) -> Iterator[tuple[int, int]]:
        for stream in self._streams:
            acks = stream.acks.get(book.channel)
            if acks is not None:
                for at in range(len(acks)):
                    if acks.walls[at] and acks.epochs[at] == book.epoch:
                        yield acks.walls[at], acks.seqs[at]

    def _not_shown(
        self, book: Book, stream: Stream, view: View, first: int, last: int, *, only_acked: bool, top: int = 0
    ) -> None:
        for seq in book.seqs(first, last):
            fact = book.get(seq)
            if fact is None or seq in view.shown:
                continue
            acked = bool(fact.marks & ACKED)
            if acked:
                book.mark(seq, LOST)
            elif only_acked or seq > top:
                continue
            self._findings.add(
                "acked_not_shown" if acked else "not_shown", book.channel, seq,
                f"{stream.name} was shown nothing after {view.next - 1}" if seq >= view.next
                else f"{stream.name} was not shown {seq}",
                self._ledger.sources[stream.source], self._seen(book, seq),
            )  # fmt: skip

    def _beyond(self, book: Book, stream: Stream, view: View) -> None:
        """What a client is told may not name numbers that nobody has."""
        if self.log.head(book) is None and not self.database.read:
            return
        # A channel in which nothing has happened in this epoch yet still has the head of an earlier one.
        head = max(book.head, self.database.head(book.channel))
        for rule, told in (("gap_lies", view.gaps), ("opened_lies", view.openings)):
            for last, position in told:
                if last > head:
                    self._findings.add(
                        rule, book.channel, last, f"{stream.name} was told of {last}, and the head is {head}",
                        self._ledger.where(stream.source, position),
                    )  # fmt: skip

    def _membership(self, book: Book, stream: Stream, view: View) -> None:
        """Views follow the member events of the channel's own sequence."""
        user = self._ledger.people[stream.user]
        removed_at, version, removals = 0, 0, []
        for seq in sorted(book.memberships):
            event = book.memberships[seq]
            if user not in event.users or event.version < version:
                continue
            version = event.version
            if not event.added:
                removals.append(seq)
                removed_at = removed_at or seq
            else:
                # Whoever is added again may read all of it, and a node may hear of that before it comes to the
                # removal in the sequence: only a removal that stood in the end can be held against what was shown.
                removed_at = 0
        if removed_at:
            self._after_removal(book, stream, view, removed_at, view.shown.last)
        if not (self.log.epochs.get(book.epoch) or self.database.read):
            return  # the removal may be where nobody looked
        for began, last, position in view.periods:
            if not any(seq > began for seq in removals):
                self._findings.add(
                    "closed_member", book.channel, last, f"{stream.name}, opened at {began}, was closed at {last}",
                    self._ledger.where(stream.source, position),
                )  # fmt: skip

    def _after_removal(self, book: Book, stream: Stream, view: View, first: int, last: int) -> None:
        for low, high in view.shown.runs():
            seq = max(low, first)
            if seq <= min(high, last):
                self._findings.add(
                    "after_removal", book.channel, seq, f"{stream.name} was shown {seq}, and was removed by {first}",
                    self._ledger.sources[stream.source], self._seen(book, first),
                )  # fmt: skip

    # --- senders ------------------------------------------------------------------------------------------------

    def _senders(self, book: Book, index: dict[bytes, int], all_recorded: bool) -> None:
        sent_by: dict[int, list[Sends]] = {stream.user: [] for stream in self._streams}
        for stream in self._streams:
            sends = stream.sends.get(book.channel)
            if sends is not None:
                sent_by[stream.user].append(sends)
                self._order(book, stream, sends, index)
            for channel, old, new, position in stream.rebirths_of(book.channel):
                seq = index.get(key_of(old, stream.user))
                if seq is not None:
                    self._findings.add(
                        "absent_numbered", channel, seq, f"{stream.name} sent the text of {show_id(old)} again as {new}",
                        self._ledger.where(stream.source, position), self._seen(book, seq),
                    )  # fmt: skip
        for seq in book.seqs(1, book.head):
            fact = book.get(seq)
            if fact is None or not fact.text or fact.sender not in sent_by:
                continue
            said = [
                sends.texts[row]
                for sends in sent_by[fact.sender]
                if (row := sends.rows.get(fact.id)) is not None
            ]
            if said and fact.text not in said:
                self._findings.add(
                    "text_differs", book.channel, seq, f"{show_id(fact.id)} was sent with another text",
                    self._seen(book, seq),
                )  # fmt: skip
            elif not said and all_recorded:
                self._findings.add(
                    "never_sent", book.channel, seq,
                    f"{self._ledger.people[fact.sender]} never sent {show_id(fact.id)}", self._seen(book, seq),
                )  # fmt: skip

    def _order(self, book: Book, stream: Stream, sends: Sends, index: dict[bytes, int]) -> None:
        """First attempts, as they were made, against the numbers that they got."""
        highest, highest_position = 0, 0
        for id, row in sends.rows.items():
            seq = index.get(key_of(id, stream.user))
            if seq is None:
                continue
            where = self._ledger.where(stream.source, sends.positions[row])
            if seq <= sends.floors[row]:
                self._findings.add(
                    "ack_order", book.channel, seq,
                    f"{stream.name} sent {show_id(id)} when it had {sends.floors[row]} acknowledged", where,
                )  # fmt: skip
            if sends.free[row]:
                continue
            if seq < highest:
                self._findings.add(
                    "sender_order", book.channel, seq,
                    f"{stream.name} sent {show_id(id)}, now {seq}, after what is now {highest}",
                    self._ledger.where(stream.source, highest_position), where,
                )  # fmt: skip
            else:
                highest, highest_position = seq, sends.positions[row]
