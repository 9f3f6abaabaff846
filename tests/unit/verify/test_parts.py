"""The judge's parts: sets of numbers, bodies, envelopes, and the numbering rule against the product's own."""

from __future__ import annotations

import json
import zlib
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple

from services.contract import envelope as contract
from services.contract.events import shown_body
from services.contract.generation import Generation
from services.contract.ids import new_event_id
from services.eventlog.sequencer import Kind, Sequencer
from verify.bodies import Bodies
from verify.findings import CannotJudge, Findings
from verify.ledger import Ledger, pack_id
from verify.numbering import Numbering, Times, read_envelope
from verify.spans import Spans

CHANNEL, SENDER = "ch_" + "0" * 32, "usr_" + "1" * 32


@given(st.lists(st.integers(1, 60)), st.integers(1, 60), st.integers(1, 60))
def test_spans_are_a_set(numbers: list[int], first: int, last: int) -> None:
    spans, plain = Spans(), set[int]()
    for number in numbers:
        assert spans.add(number) == (number not in plain)
        plain.add(number)
    assert {n for low, high in spans.runs() for n in range(low, high + 1)} == plain
    runs = list(spans.runs())
    assert all(a[1] + 1 < b[0] for a, b in pairwise(runs))
    assert [n for n in range(1, 62) if n in spans] == sorted(plain)
    missing = {n for low, high in spans.missing(first, last) for n in range(low, high + 1)}
    assert missing == set(range(first, last + 1)) - plain
    assert (spans.count, spans.first, spans.last) == (
        len(plain),
        min(plain, default=0),
        max(plain, default=0),
    )


@given(
    st.binary(max_size=40)
    | st.builds(lambda v: json.dumps(v).encode(), st.dictionaries(st.text(), st.text()))
)
def test_bodies_are_read_as_the_contract_shows_them(value: bytes) -> None:
    bodies = Bodies()
    assert bodies.read(value) == bodies.read(shown_body(value)[1])


@pytest.mark.parametrize("depth", [62, 63, 64, 65, 20_000])
@pytest.mark.parametrize("filler", ["", '"[[[[]]", ', '"\\\\", ', '"\\"[{", '])
def test_a_body_nested_too_deep_is_unreadable_for_both(depth: int, filler: str) -> None:
    value = ('{"type":"x","more":' + f"[{filler}" * depth + "1" + "]" * depth + "}").encode()
    bodies = Bodies()
    assert bodies.read(value) == bodies.read(shown_body(value)[1])
    assert (bodies.read(value) == bodies.read(None)) == (depth > 63)


def test_the_same_json_in_other_bytes_is_the_same_body() -> None:
    bodies = Bodies()
    one = bodies.read('{"type":"message.posted","text":"é"}'.encode())
    assert one == bodies.read(b'{ "text": "\\u00e9", "type": "message.posted" }')
    assert one != bodies.read(b'{"type":"message.posted","text":"e"}')


HEADER_BYTES = st.builds(
    lambda version, channel, sender, id, stamped, end: (
        b" ".join([version, channel, sender, id, stamped]) + end
    ),
    st.sampled_from([b"1", b"1", b"1", b"2", b"", b"01", b"x"]),
    st.sampled_from([CHANNEL.encode(), CHANNEL.upper().encode(), b"ch_0", b"", SENDER.encode()]),
    st.sampled_from([SENDER.encode(), SENDER.encode() + b"0", b"usr_" + b"g" * 32]),
    st.sampled_from(
        [new_event_id().encode(), new_event_id().upper().encode(), b"0" * 36, new_event_id().encode()[:-1]]
    ),
    st.sampled_from([b"0", b"1760000000000", b"-1", b"1" * 15, b"1" * 16, b"", b"\xb2"]),
    st.sampled_from([b"", b"", b" ", b"\n", b" 1"]),
)


