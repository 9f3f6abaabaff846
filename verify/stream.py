"""What one client's recording says: what it sent, what was acknowledged, and what its application was shown.

Holes, repetitions and numbers out of place are found while reading; what needs other sources waits for the judge.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from verify import lines
from verify.bodies import Bodies, Body, text_of
from verify.findings import Findings
from verify.ledger import Ledger, pack_id
from verify.view import Acks, Sends, View

NORMAL_CLOSURE: Final = 1000


class LookedUp(NamedTuple):
    """An event of history that the application looked at. `epoch` is the current one then, not the event's own."""

    epoch: int
    channel: str
    seq: int
    id: bytes
    sender: int
    at: int
    body: Body
    position: int


class Stream:
    """One client of one recording. `take` its lines in order; then `finish`."""

    def __init__(self, name: str, source: int, ledger: Ledger, bodies: Bodies, findings: Findings) -> None:
        self.name = name
        self.source = source
        self.user = -1
        self.sends: dict[str, Sends] = {}
        self.acks: dict[str, Acks] = {}
        self.views: dict[tuple[int, str], View] = {}
        self.looked_up: list[LookedUp] = []
        self.rebirths: list[tuple[str, bytes, str, int]] = []
        self.shown = 0
        self.clean = False
        self.ended_wall = 0
        self.epoch = 0
        self._heads: dict[str, int] = {}
        self._wall_offset: float | None = None
        self._ledger = ledger
        self._bodies = bodies
        self._findings = findings

    def take(self, line: lines.Line, position: int) -> None:
        """The line at this position (its number in the file)."""
        self.clean = False
        match line:
            case lines.Event():
                self._event(line, position)
                return
            case lines.Ack():
                self._ack(line, position)
                return
        self._wall_offset = line.at - line.t if line.at else self._wall_offset
        match line:
            case lines.Sent():
                self._sent(line, position)
            case lines.Refused():
                sends = self.sends.get(line.channel)
                row = sends.rows.get(pack_id(line.id)) if sends else None
                if sends is not None and row is not None:
                    sends.free[row] = 1
            case lines.Opened():
                self._change_epoch(line.epoch, position, announced=False)
                self._open(line.channel, line.head, position)
            case lines.Closed():
                self._close(line, position)
            case lines.Gap():
                self._gap(line, position)
            case lines.Reset():
                self._reset(line.epoch)
            case lines.Connected():
                self._connected(line, position)
            case lines.Disconnected():
                self.clean = line.code == NORMAL_CLOSURE
                self.ended_wall = int(line.at)
            case lines.Rebirth():
                self.rebirths.append((line.channel, pack_id(line.old_id), line.new_id, position))

    def begin(self, user: str) -> None:
        self.user = self._ledger.people.number(user)

    def finish(self) -> None:
        """The recording is over: what was passed over and never came is a hole."""
        for view in self.views.values():
            for first, last, position in view.skipped:
                self._broken(
                    "hole", view.book.channel, first,
                    f"{self.name} was never shown {_run(first, last)}, and {last + 1} came", position,
                )  # fmt: skip

    def rebirths_of(self, channel: str) -> list[tuple[str, bytes, str, int]]:
        """(channel, old id, new id, position) of each."""
        return [rebirth for rebirth in self.rebirths if rebirth[0] == channel]

    @property
    def told(self) -> int:
        """How many numbers a gap named that were not fetched."""
        return sum(last - first + 1 for view in self.views.values() for first, last in view.told)

    # --- what it did --------------------------------------------------------------------------------------------

    def _sent(self, line: lines.Sent, position: int) -> None:
        sends = self.sends.get(line.channel)
        if sends is None:
            sends = self.sends[line.channel] = Sends()
        id = pack_id(line.id)
        if id not in sends.rows:
            acks = self.acks.get(line.channel)
            free = line.via == "rest"
            sends.add(id, text_of(line.text), acks.floor if acks else 0, position, free)

    def _ack(self, line: lines.Ack, position: int) -> None:
        acks = self.acks.get(line.channel)
        if acks is None:
            acks = self.acks[line.channel] = Acks()
        id = pack_id(line.id)
        sends = self.sends.get(line.channel)
        row = sends.rows.get(id) if sends else None
        if sends is None or row is None:
            self._broken("ack_unsent", line.channel, line.seq, f"{self.name} never sent {line.id}", position)
        elif line.via == "rest":
            sends.free[row] = 1
        if line.seq < 1:
            self._broken(
                "bad_number", line.channel, line.seq, f"{line.id} is acknowledged as {line.seq}", position
            )
            return
        acks.epochs.append(line.epoch or self.epoch)
        acks.seqs.append(line.seq)
        acks.ids += id
        acks.ats.append(line.at)
        acks.walls.append(0 if self._wall_offset is None else int(line.t + self._wall_offset))
        acks.positions.append(position)
        acks.duplicates.append(line.duplicate)
        if line.seq > acks.top:
            acks.top = line.seq
        acks.floor = max(acks.floor, line.seq)

    # --- what it was shown --------------------------------------------------------------------------------------

    def _view(self, channel: str) -> View:
        view = self.views.get((self.epoch, channel))
        if view is None:
            view = self.views[self.epoch, channel] = View(self._ledger.book(self.epoch, channel))
        return view

    def _event(self, line: lines.Event, position: int) -> None:
        body = self._bodies.read(bytes(line.event))
        sender = self._ledger.people.number(line.sender)
        id = pack_id(line.id)
        if line.via == "history":
            # Its epoch is that of the answer it came in; the event may be of an earlier one.
            self.looked_up.append(
                LookedUp(line.epoch, line.channel, line.seq, id, sender, line.at, body, position)
            )
            return
        self._change_epoch(line.epoch, position, announced=False)
        book = self._ledger.book(line.epoch, line.channel)
        self._ledger.see(book, line.seq, id, sender, line.at, body, self.source, position)
        if line.seq < 1:
            return
        self.shown += 1
        view, seq = self._view(line.channel), line.seq
        view.fresh = False
        if not view.open:
            self._out_of_view(view, seq, position)
        elif seq == view.next:
            view.next = seq + 1
            view.shown.add(seq)
        elif seq in view.shown:
            self._broken("shown_twice", line.channel, seq, f"{self.name} was shown {seq} again", position)
        elif seq > view.next:
            view.skipped.append((view.next, seq - 1, position))
            view.next = seq + 1
            view.shown.add(seq)
        elif view.lacks(seq):
            self._lacking(view, line, position)
        else:
            known = view.unskip(seq)
            what = f"after {view.next - 1}" if known else f"though its view began at {view.next - 1}"
            self._broken("out_of_order", line.channel, seq, f"{self.name} was shown {seq} {what}", position)
            view.shown.add(seq)

    def _lacking(self, view: View, line: lines.Event, position: int) -> None:
        """A number that a gap had named."""
        if line.via != "gap":
            self._broken(
                "gap_lies", line.channel, line.seq,
                f"{self.name} was told to lack {line.seq}, and it came {line.via}", position,
            )  # fmt: skip
        elif line.seq < view.shown.last:
            self._broken(
                "out_of_order", line.channel, line.seq,
                f"{self.name} was shown {line.seq} after {view.shown.last}", position,
            )  # fmt: skip
        view.fetched(line.seq)
        view.shown.add(line.seq)

    def _out_of_view(self, view: View, seq: int, position: int) -> None:
        if seq in view.shown:
            self._broken(
                "shown_twice", view.book.channel, seq, f"{self.name} was shown {seq} again", position
            )
        elif view.lacks(seq):
            view.fetched(seq)  # a gap was told before the view was closed
        elif view.closed_at:
            self._broken(
                "after_closed", view.book.channel, seq,
                f"{self.name} was shown {seq} after closed with last_seq {view.closed_last}",
                view.closed_at, position,
            )  # fmt: skip
        else:
            self._broken("not_open", view.book.channel, seq, f"{self.name} was shown {seq}", position)
        view.shown.add(seq)

    def _open(self, channel: str, head: int, position: int) -> None:
        view = self._view(channel)
        view.openings.append((head, position))
        if not view.open or view.fresh:
            view.start(head)
        elif view.next != head + 1:
            self._broken(
                "opened_lies", channel, head,
                f"{self.name} stood at {view.next - 1} and was told that it begins at {head}", position,
            )  # fmt: skip
            view.start(head)

    def _close(self, line: lines.Closed, position: int) -> None:
        view = self._view(line.channel)
        if not view.open:
            return
        if line.last_seq >= view.next:
            self._broken(
                "closed_lies", line.channel, line.last_seq,
                f"{self.name} stood at {view.next - 1} and was told that its view ended with {line.last_seq}",
                position,
            )  # fmt: skip
        view.open = False
        view.closed_at, view.closed_last = position, line.last_seq
        view.periods.append((view.began, view.next - 1, position))

    def _gap(self, line: lines.Gap, position: int) -> None:
        view = self._view(line.channel)
        what = None
        if not view.open:
            what = "of a channel that is not open"
        elif line.to < line.from_:
            what = "which is no range"
        elif line.from_ > view.next or not view.lacks_all(line.from_, min(line.to, view.next - 1)):
            what = f"though {self.name} stood at {view.next - 1}"
        if what is not None:
            self._broken(
                "gap_lies", line.channel, line.from_, f"gap {line.from_} .. {line.to} {what}", position
            )
        if view.open and line.to >= view.next:
            view.fresh = False
            if line.from_ > view.next:
                view.skipped.append((view.next, line.from_ - 1, position))
            view.told.append((max(line.from_, view.next), line.to))
            view.gaps.append((line.to, position))
            view.next = line.to + 1

    def _connected(self, line: lines.Connected, position: int) -> None:
        self._change_epoch(line.epoch, position, announced=True)
        self._heads = line.heads
        for channel, last in line.resumed.items():
            view = self._view(channel)
            if not view.open:
                view.start(last)
            elif last + 1 < view.next and view.lacks_all(last + 1, view.next - 1):
                view.rewind(last)
        for channel, head in line.heads.items():
            view = self._view(channel)
            if channel in line.resumed:
                continue
            if not view.open:
                view.start(head)
            view.fresh = True  # an `opened` may follow and say that it begins anew, and where

    def _change_epoch(self, epoch: int, position: int, *, announced: bool) -> None:
        if epoch == self.epoch:
            return
        if self.epoch and not announced:
            self._broken(
                "wrong_epoch", "", 0, f"{self.name} was in epoch {self.epoch}, and {epoch} came", position
            )
        self.epoch = epoch

    def _reset(self, epoch: int) -> None:
        """All positions are void; the channels are open from the heads of the welcome, if it has come already."""
        heads = self._heads if epoch == self.epoch else {}
        self.epoch = epoch
        for acks in self.acks.values():
            acks.floor = 0  # the new epoch goes on from what was stored, which may be less
        for (viewed, channel), view in self.views.items():
            if viewed == epoch and channel not in heads:
                view.open = False
        for channel, head in heads.items():
            self._view(channel).start(head, fresh=True)

    def _broken(self, rule: str, channel: str, seq: int, what: str, *positions: int) -> None:
        where = (self._ledger.where(self.source, position) for position in positions)
        self._findings.add(rule, channel, seq, what, *where)


def _run(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} .. {last}"
