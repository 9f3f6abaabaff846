"""What is sent, when, in which order, and what each answer leads to."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from client.backoff import CAP_S, delay_s
from client.effects import Effect, LookUp, Postponed, Reborn, Reject, Resolve
from client.sends import OLD_S, VERDICT_S, Found, Outgoing, Question, Sends
from services.contract import frames
from services.contract.codes import ERRORS
from services.contract.ids import born_ms, new_event_id

C = "ch_" + "c" * 32
D = "ch_" + "d" * 32
T0_MS = 1_700_000_000_000


class Clocked:
    """Sends with a clock that is set by hand (seconds)."""

    def __init__(self, pipeline: int = 1) -> None:
        self.sends = Sends(rng=random.Random(1), new_id=new_event_id, pipeline=pipeline)
        self.now = 0.0

    def out(self) -> list[Outgoing]:
        return self.sends.sendable(self.now, T0_MS + int(self.now * 1000))

    def texts(self) -> list[str]:
        return [outgoing.frame.text for outgoing in self.out()]

    def refuse(self, frame: frames.Send, code: str, **more: int) -> list[Effect]:
        refused = frames.Refused(channel=frame.channel, id=frame.id, code=code, message=code, **more)
        return self.sends.refused(refused, self.now)

    def ack(self, frame: frames.Send, seq: int = 1) -> list[Effect]:
        return self.sends.acked(frames.Ack(channel=frame.channel, id=frame.id, seq=seq, at=5), 1)


def kinds(effects: Iterable[Effect]) -> list[type]:
    return [type(effect) for effect in effects]


def test_one_at_a_time_and_in_order_in_each_channel() -> None:
    it = Clocked()
    for text in ("one", "two"):
        it.sends.post(C, text)
    it.sends.post(D, "elsewhere")
    first, other = it.out()
    assert (first.frame.text, other.frame.text) == ("one", "elsewhere")
    assert it.out() == []
    assert kinds(it.ack(first.frame)) == [Resolve]
    assert it.texts() == ["two"]


def test_with_a_pipeline_several_are_under_way() -> None:
    it = Clocked(pipeline=2)
    for text in ("one", "two", "three"):
        it.sends.post(C, text)
    one, two = it.out()
    assert (one.frame.text, two.frame.text) == ("one", "two")
    it.ack(two.frame, 2)
    assert it.texts() == ["three"]


def test_an_id_is_born_when_it_is_sent_first_and_stays_the_same() -> None:
    it = Clocked()
    it.sends.post(C, "one")
    it.now = 500.0
    first = it.out()[0]
    assert born_ms(first.frame.id) == T0_MS + 500_000
    it.sends.disconnected()
    it.now = 510.0
    again = it.out()[0]
    assert again.frame == first.frame
    assert (first.attempt, again.attempt) == (1, 2)


def test_after_a_break_the_oldest_goes_first() -> None:
    it = Clocked(pipeline=3)
    for text in ("one", "two", "three"):
        it.sends.post(C, text)
    it.out()
    it.sends.disconnected()
    assert it.texts() == ["one", "two", "three"]


def test_old_ids_go_one_at_a_time_each_after_the_verdict_on_the_one_before() -> None:
    it = Clocked(pipeline=3)
    for text in ("one", "two"):
        it.sends.post(C, text)
    it.out()
    it.sends.disconnected()
    it.now = OLD_S + 1
    it.sends.post(C, "three")
    (one,) = it.out()
    assert one.frame.text == "one"
    assert it.out() == []
    it.ack(one.frame)
    (two,) = it.out()
    assert two.frame.text == "two"
    it.ack(two.frame)
    assert it.texts() == ["three"]


def test_refused_for_now_is_sent_again_under_the_same_id_not_before_the_server_said() -> None:
    it = Clocked()
    it.sends.post(C, "one")
    it.sends.post(D, "held too: the limit is the connection's")
    one, other = it.out()
    assert kinds(it.refuse(one.frame, "slow_down", retry_after_ms=2000)) == [Postponed]
    it.ack(other.frame)
    it.sends.post(D, "later")
    assert it.out() == []
    due = it.sends.next_due(it.now)
    assert due is not None
    assert 2.0 <= due <= 2.4
    it.now = due
    assert it.out()[0].frame.id == one.frame.id


@pytest.mark.parametrize("code", [code for code, error in ERRORS.items() if error.retry])
def test_every_retryable_code_is_retried(code: str) -> None:
    it = Clocked()
    it.sends.post(C, "one")
    first = it.out()[0]
    assert kinds(it.refuse(first.frame, code)) == [Postponed]
    it.now = CAP_S
    assert it.out()[0].frame.id == first.frame.id


@pytest.mark.parametrize(
    "code", ["not_a_member", "archived", "too_large", "invalid_request", "of_a_newer_server"]
)
def test_final_refusals_end_it_and_the_next_goes_on(code: str) -> None:
    it = Clocked()
    ticket = it.sends.post(C, "one")
    it.sends.post(C, "two")
    first = it.out()[0].frame
    assert it.refuse(first, code) == [Reject(ticket, C, first.id, code, code)]
    assert it.texts() == ["two"]


def expired(it: Clocked) -> tuple[int, frames.Send]:
    ticket = it.sends.post(C, "one", after=3)
    it.sends.post(C, "two")
    frame = it.out()[0].frame
    effects = it.refuse(frame, "expired", head=9, now=T0_MS + 200_000)
    assert kinds(effects) == [Postponed, LookUp]
    assert it.sends.look_up(ticket) == Question(C, frame.id, 3, 9)
    assert it.out() == []  # what comes after it waits
    return ticket, frame


def test_expired_and_absent_is_born_again_at_the_logs_time() -> None:
    it = Clocked()
    ticket, frame = expired(it)
    it.now = 30.0
    (reborn,) = it.sends.absent(ticket, it.now)
    assert isinstance(reborn, Reborn)
    assert (reborn.old_id, born_ms(reborn.new_id)) == (frame.id, T0_MS + 230_000)
    again = it.out()[0].frame
    assert (again.id, again.text) == (reborn.new_id, "one")


def test_what_is_old_waits_for_the_verdict_on_what_was_born_again_before_it() -> None:
    it = Clocked(pipeline=3)
    ticket = it.sends.post(C, "one")
    it.sends.post(C, "two")
    one, _ = it.out()
    it.sends.disconnected()
    it.now = OLD_S + 50
    it.out()
    it.refuse(one.frame, "expired", head=0, now=T0_MS + int(it.now * 1000))
    it.sends.absent(ticket, it.now)
    assert it.texts() == ["one"]


def test_expired_and_found_is_acknowledged() -> None:
    it = Clocked()
    ticket, frame = expired(it)
    (resolve,) = it.sends.found(ticket, Found(1, 8, 77, "one"))
    assert isinstance(resolve, Resolve)
    assert (resolve.ack.id, resolve.ack.seq, resolve.ack.duplicate, resolve.asked) == (
        frame.id,
        8,
        True,
        True,
    )
    assert it.texts() == ["two"]


def test_expired_without_the_logs_word_is_no_proof() -> None:
    it = Clocked()
    it.sends.post(C, "one")
    frame = it.out()[0].frame
    assert kinds(it.refuse(frame, "expired")) == [Postponed]
    it.now = 60.0
    assert it.out()[0].frame.id == frame.id


def test_expired_and_history_closed_cannot_be_known() -> None:
    it = Clocked()
    ticket, frame = expired(it)
    assert it.sends.unanswerable(ticket, "not_a_member", "?") == [
        Reject(ticket, C, frame.id, "not_a_member", "?")
    ]


def test_a_question_survives_broken_connections() -> None:
    it = Clocked()
    ticket, _ = expired(it)
    it.sends.disconnected()
    assert it.sends.look_up(ticket) is not None
    assert it.out() == []


@pytest.mark.parametrize("code", ["number_unknown", "id_reused"])
def test_stored_but_not_known_where_is_looked_for_and_never_born_again(code: str) -> None:
    it = Clocked()
    ticket = it.sends.post(C, "one")
    frame = it.out()[0].frame
    assert LookUp in kinds(it.refuse(frame, code))
    assert it.sends.absent(ticket, it.now) == []
    it.now = CAP_S
    assert it.out()[0].frame.id == frame.id


def test_an_id_that_stands_for_other_words_is_refused() -> None:
    it = Clocked()
    ticket = it.sends.post(C, "one")
    frame = it.out()[0].frame
    it.refuse(frame, "id_reused")
    assert kinds(it.sends.found(ticket, Found(1, 1, 1, "something else"))) == [Reject]


def test_after_the_log_was_replaced_what_had_been_tried_is_looked_for_first() -> None:
    it = Clocked()
    ticket = it.sends.post(C, "one", after=8)
    frame = it.out()[0].frame
    it.sends.post(C, "two")
    it.sends.disconnected()
    assert it.sends.log_replaced(it.now) == [LookUp(ticket)]
    assert it.sends.look_up(ticket) == Question(C, frame.id, 0, None)
    assert it.out() == []
    assert it.sends.absent(ticket, it.now) == []
    it.now = CAP_S
    assert it.out()[0].frame.id == frame.id


def test_after_the_log_was_replaced_the_old_ones_proof_is_void() -> None:
    it = Clocked()
    ticket, frame = expired(it)
    assert it.sends.log_replaced(it.now) == []  # it is being looked for already
    assert it.sends.look_up(ticket) == Question(C, frame.id, 0, None)
    assert (
        it.sends.absent(ticket, it.now) == []
    )  # not born again: nothing has proven that this id cannot appear
    it.now = CAP_S
    assert it.out()[0].frame.id == frame.id


def test_after_the_log_was_replaced_an_ack_of_the_old_one_is_void() -> None:
    it = Clocked()
    ticket = it.sends.post(C, "one")
    frame = it.out()[0].frame
    it.sends.log_replaced(it.now)
    assert it.ack(frame) == []
    assert it.sends.look_up(ticket) is not None


def test_without_a_verdict_it_becomes_overdue_but_not_while_nothing_could_be_read() -> None:
    it = Clocked()
    it.sends.post(C, "one")
    it.out()
    it.now = VERDICT_S
    assert it.sends.overdue(it.now)
    it.sends.excuse(it.now)
    assert not it.sends.overdue(it.now)


def test_answers_to_nothing_are_ignored() -> None:
    it = Clocked()
    stranger = frames.Send(channel=C, id=new_event_id(), text="x")
    assert it.ack(stranger) == []
    assert it.refuse(stranger, "archived") == []


def test_waits_grow_are_capped_and_spread_and_the_servers_word_is_kept() -> None:
    rng = random.Random(7)
    assert all(0 <= delay_s(0, rng) <= 0.25 for _ in range(100))
    late = [delay_s(50, rng) for _ in range(1000)]
    assert max(late) <= CAP_S
    assert max(late) > 0.9 * CAP_S
    assert min(late) < 0.1 * CAP_S
    assert all(3.0 <= delay_s(9, rng, dictated_ms=3000) <= 3.6 for _ in range(100))
