"""What one transaction writes, from records of the log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.contract.envelope import Envelope, digest_of
from services.contract.events import (
    Event,
    MessageDeleted,
    MessageEdited,
    MessagePosted,
    MessageRedacted,
    encode_event,
)
from services.contract.generation import Generation
from services.contract.ids import new_entity_id, new_event_id
from services.eventlog.records import LogRecord
from services.eventlog.sequencer import LastRecord, Sequencer
from services.persister.fold import (
    PIECE,
    Batch,
    Key,
    PartitionFold,
    Projection,
    fold,
    needed,
    project,
    projecting,
)
from services.projection import Message, Numbered
from tests.unit.projection.histories import History, histories
from tests.unit.projection.histories import fold as whole

GENERATION = Generation(epoch=3)
CHANNEL, OTHER = sorted((new_entity_id("ch"), new_entity_id("ch")))
SENDER = new_entity_id("usr")
NOW = 1_800_000_000_000


def record(
    offset: int, value: bytes | None, *, channel: str = CHANNEL, id: str = "", at: int = NOW
) -> LogRecord:
    envelope = Envelope(channel, SENDER, id or new_event_id(at), at, at)
    return LogRecord(0, offset, at, envelope, value, digest_of(value))


def rubbish(offset: int) -> LogRecord:
    return LogRecord(0, offset, NOW, None, b"?", 0)


def new_fold(next_offset: int = 0) -> PartitionFold:
    return PartitionFold(GENERATION, 0, Sequencer(GENERATION), next_offset)


def folded(partitions: dict[int, PartitionFold], records: dict[int, list[LogRecord]]) -> Batch:
    batch = Batch()
    fold(partitions, records, batch)
    return batch


def posted(text: str = "hello") -> bytes:
    return encode_event(MessagePosted(text=text))


def test_events_messages_heads_and_position() -> None:
    first, second, third = (
        record(4, posted("a")),
        record(5, b'{"type":"new"}'),
        record(6, posted("b"), channel=OTHER),
    )
    batch = folded({0: new_fold(4)}, {0: [first, second, third]})
    assert [(e.channel_id, e.seq, e.kind, e.body, e.unprojected) for e in batch.events] == [
        (CHANNEL, 1, "message.posted", first.value, False),
        (CHANNEL, 2, "new", second.value, False),
        (OTHER, 1, "message.posted", third.value, False),
    ]
    assert {key: message.text for key, message in project(batch, {}).changed.items()} == {
        (CHANNEL, 1): "a",
        (OTHER, 1): "b",
    }
    assert batch.heads == {CHANNEL: (0, 2), OTHER: (0, 1)}
    assert third.envelope is not None
    (position,) = batch.positions.values()
    assert (position.expected, position.next_offset, position.now_ms) == (4, 7, NOW)
    assert position.last == LastRecord(6, NOW, third.envelope.id)


def test_what_is_not_numbered_only_moves_the_position_and_the_clock() -> None:
    partition = new_fold()
    one = record(0, posted())
    assert one.envelope is not None
    folded({0: partition}, {0: [one]})
    late = NOW + 500_000
    again = record(1, posted(), id=one.envelope.id)
    expired = record(2, posted(), id=one.envelope.id, at=late)
    future = record(3, posted(), id=new_event_id(late + 100_000_000), at=late)
    expired = replace(expired, envelope=expired.envelope and replace(expired.envelope, born=NOW))
    future = replace(future, envelope=future.envelope and replace(future.envelope, born=late + 100_000_000))
    batch = folded({0: partition}, {0: [again, expired, future, rubbish(4)]})
    assert not batch.events
    assert not batch.heads
    assert batch.verdicts == {"duplicate": 1, "expired": 1, "future": 1, "skipped": 1}
    (position,) = batch.positions.values()
    assert (position.expected, position.next_offset, position.now_ms) == (1, 5, late)
    assert position.last == LastRecord(4, NOW, "")


def test_a_body_that_cannot_be_projected_is_stored_with_a_marker_and_stops_nothing() -> None:
    bodies = [
        None,
        b"\x00\xff",
        b'{"type":"message.posted","text":"a\\u0000b"}',
        b'{"type":"odd\\u0000kind"}',
        posted("fine"),
    ]
    batch = folded({0: new_fold()}, {0: [record(n, body) for n, body in enumerate(bodies)]})
    assert [event.body for event in batch.events] == bodies
    assert [event.unprojected for event in batch.events] == [True, True, True, False, False]
    assert batch.unprojected == 3
    assert [message.text for message in project(batch, {}).changed.values()] == ["fine"]


@given(st.text(alphabet=st.characters(codec="utf-8")), st.binary())
def test_whatever_the_kind_and_the_body_a_row_can_be_stored(kind: str, noise: bytes) -> None:
    body = b'{"type":' + repr(kind).encode() + b"}"
    batch = folded({0: new_fold()}, {0: [record(0, body), record(1, noise)]})
    assert len(batch.events) == 2
    for event in batch.events:
        assert "\x00" not in event.kind
        event.kind.encode("utf-8")


def test_a_batch_grows_piece_by_piece() -> None:
    partition = new_fold(4)
    batch = Batch()
    for offset in (4, 5, 6):
        fold({0: partition}, {0: [record(offset, posted(), at=NOW + offset)]}, batch)
    (position,) = batch.positions.values()
    assert (position.expected, position.next_offset, position.last.offset) == (4, 7, 6)
    assert [event.seq for event in batch.events] == [1, 2, 3]
    assert (batch.records, batch.oldest_ms) == (3, NOW + 4)


def test_several_partitions_share_a_batch() -> None:
    partitions = {p: PartitionFold(GENERATION, p, Sequencer(GENERATION), 0) for p in (0, 1)}
    late = record(0, posted(), at=NOW + 5)
    batch = folded(partitions, {1: [replace(record(0, posted()), partition=1)], 0: [late]})
    assert [position.partition for position in batch.positions.values()] == [0, 1]
    assert batch.oldest_ms == NOW


@given(histories, st.lists(st.integers(1, 5)))
def test_states_are_the_same_however_the_log_is_cut_into_batches(history: History, cuts: list[int]) -> None:
    table: dict[Key, Message] = {}
    mentions: set[tuple[str, str, int]] = set()
    rest = list(history)
    for size in [*cuts, len(rest) + 1]:
        batch = Batch(typed=rest[:size])
        rest = rest[size:]
        known = {key: table[key] for key in needed(batch) if key in table}
        projection = project(batch, known)
        table.update(projection.changed)
        assert mentions.isdisjoint(projection.addressed)
        assert mentions.issuperset(projection.unaddressed)
        mentions = (mentions - set(projection.unaddressed)) | set(projection.addressed)
    states = whole(history)
    assert {seq: state for (_, seq), state in table.items()} == states
    assert mentions == {
        (user, state.channel, seq)
        for seq, state in states.items()
        for user in state.mentions
        if user != state.sender
    }


def test_a_batch_of_messages_alone_asks_for_no_states() -> None:
    batch = folded({0: new_fold()}, {0: [record(n, posted()) for n in range(3)]})
    assert needed(batch) == set()


def test_nothing_is_left_out_between_the_pieces_of_a_projection() -> None:
    batch = folded({0: new_fold()}, {0: [record(offset, posted()) for offset in range(2 * PIECE + 1)]})
    result = Projection()
    assert len(list(projecting(batch, {}, result))) > 2
    assert [seq for _, seq in result.changed] == list(range(1, 2 * PIECE + 2))


def test_what_is_deleted_is_redacted_with_its_edits_also_those_that_come_later() -> None:
    def batch_of(first: int, *events: Event) -> Batch:
        typed = [
            (Numbered(CHANNEL, seq, new_event_id(), SENDER, NOW), event)
            for seq, event in enumerate(events, first)
        ]
        return Batch(typed=typed)

    at_once = batch_of(1, MessagePosted(text="a", thread=7), MessageDeleted(target=1, thread=7))
    projection = project(at_once, {})
    tombstone = encode_event(MessageRedacted(was="message.posted", thread=7))
    assert projection.redacted == {(CHANNEL, 1): tombstone}
    assert projection.gone == {(CHANNEL, 1)}
    late = batch_of(3, MessageEdited(target=1, text="b"))
    assert needed(late) == {(CHANNEL, 1)}
    after = project(late, projection.changed)
    assert (after.changed, after.redacted, after.gone) == ({}, {}, {(CHANNEL, 1)})


def test_nothing_read_is_nothing_written() -> None:
    assert folded({0: new_fold()}, {0: []}) == Batch()
