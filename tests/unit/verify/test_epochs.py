"""Numbers go on from one epoch of the log to the next; a log without its beginning; a run that goes on meanwhile."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.contract.envelope import encode_envelope
from services.contract.ids import new_event_id
from verify.judge import HistoryEvent, Judge, StoredRow, Terms, Verdict
from verify.numbering import Numbering, Times

CHANNEL, USER = "ch_" + "0" * 32, "usr_" + "1" * 32
START = 1_760_000_000_000
TIMES = Times(partitions=1, retry=120_000, future=60_000)
BODY = b'{"type":"message.posted","text":"x"}'


def at(seq: int) -> int:
    return START + seq * 1_000


IDS = {seq: new_event_id(at(seq)) for seq in range(1, 1000)}


def line(kind: str, **fields: Any) -> bytes:
    return json.dumps({"t": 1, "at": START, "client": "a", "user": USER, "kind": kind, **fields}).encode()


def event(epoch: int, seq: int, via: str = "live") -> bytes:
    return line(
        "event", epoch=epoch, channel=CHANNEL, seq=seq, id=IDS[seq], sender=USER, at=at(seq),
        event={"type": "message.posted", "text": "x"}, via=via,
    )  # fmt: skip


def record(judge: Judge, *lines: bytes) -> None:
    recording = judge.recording("a.jsonl")
    for position, text in enumerate(lines, 1):
        recording.take(text, position)
    recording.finish()


def write_log(judge: Judge, epoch: int, seqs: range, *, whole: bool = True) -> None:
    source = judge.log_begins(epoch, 0, based=whole and epoch == 1)
    fold = Numbering(0, TIMES, whole=whole)
    for offset, seq in enumerate(seqs):
        numbered = fold.take(at(seq), [encode_envelope(CHANNEL, USER, IDS[seq], at(seq))])
        assert numbered is not None
        judge.log_record(epoch, source, offset, numbered, BODY)


def store(judge: Judge, epochs: dict[int, range]) -> None:
    judge.database_begins([CHANNEL])
    for epoch, seqs in epochs.items():
        for seq in seqs:
            judge.stored(StoredRow(epoch, CHANNEL, seq, USER, IDS[seq], at(seq), BODY))


def read_history(judge: Judge, seqs: range, epoch: int) -> None:
    source = judge.history_begins("REST history as a", CHANNEL, from_start=True)
    for seq in seqs:
        judge.history(source, HistoryEvent(epoch, CHANNEL, seq, USER, IDS[seq], at(seq), BODY), seq)


def shown_over_a_reset() -> list[bytes]:
    return [
        line("connected", epoch=1, resumed={}, heads={CHANNEL: 0}),
        *(event(1, seq) for seq in range(1, 11)),
        line("disconnected", code=4010),
        line("reset", epoch=2),
        line("connected", epoch=2, resumed={}, heads={CHANNEL: 10}),
        line("opened", epoch=2, channel=CHANNEL, head=10),
        *(event(2, seq, "history") for seq in range(8, 11)),
        *(event(2, seq) for seq in range(11, 16)),
        line("disconnected", code=1000),
    ]


def test_an_epoch_that_goes_on_where_the_last_one_ended_is_right() -> None:
    judge = Judge(Terms(caught_up=True))
    record(judge, *shown_over_a_reset())
    write_log(judge, 1, range(1, 11))
    write_log(judge, 2, range(11, 16))
    judge.log_paused()
    store(judge, {1: range(1, 11), 2: range(11, 16)})
    read_history(judge, range(1, 16), epoch=2)
    verdict = judge.verdict()
    assert verdict.holds, verdict.findings.first
    assert verdict.figures.events == 15


def test_the_reset_may_come_after_the_welcome() -> None:
    judge = Judge(Terms(caught_up=True))
    lines = shown_over_a_reset()
    reset = next(index for index, text in enumerate(lines) if b'"reset"' in text)
    lines[reset], lines[reset + 1] = lines[reset + 1], lines[reset]
    record(judge, *lines)
    assert judge.verdict().holds


def test_what_a_lost_log_took_with_it_is_named() -> None:
    """Nine and ten were acknowledged, and the next epoch began without them."""
    judge = Judge(Terms(caught_up=True))
    acked = [line("sent", channel=CHANNEL, id=IDS[seq], text="x") for seq in (9, 10)]
    acked += [line("ack", channel=CHANNEL, id=IDS[seq], seq=seq, at=at(seq)) for seq in (9, 10)]
    record(
        judge,
        line("connected", epoch=1, resumed={}, heads={CHANNEL: 0}),
        *acked,
        *(event(1, seq) for seq in range(1, 11)),
        line("disconnected", code=1000),
    )
    store(judge, {1: range(1, 9)})
    verdict = judge.verdict()
    assert set(verdict.findings.counts) == {"acked_not_in_database"}
    assert verdict.figures.lost == 2


def test_one_message_stored_in_two_epochs_is_found() -> None:
    judge = Judge(Terms())
    judge.database_begins([CHANNEL])
    for epoch, seq in ((1, 1), (1, 2), (2, 3)):
        judge.stored(StoredRow(epoch, CHANNEL, seq, USER, IDS[1 if seq == 3 else seq], at(1), BODY))
    assert set(judge.verdict().findings.counts) == {"numbered_twice"}


def cut_log(first: int, stored: range) -> Judge:
    """A log whose beginning was deleted; sure numbers begin a window (180 s) after it."""
    judge = Judge(Terms())
    write_log(judge, 1, range(first, 401), whole=False)
    judge.log_paused()
    store(judge, {1: stored})
    return judge


def test_a_log_without_its_beginning_is_tied_to_the_other_sources() -> None:
    verdict = cut_log(100, range(1, 401)).verdict()
    assert verdict.holds, verdict.findings.first
    assert verdict.figures.by_channel[0].log == 400


def test_what_such_a_log_does_not_have_is_found() -> None:
    verdict = cut_log(100, range(1, 402)).verdict()
    assert set(verdict.findings.counts) == {"not_in_log"}


def test_a_log_that_no_other_source_knows_is_noted_and_not_judged() -> None:
    judge = Judge(Terms())
    write_log(judge, 1, range(100, 401), whole=False)
    judge.log_paused()
    verdict = judge.verdict()
    assert verdict.holds
    assert any(CHANNEL in note for note in verdict.figures.notes)


def run_goes_on(stored: range, after: range) -> Verdict:
    """The log is read, then PostgreSQL, then what the log got meanwhile."""
    judge = Judge(Terms())
    source = judge.log_begins(1, 0, based=True)
    fold = Numbering(0, TIMES, whole=True)

    def append(seqs: range) -> None:
        for seq in seqs:
            numbered = fold.take(at(seq), [encode_envelope(CHANNEL, USER, IDS[seq], at(seq))])
            assert numbered is not None
            judge.log_record(1, source, seq, numbered, BODY)

    append(range(1, 11))
    judge.log_paused()
    store(judge, {1: stored})
    append(after)
    return judge.verdict()


def test_a_run_that_goes_on_while_it_is_judged_is_right() -> None:
    assert run_goes_on(range(1, 11), range(11, 20)).holds
    assert run_goes_on(range(1, 15), range(11, 20)).holds


@pytest.mark.parametrize(
    ("stored", "after", "rule"),
    [(range(1, 10), range(11, 20), "not_in_database"), (range(1, 15), range(11, 12), "not_in_log")],
)
def test_and_what_it_lost_is_found(stored: range, after: range, rule: str) -> None:
    assert set(run_goes_on(stored, after).findings.counts) == {rule}


def new_process(*, opened: bool) -> Verdict:
    """A program that is started again writes to the same recording, and knows nothing of the first time."""
    judge = Judge(Terms(caught_up=True))
    again = [line("opened", epoch=1, channel=CHANNEL, head=7)] if opened else []
    record(
        judge,
        line("connected", epoch=1, resumed={}, heads={CHANNEL: 0}),
        *(event(1, seq) for seq in range(1, 4)),
        line("disconnected", code=1000),
        line("connected", epoch=1, resumed={}, heads={CHANNEL: 7}),
        *again,
        *(event(1, seq) for seq in range(8, 10)),
        line("disconnected", code=1000),
    )
    store(judge, {1: range(1, 10)})
    return judge.verdict()


def test_a_view_may_begin_anew_if_the_application_is_told() -> None:
    assert new_process(opened=True).holds
    assert "hole" in new_process(opened=False).findings.counts


def test_a_channel_that_is_opened_where_an_earlier_epoch_ended_is_no_lie() -> None:
    for told, lies in ((10, False), (11, True)):
        judge = Judge(Terms())
        record(
            judge,
            line("connected", epoch=2, node="n", session="s", resumed={}, heads={}),
            line("opened", epoch=2, channel=CHANNEL, head=told),
            line("disconnected", code=1000, reason=""),
        )
        store(judge, {1: range(1, 11)})
        assert ("opened_lies" in judge.verdict().findings.counts) == lies


def test_after_a_reset_numbers_that_went_down_with_the_log_are_given_anew() -> None:
    judge = Judge(Terms())
    sent = {"channel": CHANNEL, "text": "x", "attempt": 1}
    record(
        judge,
        line("connected", epoch=1, node="n", session="s", resumed={}, heads={CHANNEL: 0}),
        line("sent", id=IDS[30], **sent),
        line("ack", epoch=1, channel=CHANNEL, id=IDS[30], seq=30, duplicate=False, via="ws"),
        line("reset", epoch=2),
        line("connected", epoch=2, node="n", session="s", resumed={}, heads={CHANNEL: 10}),
        line("sent", id=IDS[11], **sent),
        event(2, 11),
    )
    assert "ack_order" not in judge.verdict().findings.counts
