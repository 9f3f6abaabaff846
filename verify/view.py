"""What is kept of a client while its recording is read: its sends, its acknowledgements, its view of each channel."""

from __future__ import annotations

from array import array

from verify.ledger import Book
from verify.spans import Spans


class Sends:
    """The messages that one client sent to one channel, in the order of their first attempts.

    `floors`: the greatest number acknowledged to this client in this channel before the first attempt, so that
    the message's own number must be greater. `free`: not bound to the order of sending, because a copy was
    refused (a later attempt may be the first to be taken) or because it went over REST.
    """

    def __init__(self) -> None:
        self.rows: dict[bytes, int] = {}
        self.texts = array("I")
        self.floors = array("Q")
        self.positions = array("Q")
        self.free = bytearray()

    def add(self, id: bytes, text: int, floor: int, position: int, free: bool) -> None:
        self.rows[id] = len(self.texts)
        self.texts.append(text)
        self.floors.append(floor)
        self.positions.append(position)
        self.free.append(free)


class Acks:
    """The acknowledgements that one client got for one channel. `walls`: when, in Unix ms, 0 when unknown."""

    def __init__(self) -> None:
        self.epochs = array("I")
        self.seqs = array("Q")
        self.ids = bytearray()
        self.ats = array("q")
        self.walls = array("q")
        self.positions = array("Q")
        self.duplicates = bytearray()
        self.top = 0
        self.floor = 0  # the same, since the last reset

    def __len__(self) -> int:
        return len(self.seqs)

    def id(self, index: int) -> bytes:
        return bytes(self.ids[index * 16 : index * 16 + 16])


class View:
    """What one client was shown of one channel in one epoch.

    `next` is the number that must come next while the view is open. `told`: numbers that a gap named and that
    were not fetched since. `skipped`: runs passed over silently, with the position where that was seen.
    `fresh`: a welcome did not resume it, and nothing was shown since. `periods`: (head at which it was opened, last number,
    position) of each view that was closed. `gaps`, `openings`: (last number or head, position) of each.
    """

    def __init__(self, book: Book) -> None:
        self.book = book
        self.next = 0
        self.open = False
        self.fresh = False
        self.closed_at = 0
        self.closed_last = 0
        self.shown = Spans()
        self.told: list[tuple[int, int]] = []
        self.skipped: list[tuple[int, int, int]] = []
        self.began = 0
        self.periods: list[tuple[int, int, int]] = []
        self.gaps: list[tuple[int, int]] = []
        self.openings: list[tuple[int, int]] = []

    def start(self, head: int, *, fresh: bool = False) -> None:
        self.open = True
        self.fresh = fresh
        self.next = head + 1
        self.began = head

    def rewind(self, last: int) -> None:
        """The client asks again for what a gap had named, from `last` + 1 on."""
        self.next = last + 1
        self.told = [(first, min(end, last)) for first, end in self.told if first <= last]

    def lacks(self, seq: int) -> bool:
        return any(first <= seq <= last for first, last in self.told)

    def lacks_all(self, first: int, last: int) -> bool:
        """Whether every number of this run was named by a gap and not fetched since."""
        for low, high in sorted(self.told):
            if low <= first <= high:
                first = high + 1
        return first > last

    def fetched(self, seq: int) -> None:
        """A number that a gap had named was shown after all."""
        left = []
        for first, last in self.told:
            if first <= seq <= last:
                left += [(first, seq - 1), (seq + 1, last)]
            else:
                left.append((first, last))
        self.told = [(first, last) for first, last in left if first <= last]

    def unskip(self, seq: int) -> bool:
        """True when the number is one that had been passed over: it is late, not lost."""
        for index, (first, last, position) in enumerate(self.skipped):
            if first <= seq <= last:
                rest = [(first, seq - 1, position), (seq + 1, last, position)]
                self.skipped[index : index + 1] = [run for run in rest if run[0] <= run[1]]
                return True
        return False
