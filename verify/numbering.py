"""The numbering rule, written a second time from the design: which records of a partition have which number.

A record's `lockstep` header holds `1 <channel> <sender> <id> <stamped>`. Three clocks meet in it, all Unix ms: the
broker's append time, the appending node's `stamped`, and `born`, the time inside the id (a UUIDv7, RFC 9562).
The partition's clock is the greatest min(append time, stamped) so far, over all records that count. A record gets
its channel's next number unless its id was born more than `future` ahead of that clock (not yet) or more than
`retry` behind it (never again), or the same (channel, sender, id) was numbered within the last retry + future.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from verify.findings import CannotJudge

HEADER: Final = "lockstep"
_HEX: Final = frozenset(b"0123456789abcdef")


class Copy(NamedTuple):
    """The envelope of one record. `stamped` and `born` in Unix ms."""

    channel: str
    sender: str
    id: str
    stamped: int
    born: int


class Numbered(NamedTuple):
    """A record that got a number. `at`: the partition's clock there. `sure` False: the log begins so shortly
    before it that a number for an earlier copy cannot be excluded."""

    copy: Copy
    seq: int
    at: int
    sure: bool


class Times(NamedTuple):
    """What an epoch's generation record says, in ms. `clock`: where the clock of each partition begins (Unix ms).

    Epochs after the first begin `retry` past their making: so an id that was born before is expired, for ever.
    """

    partitions: int
    retry: int
    future: int
    clock: int = 0


def _entity(field: bytes, prefix: bytes) -> bool:
    return (
        field.startswith(prefix) and len(field) == len(prefix) + 32 and _HEX.issuperset(field[len(prefix) :])
    )


def _born(id: bytes) -> int | None:
    """The time inside a UUIDv7 in canonical spelling; None for anything else."""
    parts = id.split(b"-")
    if [len(part) for part in parts] != [8, 4, 4, 4, 12] or not _HEX.issuperset(b"".join(parts)):
        return None
    if parts[2][:1] != b"7" or parts[3][:1] not in (b"8", b"9", b"a", b"b"):
        return None
    return int(parts[0] + parts[1], 16)


def read_envelope(headers: Iterable[tuple[str, bytes | None]]) -> Copy | None:
    """The envelope among a record's headers; None when there is not exactly one well-formed one.

    Raises CannotJudge for a version other than 1: counting on would be guessing.
    """
    values = [value or b"" for key, value in headers if key == HEADER]
    if len(values) != 1:
        return None
    fields = values[0].split(b" ")
    if fields[0] != b"1":
        if fields[0].isdigit():
            raise CannotJudge(
                f"the log holds envelopes of version {fields[0].decode()}, which this judge cannot read"
            )
        return None
    if len(fields) != 5:
        return None
    _, channel, sender, id, stamped = fields
    born = _born(id)
    if born is None or not _entity(channel, b"ch_") or not _entity(sender, b"usr_"):
        return None
    if not stamped.isdigit() or len(stamped) > 15:
        return None
    return Copy(channel.decode(), sender.decode(), id.decode(), int(stamped), born)


def partition_of(channel: str, partitions: int) -> int:
    return zlib.crc32(channel.encode()) % partitions


class Numbering:
    """Counts one partition, in the order of its offsets. `whole`: it is read from the very first record on."""

    def __init__(self, partition: int, times: Times, *, whole: bool) -> None:
        self.numbered = self.duplicates = self.expired = self.future = self.skipped = 0
        self._partition = partition
        self._times = times
        self._whole = whole
        self._now = times.clock
        self._sure_from: int | None = None
        self._heads: dict[str, int] = {}
        self._recent: set[tuple[str, str, str]] = set()
        self._ages: deque[tuple[int, tuple[str, str, str]]] = deque()

    def take(self, appended: int, headers: Iterable[tuple[str, bytes | None]]) -> Numbered | None:
        """The next record; None when it has no number. Raises CannotJudge."""
        copy = read_envelope(headers)
        if copy is None or partition_of(copy.channel, self._times.partitions) != self._partition:
            self.skipped += 1
            return None
        now = self._now = max(self._now, min(appended, copy.stamped))
        window = self._times.retry + self._times.future
        if self._sure_from is None:
            self._sure_from = 0 if self._whole else now + window
        while self._ages and self._ages[0][0] < now - window:
            self._recent.discard(self._ages.popleft()[1])
        if copy.born > now + self._times.future:
            self.future += 1
            return None
        if now - copy.born > self._times.retry:
            self.expired += 1
            return None
        key = copy.channel, copy.sender, copy.id
        if key in self._recent:
            self.duplicates += 1
            return None
        self._recent.add(key)
        self._ages.append((now, key))
        self.numbered += 1
        seq = self._heads[copy.channel] = self._heads.get(copy.channel, 0) + 1
        return Numbered(copy, seq, now, self._whole or now > self._sure_from)
