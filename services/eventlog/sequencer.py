"""The sequencer: the deterministic fold that turns a partition of the log into numbers.

Pure: no I/O, no clock of its own, no randomness. Whoever folds the same records of a partition from the same
checkpoint arrives at the same verdicts, which is why nodes and persister agree without talking to each other.

The rule, per record (`appended`: the broker's append time; `stamped`: the appending node's clock; `born`: the time
inside the sender's id; all Unix milliseconds):

    now = max(now, min(appended, stamped))      no single wrong clock can push the fold's clock ahead
    born > now + future_ms                      FUTURE: refused for now; a later copy may be numbered
    now - born > retry_ms                       EXPIRED: for ever, no copy is numbered from here on
    (channel, sender, id) in the window         DUPLICATE of the same body, ID_REUSED for another one
    else                                        NUMBERED: seq = head(channel) + 1

An accepted id stays in the window for `retry_ms + future_ms` of the fold's clock. After that a copy of it cannot
but be expired (born <= clock at acceptance + future_ms), so a message is numbered at most once, for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import IntEnum
from typing import Final, NamedTuple

import msgspec

from services.contract.envelope import Envelope
from services.contract.generation import Generation


class Kind(IntEnum):
    """What became of a record."""

    NUMBERED = 0
    DUPLICATE = 1
    ID_REUSED = 2
    EXPIRED = 3
    FUTURE = 4


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """The fold's word on one record.

    seq     NUMBERED: its number. DUPLICATE, ID_REUSED: the original's number, None when it was numbered before
            this fold's checkpoint. EXPIRED, FUTURE: None. A record below the checkpoint's watermark only refills
            the dedupe window: it is NUMBERED with None, and must not be shown
    now     the fold's clock after this record, Unix milliseconds: the event's `at`
    head    the channel's head after this record
    """

    kind: Kind
    seq: int | None
    now: int
    head: int


class Accepted(NamedTuple):
    """One entry of the dedupe window: a record that was accepted when the fold's clock stood `at`.

    `seq` None: accepted, but its number is not known here. `digest` None: its body is not known, so that every
    copy counts as the same body.
    """

    at: int
    channel: str
    sender: str
    id: str
    seq: int | None
    digest: int | None
    offset: int


class LastRecord(msgspec.Struct, frozen=True):
    """The digest that proves that the log is still the same log: a record's offset, append time and id.

    `id` is empty for a record without a well-formed envelope.
    """

    offset: int
    appended: int
    id: str


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a fold can begin without the records before `window_start`; its heads are kept beside it.

    watermark       the next offset: records from here on are numbered
    now             the fold's clock at the watermark
    window_start    offset of the oldest record in the dedupe window (the watermark when it is empty)
    window_now      the fold's clock when that record was accepted (`now` when the window is empty)
    last            the last record below the watermark, None when there was none
    """

    watermark: int
    now: int
    window_start: int
    window_now: int
    last: LastRecord | None = None


# Read in the loop over every record of the log: plain names are cheaper than attributes of an enum.
_NUMBERED, _DUPLICATE, _ID_REUSED, _EXPIRED, _FUTURE = Kind

_DIGEST_BITS: Final = 32
_KNOWN: Final = 1 << _DIGEST_BITS
"""Beside a digest: that there is one."""


def _key(channel: str, sender: str, id: str) -> str:
    # One string and no tuple of three, one number and no tuple of two: half the memory of an id, of which there are millions,
    # and nothing that the garbage collector would have to walk through again and again.
    return f"{channel} {sender} {id}"


def _packed(seq: int | None, digest: int | None) -> int:
    """A window's entry: numbers begin at 1, so that 0 is none."""
    return (seq or 0) << (_DIGEST_BITS + 1) | (0 if digest is None else _KNOWN | digest)


def _is_of(entry: int, digest: int) -> bool:
    """Whether the entry is of this body; one whose body is not known is of every body."""
    return not entry & _KNOWN or entry & (_KNOWN - 1) == digest


def _seq_of(entry: int) -> int | None:
    return entry >> (_DIGEST_BITS + 1) or None


