"""Sends under way against a model: every send is answered exactly once, by the right verdict, and nothing is kept."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from channel_server.core.sends import Accepted, Answer, LogFailed, Outgoing, Refusal, Sends, answer_of
from services.contract.envelope import digest_of
from services.eventlog.sequencer import Kind, Verdict

ids = st.sampled_from(["i", "j"])
bodies = st.sampled_from([b"x", b"y"])


class Waiter:
    def __init__(self) -> None:
        self.answers: list[Answer] = []

    def answered(self, channel: str, id: str, answer: Answer) -> None:
        assert channel == "ch"
        self.answers.append(answer)


class SendsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.sends = Sends(capacity=100)
        self.now = 0.0
        self.waiting: list[tuple[str, bytes, Outgoing, Waiter]] = []
        self.done: list[Waiter] = []
        self.by_body: dict[tuple[str, bytes], Outgoing] = {}

    @rule(id=ids, body=bodies)
    def begin(self, id: str, body: bytes) -> None:
        waiter = Waiter()
        outgoing = self.sends.begin("ch", "u", id, body, self.now + 10, waiter)
        known = self.by_body.get((id, body))
        assert (outgoing is None) == (known is not None), "equal sends share one append"
        if outgoing is not None:
            self.by_body[id, body] = known = outgoing
        assert known is not None
        self.waiting.append((id, body, known, waiter))

    @rule(id=ids, body=bodies)
    def join(self, id: str, body: bytes) -> None:
        waiter, known = Waiter(), self.by_body.get((id, body))
        assert self.sends.join("ch", "u", id, digest_of(body), waiter) == (known is not None)
        if known is not None:
            self.waiting.append((id, body, known, waiter))

    @rule(id=ids, body=bodies, kind=st.sampled_from(Kind), seq=st.one_of(st.none(), st.integers(1, 9)))
    def judged(self, id: str, body: bytes, kind: Kind, seq: int | None) -> None:
        verdict = Verdict(kind, seq, 5, 9)
        judged = self.sends.judged("ch", "u", id, digest_of(body), verdict)
        for_id = kind in (Kind.EXPIRED, Kind.FUTURE)
        gone = {key for key in self.by_body if key == (id, body) or (for_id and key[0] == id)}
        assert (judged is None) == (not gone)
        if judged is not None:
            outgoings, answer = judged
            assert {id_(o) for o in outgoings} == {id_(self.by_body[key]) for key in gone}
            for outgoing in outgoings:
                outgoing.answer(answer)
            self._answered(gone, answer_of(verdict))

    @precondition(lambda self: self.by_body)
    @rule(data=st.data())
    def confirmed(self, data: st.DataObject) -> None:
        self.by_body[data.draw(st.sampled_from(sorted(self.by_body)))].confirmed = True

    @rule()
    def the_log_fails(self) -> None:
        gone = {key for key, outgoing in self.by_body.items() if not outgoing.confirmed}
        assert self.sends.fail_unconfirmed(lambda channel: channel != "ch") == 0
        assert self.sends.fail_unconfirmed(lambda channel: channel == "ch") == len(gone)
        self._answered(gone, LogFailed())

    @rule(seconds=st.floats(0, 12))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        gone = {key for key, outgoing in self.by_body.items() if outgoing.deadline <= self.now}
        assert self.sends.expire(self.now) == len(gone)
        for key in gone:
            for _, _, _, waiter in [w for w in self.waiting if w[:2] == key]:
                (answer,) = waiter.answers
                assert isinstance(answer, Refusal)
                assert answer.code == "log_unavailable"
        self._forget(gone)

    @invariant()
    def nobody_else_was_answered(self) -> None:
        assert all(not waiter.answers for _, _, _, waiter in self.waiting)
        assert all(len(waiter.answers) == 1 for waiter in self.done)
        assert len(self.sends) == len(self.by_body)

    def _answered(self, keys: set[tuple[str, bytes]], answer: Answer) -> None:
        for id, body, _, waiter in self.waiting:
            if (id, body) in keys:
                assert waiter.answers == [answer]
        self._forget(keys)

    def _forget(self, keys: set[tuple[str, bytes]]) -> None:
        self.done += [w for id, body, _, w in self.waiting if (id, body) in keys]
        self.waiting = [entry for entry in self.waiting if (entry[0], entry[1]) not in keys]
        for key in keys:
            del self.by_body[key]


id_ = id

TestSends = SendsMachine.TestCase
TestSends.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_what_each_verdict_means() -> None:
    assert answer_of(Verdict(Kind.NUMBERED, 4, 99, 4)) == Accepted(4, 99, False)
    assert answer_of(Verdict(Kind.DUPLICATE, 2, 99, 4)) == Accepted(2, 99, True)
    codes = {
        Verdict(Kind.DUPLICATE, None, 99, 4): ("number_unknown", None, None),
        Verdict(Kind.ID_REUSED, 2, 99, 4): ("id_reused", None, None),
        Verdict(Kind.EXPIRED, None, 99, 4): ("expired", 4, 99),
        Verdict(Kind.FUTURE, None, 99, 4): ("future", None, 99),
        Verdict(Kind.NUMBERED, None, 99, 4): ("number_unknown", None, None),
    }
    for verdict, expected in codes.items():
        refusal = answer_of(verdict)
        assert isinstance(refusal, Refusal)
        assert (refusal.code, refusal.head, refusal.now) == expected


def test_the_number_of_sends_is_bounded() -> None:
    sends = Sends(capacity=1)
    full = [sends.is_full]
    outgoing = sends.begin("ch", "u", "i", b"x", 10, Waiter())
    assert outgoing is not None
    full.append(sends.is_full)
    sends.withdraw(outgoing)
    full.append(sends.is_full)
    assert full == [False, True, False]
    assert sends.expire(100) == 0
