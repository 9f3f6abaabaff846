"""The promises of the fold, whatever the log looks like."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from services.contract.envelope import Envelope
from services.contract.generation import Generation
from services.eventlog.sequencer import Accepted, Kind, LastRecord, Sequencer, Verdict
from tests.unit.eventlog.logs import GENERATION, envelope, fold, logs
from tests.unit.eventlog.oracle import Entry, judge_all

WORDS = {
    Kind.NUMBERED: "numbered",
    Kind.DUPLICATE: "duplicate",
    Kind.ID_REUSED: "id_reused",
    Kind.EXPIRED: "expired",
    Kind.FUTURE: "future",
}


@settings(max_examples=200)
@given(logs)
def test_it_says_what_the_rule_says(log: list[Entry]) -> None:
    said = judge_all(log, GENERATION.retry_ms, GENERATION.future_ms)
    verdicts = fold(Sequencer(GENERATION), log)
    assert [(WORDS[v.kind], v.seq, v.now) for v in verdicts] == [tuple(s) for s in said]


@settings(max_examples=200)
@given(logs)
def test_a_message_is_numbered_at_most_once_and_never_after_expired(log: list[Entry]) -> None:
    numbered: dict[tuple[str, str, str], int | None] = {}
    dead = set()
    for entry, verdict in zip(log, fold(Sequencer(GENERATION), log), strict=True):
        key = (entry.channel, entry.sender, entry.id)
        match verdict.kind:
            case Kind.NUMBERED:
                assert key not in numbered
                assert key not in dead
                numbered[key] = verdict.seq
            case Kind.DUPLICATE | Kind.ID_REUSED:
                assert verdict.seq == numbered[key]
            case Kind.EXPIRED:
                dead.add(key)


@given(logs)
def test_numbers_are_dense_and_the_verdict_tells_the_head(log: list[Entry]) -> None:
    sequencer = Sequencer(GENERATION)
    seen: dict[str, list[int | None]] = defaultdict(list)
    for entry, verdict in zip(log, fold(sequencer, log), strict=True):
        if verdict.kind is Kind.NUMBERED:
            seen[entry.channel].append(verdict.seq)
        assert verdict.head == len(seen[entry.channel])
    for channel, seqs in seen.items():
        assert seqs == list(range(1, len(seqs) + 1))
        assert sequencer.heads.get(channel, 0) == len(seqs)


@given(logs)
def test_the_clock_never_goes_back_nor_ahead_of_broker_and_node(log: list[Entry]) -> None:
    agreed, before = 0, 0
    for entry, verdict in zip(log, fold(Sequencer(GENERATION), log), strict=True):
        agreed = max(agreed, min(entry.appended, entry.stamped))
        assert before <= verdict.now == agreed
        before = verdict.now


def assert_same(got: Verdict, want: Verdict, checkpoint_now: int) -> None:
    """The same verdict; only the number of an original from before the checkpoint may be unknown."""
    if got == want:
        return
    assert replace(got, seq=want.seq) == want
    assert got.seq is None
    assert want.kind in (Kind.DUPLICATE, Kind.ID_REUSED)
    assert want.now <= checkpoint_now + GENERATION.window_ms


@settings(max_examples=200)
@given(logs, st.lists(st.integers(0, 300), min_size=1, max_size=4))
def test_every_fold_from_a_checkpoint_is_exact_also_from_a_checkpoint_of_such_a_fold(
    log: list[Entry], cuts: list[int]
) -> None:
    whole = Sequencer(GENERATION)
    verdicts = fold(whole, log)
    current = Sequencer(GENERATION)
    fold(current, log[: min(cuts[0], len(log))])
    start = min(cuts[0], len(log))
    for cut in sorted(min(cut, len(log)) for cut in cuts):
        # `current` has folded everything below `start`; go on to the cut, then begin anew from its checkpoint.
        fold(current, log[start:cut]) if cut > start else None
        at = max(cut, start)
        checkpoint = current.checkpoint(at, LastRecord(at - 1, 0, "") if at else None)
        assert checkpoint.window_start <= checkpoint.watermark == at
        current = Sequencer.resume(GENERATION, checkpoint, dict(current.heads))
        refill = fold(current, log[checkpoint.window_start : at])
        assert all(verdict.seq is None for verdict in refill)
        assert current.now == checkpoint.now
        probe = Sequencer.resume(GENERATION, checkpoint, dict(current.heads))
        fold(probe, log[checkpoint.window_start : at])
        for entry, want in zip(log[at:], verdicts[at:], strict=True):
            [got] = fold(probe, [entry])
            assert_same(got, want, checkpoint.now)
        assert probe.heads == whole.heads
        start = at


@settings(max_examples=200)
@given(logs, st.integers(0, 300))
def test_a_window_given_entry_by_entry_is_as_good_as_one_refilled_from_the_log(
    log: list[Entry], cut: int
) -> None:
    cut = min(cut, len(log))
    first = Sequencer(GENERATION)
    verdicts = fold(first, log[:cut])
    stored = [
        Accepted(v.now, e.channel, e.sender, e.id, v.seq, e.digest, e.offset)
        for e, v in zip(log, verdicts, strict=False)
        if v.kind is Kind.NUMBERED and v.now >= first.now - GENERATION.window_ms
    ]
    second = Sequencer(GENERATION, now=first.now, heads=dict(first.heads), counting_from=cut, window=stored)
    assert fold(second, log[cut:]) == fold(first, log[cut:])


@given(logs, st.integers(-400, 200))
def test_what_is_surely_expired_is_never_numbered(log: list[Entry], age: int) -> None:
    sequencer = Sequencer(GENERATION)
    fold(sequencer, log)
    born = max(0, sequencer.now + age)
    sure = sequencer.surely_expired(born)
    late = Entry(len(log), sequencer.now + 1, sequencer.now + 1, "C9", "U9", "late", born, 1)
    verdict = sequencer.apply(late.offset, late.appended, envelope(late), 1)
    if sure:
        assert verdict.kind is Kind.EXPIRED


def test_one_wrong_clock_does_not_stop_honest_senders() -> None:
    generation = Generation(epoch=1)
    sequencer = Sequencer(generation)
    hour = 3_600_000
    for i in range(9_000):
        t = 10_000_000 + i * 100
        broker = hour if 1_000 <= i < 3_000 else 0
        node = hour if 5_000 <= i < 7_000 and i % 2 else 0
        verdict = sequencer.apply(i, t + broker, Envelope("C", "U", f"m{i}", t + node, t - 5), 1)
        assert (verdict.kind, verdict.seq) == (Kind.NUMBERED, i + 1)


def test_a_copy_without_a_known_digest_counts_as_the_same_body() -> None:
    now = 1_000_000
    window = [Accepted(now, "C", "U", "m", 7, None, 3)]
    sequencer = Sequencer(GENERATION, now=now, heads={"C": 7}, counting_from=4, window=window)
    verdict = sequencer.apply(4, now, Envelope("C", "U", "m", now, now), 12345)
    assert verdict == Verdict(Kind.DUPLICATE, 7, now, 7)


def test_the_window_forgets() -> None:
    """Memory is bounded by what the window's time holds, not by the length of the log."""
    sequencer = Sequencer(GENERATION)
    for i in range(5_000):
        t = 1_000_000 + i
        sequencer.apply(i, t, Envelope("C", "U", f"m{i}", t, t), 1)
    assert sequencer.heads == {"C": 5_000}
    start = sequencer.checkpoint(5_000).window_start
    assert start == 5_000 - 1 - GENERATION.window_ms


def test_refilling_judges_by_the_clock_of_then() -> None:
    """What was refused as future before the checkpoint has not been accepted: its next copy gets a number."""
    t = 1_000_000
    early = Envelope("C", "U", "early", t, t + 100)
    log = [
        (0, t, Envelope("C", "U", "a", t, t)),
        (1, t, early),
        (2, t + 50, Envelope("C", "U", "b", t + 50, t + 50)),
    ]
    whole = Sequencer(GENERATION)
    assert [whole.apply(*entry, 1).kind for entry in log] == [Kind.NUMBERED, Kind.FUTURE, Kind.NUMBERED]
    resumed = Sequencer.resume(GENERATION, whole.checkpoint(3), dict(whole.heads))
    for entry in log:
        resumed.apply(*entry, 1)
    again = replace(early, stamped=t + 55)
    assert (
        resumed.apply(3, t + 55, again, 1)
        == whole.apply(3, t + 55, again, 1)
        == Verdict(Kind.NUMBERED, 3, t + 55, 3)
    )
