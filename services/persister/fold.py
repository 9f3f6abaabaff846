"""From records of the log to what one transaction writes. Pure: no I/O, no clock of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from services.contract.events import Event, MessageDeleted, MessageEdited, encode_event
from services.contract.generation import Generation
from services.contract.notices import NOTICE_KINDS, Notice, decode_notice
from services.eventlog.records import LogRecord
from services.eventlog.sequencer import Kind, LastRecord, Sequencer
from services.projection import Message, Numbered, Unprojectable, read, redacted, step, targets

PIECE: Final = 100
"""Records, or what became of them, that are gone through at a time, in about a millisecond: then the transaction under
way may go on."""

_NAMES: Final = [kind.name.lower() for kind in Kind]


class Position(NamedTuple):
    """How far a partition has come: `expected` is the next offset before the batch, `next_offset` after it."""

    partition: int
    expected: int
    next_offset: int
    now_ms: int
    last: LastRecord


class EventRow(NamedTuple):
    """One row of the table `events`; the fields are its columns."""

    channel_id: str
    seq: int
    epoch: int
    partition: int
    record_offset: int
    sender_id: str
    event_id: str
    at_ms: int
    kind: str
    body: bytes | None
    unprojected: bool
    mentions: Sequence[str] = ()
    target: int | None = None


EVENT_DEFAULTS: Final = ((), None)
"""What the table `events` itself puts into its last columns, here the last fields of EventRow."""

_NOBODY: Final[frozenset[str]] = frozenset()

Key = tuple[str, int]
"""Channel and seq of a message."""


@dataclass(slots=True)
class Batch:
    """What one transaction writes.

    positions   of the partitions that it has records of
    typed       the events of known kinds, in the order of the log, channel by channel
    notices     of known kinds, in the order of the log, with who sent them
    heads       channel -> (partition, number of its last event)
    verdicts    how many records became what (a Kind's name in lower case, or `skipped`)
    records     how many were folded, whatever became of them
    oldest_ms   the broker's append time of the oldest record
    """

    positions: dict[int, Position] = field(default_factory=dict)
    events: list[EventRow] = field(default_factory=list)
    typed: list[tuple[Numbered, Event]] = field(default_factory=list)
    notices: list[tuple[str, Notice]] = field(default_factory=list)
    heads: dict[str, tuple[int, int]] = field(default_factory=dict)
    verdicts: Counter[str] = field(default_factory=Counter)
    records: int = 0
    unprojected: int = 0
    oldest_ms: int = 0


class PartitionFold:
    """One partition's fold and position. After a failure to store what it gave it must be thrown away."""

    def __init__(
        self, generation: Generation, partition: int, sequencer: Sequencer, next_offset: int
    ) -> None:
        self.partition = partition
        self.next_offset = next_offset
        self._epoch = generation.epoch
        self._sequencer = sequencer

    def apply(self, records: Iterable[LogRecord], batch: Batch) -> None:
        """Fold the partition's next records, in the order of their offsets, into the batch."""
        expected = self.next_offset
        last: LogRecord | None = None
        for record in records:
            last = record
            envelope = record.envelope
            if envelope is None:
                batch.verdicts["skipped"] += 1
                continue
            verdict = self._sequencer.apply(record.offset, record.appended, envelope, record.digest)
            batch.verdicts[_NAMES[verdict.kind]] += 1
            if verdict.kind is not Kind.NUMBERED:
                continue
            seq = verdict.seq
            if seq is None:
                raise AssertionError(f"offset {record.offset} has no number, though the fold counts from 0")
            at = Numbered(envelope.channel, seq, envelope.id, envelope.sender, verdict.now, record.mentions)
            self._store(at, record, batch)
        if last is None:
            return
        self.next_offset = last.offset + 1
        begun = batch.positions.get(self.partition)
        batch.positions[self.partition] = Position(
            self.partition,
            expected if begun is None else begun.expected,
            self.next_offset,
            self._sequencer.now,
            LastRecord(last.offset, last.appended, last.envelope.id if last.envelope else ""),
        )

    def _store(self, at: Numbered, record: LogRecord, batch: Batch) -> None:
        unprojected = False
        try:
            kind, event = read(record.value)
        except Unprojectable as error:
            kind, event, unprojected = error.kind, None, True
            batch.unprojected += 1
        if event is not None:
            batch.typed.append((at, event))
        elif kind in NOTICE_KINDS and record.value is not None:
            try:
                batch.notices.append((at.sender, decode_notice(record.value)))
            except msgspec.DecodeError:
                unprojected = True
                batch.unprojected += 1
        batch.heads[at.channel] = (self.partition, at.seq)
        batch.events.append(
            EventRow(
                at.channel,
                at.seq,
                self._epoch,
                self.partition,
                record.offset,
                at.sender,
                at.id,
                at.at,
                storable(kind),
                record.value,
                unprojected,
                record.mentions,
                event.target if isinstance(event, MessageEdited) else None,
            )
        )


def fold(
    partitions: Mapping[int, PartitionFold], records: Mapping[int, list[LogRecord]], batch: Batch
) -> None:
    """Fold what one read of the log gave into the batch, partition by partition."""
    for partition in sorted(records):
        if records[partition]:
            oldest = records[partition][0].appended
            batch.oldest_ms = min(batch.oldest_ms, oldest) if batch.positions else oldest
            batch.records += len(records[partition])
            partitions[partition].apply(records[partition], batch)


@dataclass(slots=True)
class Projection:
    """What a batch does to messages.

    changed    (channel, seq) -> state after the batch, of those that are other than before
    redacted   messages that the batch deleted, with what takes the place of their raw events
    gone       messages whose edits must not be readable: those deleted now, and those that were edited too late
    called     (user, channel, root): whom any reply addressed, for however short a time
    overruled  messages that somebody else than their author deleted: (channel, seq, author, who did it)
    addressed, unaddressed    (user, channel, seq): whom messages address now and did not before, and the other way
    """

    changed: dict[Key, Message] = field(default_factory=dict)
    redacted: dict[Key, bytes] = field(default_factory=dict)
    gone: set[Key] = field(default_factory=set)
    called: set[tuple[str, str, int]] = field(default_factory=set)
    overruled: list[tuple[str, int, str, str]] = field(default_factory=list)
    addressed: list[tuple[str, str, int]] = field(default_factory=list)
    unaddressed: list[tuple[str, str, int]] = field(default_factory=list)


def needed(batch: Batch) -> set[Key]:
    """The messages from before the batch whose states it takes to project it."""
    keys = {(at.channel, seq) for at, event in batch.typed for seq in targets(at, event) if seq < at.seq}
    return keys - {(at.channel, at.seq) for at, _ in batch.typed} if keys else keys


def project(batch: Batch, known: Mapping[Key, Message]) -> Projection:
    """Fold the batch's events into the states of messages. `known`: the states of those that are `needed`."""
    result = Projection()
    for _ in projecting(batch, known, result):
        pass
    return result


def projecting(batch: Batch, known: Mapping[Key, Message], result: Projection) -> Iterator[None]:
    """As `project`, into an empty result, in pieces: between two of them something else may be done."""
    for begin in range(0, len(batch.typed), PIECE):
        _project(batch.typed[begin : begin + PIECE], known, result)
        yield
    changed = list(result.changed.items())
    for begin in range(0, len(changed), PIECE):
        _address(changed[begin : begin + PIECE], known, result)
        yield


def _project(
    typed: Iterable[tuple[Numbered, Event]], known: Mapping[Key, Message], result: Projection
) -> None:
    changed = result.changed
    for at, event in typed:
        channel = at.channel
        states: dict[int, Message] = {}
        for seq in targets(at, event):
            state = changed.get((channel, seq)) or known.get((channel, seq))
            if state is not None:
                states[seq] = state
        after = step(states, at, event)
        for seq, state in after.items():
            changed[channel, seq] = state
            if state.thread is not None and state.mentions:
                before = states.get(seq)
                called = _addressed(state) - (_addressed(before) if before is not None else _NOBODY)
                result.called |= {(user, channel, state.thread) for user in called}
        if isinstance(event, MessageDeleted) and event.target in after:
            key = (channel, event.target)
            result.redacted[key] = encode_event(redacted(after[event.target]))
            result.gone.add(key)
            author = after[event.target].sender
            if author != at.sender:
                result.overruled.append((*key, author, at.sender))
        elif isinstance(event, MessageEdited) and event.target in states and states[event.target].deleted:
            result.gone.add((channel, event.target))


def _address(
    changed: Iterable[tuple[Key, Message]], known: Mapping[Key, Message], result: Projection
) -> None:
    for key, state in changed:
        stored = known.get(key)
        old = _addressed(stored) if stored is not None else _NOBODY
        new = _addressed(state)
        if old != new:
            result.unaddressed += [(user, *key) for user in old - new]
            result.addressed += [(user, *key) for user in new - old]


def _addressed(message: Message) -> frozenset[str]:
    if not message.mentions:
        return _NOBODY
    return frozenset(message.mentions) - {message.sender}


def storable(text: str) -> str:
    """The text with U+0000, which PostgreSQL's text cannot hold, replaced by U+FFFD."""
    return text.replace("\x00", "\ufffd") if "\x00" in text else text