@given(
    st.lists(
        st.tuples(st.sampled_from(["lockstep", "trace"]), HEADER_BYTES | st.binary(max_size=80)), max_size=3
    )
)
def test_envelopes_are_read_as_the_contract_reads_them(headers: list[tuple[str, bytes]]) -> None:
    try:
        theirs = astuple(contract.decode_envelope(headers))
    except contract.MalformedEnvelope:
        assert read_envelope(headers) is None
    except contract.UnknownEnvelopeVersion:
        with pytest.raises(CannotJudge):
            read_envelope(headers)
    else:
        ours = read_envelope(headers)
        assert ours is not None
        assert tuple(ours) == theirs


@settings(deadline=None)
@given(st.integers(0, 1 << 32))
def test_the_rule_written_twice_gives_the_same_numbers(seed: int) -> None:
    """Jumping clocks, retries near and far, ids from the past and the future; a first epoch, and a later one."""
    rng = Random(seed)
    now = 1_760_000_000_000
    clock = rng.choice((0, now + 2_000))
    times = Times(partitions=1, retry=2_000, future=1_000, clock=clock)
    ours = Numbering(0, times, whole=True)
    theirs = Sequencer(
        Generation(epoch=1, partitions=1, retry_ms=times.retry, future_ms=times.future), now=clock
    )
    sent: list[tuple[str, str, str]] = []
    for offset in range(300):
        now += rng.choice((0, 1, 30, 700)) + (rng.choice((0, 5_000)) if rng.random() < 0.05 else 0)
        if sent and rng.random() < 0.4:
            channel, sender, id = rng.choice(sent[-10:])
        else:
            channel, sender = f"ch_{rng.randrange(2):032x}", f"usr_{rng.randrange(2):032x}"
            id = new_event_id(now + rng.choice((0, 0, 0, -1_900, -2_500, 900, 1_500)))
            sent.append((channel, sender, id))
        appended, stamped = (now + rng.choice((0, 0, -4_000, 4_000)) for _ in range(2))
        header = contract.encode_envelope(channel, sender, id, stamped)
        verdict = theirs.apply(offset, appended, contract.decode_envelope([header]), 0)
        numbered = ours.take(appended, [header])
        if verdict.kind is Kind.NUMBERED:
            assert numbered is not None
            assert (numbered.seq, numbered.at, numbered.copy.id) == (verdict.seq, verdict.now, id)
        else:
            assert numbered is None


def test_a_record_in_the_wrong_partition_has_no_number_and_moves_no_clock() -> None:
    times = Times(partitions=2, retry=2_000, future=1_000)
    right = zlib.crc32(CHANNEL.encode()) % 2
    for partition in (0, 1):
        fold = Numbering(partition, times, whole=True)
        numbered = fold.take(5_000, [contract.encode_envelope(CHANNEL, SENDER, new_event_id(5_000), 5_000)])
        assert (numbered is not None) == (partition == right)
        assert fold.skipped == (partition != right)


def test_a_log_without_its_beginning_gives_sure_numbers_only_after_a_window() -> None:
    fold = Numbering(0, Times(1, 2_000, 1_000), whole=False)
    sure = []
    for at in (10_000, 12_000, 13_000, 13_001, 14_000):
        numbered = fold.take(at, [contract.encode_envelope(CHANNEL, SENDER, new_event_id(at), at)])
        assert numbered is not None
        sure.append(numbered.sure)
    assert sure == [False, False, False, True, True]


def test_the_ledger_keeps_the_first_and_compares_the_rest() -> None:
    findings = Findings()
    ledger = Ledger(findings)
    book, bodies = ledger.book(1, CHANNEL), Bodies()
    one, other = (ledger.sources.number(name) for name in ("anna.jsonl", "Kafka events.1-0 offset"))
    body, id = bodies.read(b'{"type":"x"}'), pack_id(new_event_id())
    ledger.see(book, 700, id, 0, 5, body, one, 17)
    ledger.see(book, 700, id, 0, 5, body, other, 0)
    assert not findings.counts
    ledger.see(book, 700, id, 0, 6, body, other, 0)
    finding = findings.first["different_event"]
    assert finding.evidence == ("anna.jsonl:17", "Kafka events.1-0 offset 0")
    assert "at 5 and 6" in finding.what
    assert (book.head, book.rows, list(book.seqs(1, 1 << 50))) == (700, 1, [700])