class Sequencer:
    """Folds one partition. `now` is its clock, `heads` the number of each channel's last event; both to be read only.

    counting_from   records at lower offsets only refill the window
    window          what earlier records left in the dedupe window, in the order of their offsets
    """

    __slots__ = (
        "_counting_from",
        "_future_ms",
        "_keys",
        "_offsets",
        "_retry_ms",
        "_times",
        "_window",
        "_window_ms",
        "heads",
        "now",
    )

    def __init__(
        self,
        generation: Generation,
        *,
        now: int = 0,
        heads: dict[str, int] | None = None,
        counting_from: int = 0,
        window: Iterable[Accepted] = (),
    ) -> None:
        self.now = now
        self.heads: dict[str, int] = {} if heads is None else heads
        self._counting_from = counting_from
        self._retry_ms = generation.retry_ms
        self._future_ms = generation.future_ms
        self._window_ms = generation.window_ms
        self._window: dict[str, int] = {}
        # Of each entry of the window, in the order of the log.
        self._times: deque[int] = deque()
        self._keys: deque[str] = deque()
        self._offsets: deque[int] = deque()
        for entry in window:
            key = _key(entry.channel, entry.sender, entry.id)
            self._window[key] = _packed(entry.seq, entry.digest)
            self._times.append(entry.at)
            self._keys.append(key)
            self._offsets.append(entry.offset)

    def apply(self, offset: int, appended: int, envelope: Envelope, digest: int) -> Verdict:
        """Fold the partition's next record; `digest` is `contract.envelope.digest_of` its value.

        Records must come in the order of their offsets, each once.
        """
        channel, sender, id, born = envelope.channel, envelope.sender, envelope.id, envelope.born
        now = self.now
        agreed = appended if appended < envelope.stamped else envelope.stamped
        if agreed > now:
            self.now = now = agreed
            times = self._times
            oldest = now - self._window_ms
            while times and times[0] < oldest:
                times.popleft()
                self._offsets.popleft()
                del self._window[self._keys.popleft()]
        heads = self.heads
        if born > now + self._future_ms:
            return Verdict(_FUTURE, None, now, heads.get(channel, 0))
        if now - born > self._retry_ms:
            return Verdict(_EXPIRED, None, now, heads.get(channel, 0))
        key = f"{channel} {sender} {id}"  # as `_key`, which would cost a call of every record
        window = self._window
        seen = window.get(key)
        if seen is not None:
            kind = _DUPLICATE if _is_of(seen, digest) else _ID_REUSED
            return Verdict(kind, _seq_of(seen), now, heads.get(channel, 0))
        head = heads.get(channel, 0)
        numbered: int | None = None
        if offset >= self._counting_from:
            numbered = heads[channel] = head = head + 1
        window[key] = (numbered or 0) << (_DIGEST_BITS + 1) | _KNOWN | digest  # as `_packed`, likewise
        self._times.append(now)
        self._keys.append(key)
        self._offsets.append(offset)
        return Verdict(_NUMBERED, numbered, now, head)

    def copy_of(self, channel: str, sender: str, id: str, digest: int) -> Verdict | None:
        """The verdict that a copy of this message would get if it came now, when an earlier one is in the window.

        None: no earlier one is, or it has another body. Nothing changes.
        """
        seen = self._window.get(_key(channel, sender, id))
        if seen is None or not _is_of(seen, digest):
            return None
        return Verdict(_DUPLICATE, _seq_of(seen), self.now, self.heads.get(channel, 0))

    def surely_expired(self, born: int) -> bool:
        """Whether an id born then can no longer be numbered, however soon it were appended."""
        return self.now - born > self._retry_ms

    def checkpoint(self, next_offset: int, last: LastRecord | None = None) -> Checkpoint:
        """The state before the record at `next_offset`, without the heads: the caller knows which have changed.

        `last` is the digest of the record before it, as `Tail.last` has it.
        """
        start, clock = (self._offsets[0], self._times[0]) if self._times else (next_offset, self.now)
        return Checkpoint(
            watermark=next_offset, now=self.now, window_start=start, window_now=clock, last=last
        )

    @classmethod
    def resume(cls, generation: Generation, checkpoint: Checkpoint, heads: dict[str, int]) -> Sequencer:
        """The fold as it stood at the checkpoint, to be fed from `checkpoint.window_start` on.

        `heads` becomes the sequencer's own. Until the watermark records refill the window and nothing is numbered.
        """
        return cls(
            generation,
            now=checkpoint.window_now,
            heads=heads,
            counting_from=checkpoint.watermark,
        )
