"""Decoding: what counts, what is skipped, what stops the reader."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract.envelope import (
    HEADER,
    Envelope,
    UnknownEnvelopeVersion,
    digest_of,
    encode_envelope,
    partition_of,
)
from services.contract.ids import born_ms, new_entity_id, new_event_id
from services.contract.mentions import encode_mentions
from services.eventlog.records import read_record
from services.eventlog.tail import event_id_of

CHANNEL, SENDER = new_entity_id("ch"), new_entity_id("usr")


def test_a_record_of_a_kind_nobody_knows_counts_all_the_same() -> None:
    id = new_event_id()
    header = encode_envelope(CHANNEL, SENDER, id, 123)
    value = b'{"type":"from.the.future","x":[1,2]}'
    record = read_record(partition_of(CHANNEL, 8), 8, 5, 99, [("other", b"1"), header], value)
    assert record.envelope is not None
    assert record.envelope == Envelope(CHANNEL, SENDER, id, 123, born_ms(id))
    assert (record.offset, record.appended, record.value, record.digest) == (5, 99, value, digest_of(value))


@given(st.one_of(st.none(), st.binary(max_size=200)))
def test_the_body_is_never_looked_at(value: bytes | None) -> None:
    header = encode_envelope(CHANNEL, SENDER, new_event_id(), 1)
    assert read_record(partition_of(CHANNEL, 8), 8, 0, 0, [header], value).envelope is not None


@given(st.integers(0, 7))
def test_a_record_in_another_channels_partition_is_skipped(partition: int) -> None:
    header = encode_envelope(CHANNEL, SENDER, new_event_id(), 1)
    record = read_record(partition, 8, 0, 0, [header], b"{}")
    assert (record.envelope is not None) == (partition == partition_of(CHANNEL, 8))


@given(st.binary(max_size=150))
def test_noise_is_skipped_or_stops_the_reader_but_never_counts(noise: bytes) -> None:
    version, _, _ = noise.partition(b" ")
    if version.isdigit() and version != b"1":
        with pytest.raises(UnknownEnvelopeVersion):
            read_record(0, 1, 0, 0, [(HEADER, noise)], b"{}")
    else:
        assert read_record(0, 1, 0, 0, [(HEADER, noise)], b"{}").envelope is None


def test_an_unknown_version_stops_the_reader_even_in_the_wrong_partition() -> None:
    with pytest.raises(UnknownEnvelopeVersion):
        read_record(0, 1, 0, 0, [(HEADER, b"2 something else")], b"{}")


@pytest.mark.parametrize("headers", [[], [("x", b"1")], [(HEADER, None)]])
def test_no_envelope_is_skipped(headers: list[tuple[str, bytes | None]]) -> None:
    assert read_record(0, 1, 0, 0, headers, b"{}").envelope is None


def test_two_envelopes_are_skipped() -> None:
    header = encode_envelope(CHANNEL, SENDER, new_event_id(), 1)
    assert read_record(0, 1, 0, 0, [header, header], b"{}").envelope is None


def test_the_mentions_beside_the_envelope_are_read_and_rubbish_is_nobody() -> None:
    envelope = encode_envelope(CHANNEL, SENDER, new_event_id(), 1)
    partition = partition_of(CHANNEL, 8)

    def mentions(*headers: tuple[str, bytes | None]) -> tuple[str, ...]:
        record = read_record(partition, 8, 0, 0, [envelope, *headers], b"{}")
        assert record.envelope is not None
        return record.mentions

    assert mentions() == ()
    assert mentions(encode_mentions([SENDER])) == (SENDER,)
    for rubbish in (None, b"", b"{}", b'["x"]', b"\xff", b"[" * 10_000, encode_mentions([SENDER] * 1_001)[1]):
        assert mentions(("mentions", rubbish)) == ()


def test_a_record_of_a_newer_version_is_not_taken_for_another_one() -> None:
    """Who compares the last record must stop because it is too old, not because the log was rewritten."""
    with pytest.raises(UnknownEnvelopeVersion):
        event_id_of(SimpleNamespace(headers=[(HEADER, b"2 from the future")]))
    assert event_id_of(SimpleNamespace(headers=[(HEADER, b"1 rubbish")])) == ""
