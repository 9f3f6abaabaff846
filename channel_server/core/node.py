"""A node: connections, the events tail and the directory tail meet here, and nothing else decides.

The shell calls in, one call at a time. It calls `show` until that gives False, and again when it is `next_turn`, and
whenever `has_laggards` it calls `catch_up` likewise, letting other work run in between.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Final

from channel_server.core.audience import Subscriber, Turn
from channel_server.core.compose import event_frame, notice_frame
from channel_server.core.counts import NodeCounts
from channel_server.core.directory import (
    Change,
    MembershipChanged,
    SessionRevoked,
    UserChanged,
    WorkspaceChanged,
    member_key,
)
from channel_server.core.limits import Limits
from channel_server.core.noticeboard import Told
from channel_server.core.numbering import Numbering
from channel_server.core.ports import Clock, Link, Log
from channel_server.core.posting import post, with_original_time
from channel_server.core.redaction import KINDS as REDACTION_KINDS
from channel_server.core.sends import Answer, Outgoing, Refusal, Waiter
from channel_server.core.session import Phase, Session
from channel_server.core.state import FRESH, PROVEN, State
from services.contract.directory import DirectoryRecord, MemberRecord
from services.contract.envelope import Envelope
from services.contract.events import (
    MembersAdded,
    MembersRemoved,
    MessageEdited,
    MessagePosted,
    UnknownEvent,
    read_event,
    shown_body,
)
from services.contract.notices import NOTICE_KINDS, addressed
from services.eventlog.records import LogRecord
from services.eventlog.sequencer import Kind, Sequencer

_FORGET_EVERY = 60.0
"""Seconds between clearing away revocations, and what is kept of the pace of people who are gone; also how wrong this node's wall clock may be about them."""

_NUMBERED: Final = Kind.NUMBERED
"""Looked up for every record of the log: a plain name is cheaper than an attribute of an enum."""

_MEMBER_EVENTS: Final = frozenset({"members.added", "members.removed"})
_HEEDED: Final = _MEMBER_EVENTS | REDACTION_KINDS
"""Kinds of events that concern a node also where nobody is connected."""

_LATE = Refusal("draining", "this node has not heard from the log for a moment", because="log_late")
"""For web_app, which asks another node: that one may have heard."""


class _Run:
    """The events that one batch adds to a channel with an audience, or that changes it: numbers `shown` + 1 and on."""

    __slots__ = ("frames", "shown", "turns")

    def __init__(self, shown: int) -> None:
        self.shown = shown
        self.frames: list[bytes] = []
        self.turns: list[Turn] = []


def _told(seq: int, envelope: Envelope, at: int, value: bytes | None) -> Told:
    notice = addressed(value)
    if notice is None:
        return Told(seq, b"", frozenset())
    return Told(seq, notice_frame(seq, envelope.id, envelope.sender, at, notice.body), notice.user_ids)


class Node:
    def __init__(
        self,
        *,
        epoch: int,
        sequencers: Mapping[int, Sequencer],
        clock: Clock,
        log: Log,
        limits: Limits,
        ring_bytes: int,
        other_nodes: Sequence[str],
        rng: random.Random,
        name: str = "node",
        incarnation: str = "1",
    ) -> None:
        """`incarnation`: tells this run of the process from all others (`core.registry`)."""
        self.state = State(
            epoch=epoch,
            numbering=Numbering(sequencers),
            clock=clock,
            log=log,
            limits=limits,
            ring_bytes=ring_bytes,
            other_nodes=other_nodes,
            rng=rng,
            node_name=name,
            incarnation=incarnation,
            members_of=self._members_of,
        )
        self.sessions: dict[int, Session] = {}
        """Every open connection by its number, in the order in which they came."""
        self._numbers = count(1)
        self._forget_at = 0.0
        self.counts = NodeCounts()

    def _members_of(self, user_id: str) -> list[Session]:
        """Their connections that are up; those on their way in are told of when they are."""
        of_user = self.state.delivery.of_user(user_id)
        return [each for each in of_user if isinstance(each, Session) and each.phase is Phase.LIVE]

    # --- clients ---------------------------------------------------------------------------------------------------

    def connected(self, link: Link) -> Session:
        """A WebSocket is open."""
        session = Session(link, self.state, next(self._numbers))
        self.sessions[session.number] = session
        self.state.unadmitted[session] = None
        if len(self.state.unadmitted) > self.state.limits.unadmitted:
            self._crowd_out(session)
        return session

    def _crowd_out(self, newcomer: Session) -> None:
        longest = next(iter(self.state.unadmitted))
        assert isinstance(longest, Session)
        waited = self.state.clock.monotonic() - longest.opened_at
        self.state.crowded_out += 1
        if waited < self.state.limits.unadmitted_grace:
            newcomer.end("not_ready")
        else:
            longest.end("connect_timeout" if longest.phase is Phase.CONNECTING else "not_ready")

    def disconnected(self, session: Session) -> None:
        """A WebSocket is gone."""
        session.disconnected()
        self.state.seen_off.pop(session, None)
        self.sessions.pop(session.number, None)

    def drained(self, session: Session) -> None:
        """Its buffer has fallen to the low-water mark."""
        self.state.delivery.drained(session)

    # --- the log -----------------------------------------------------------------------------------------------------

    def records(self, partition: int, records: Iterable[LogRecord]) -> None:
        """Fold the partition's next records, show what is new, answer the sends that they decide.

        What has to be written waits for `show`. While `is_crowded`, call that and nothing of this kind.
        """
        state, counts = self.state, self.counts
        apply = state.numbering.sequencers[partition].apply
        # Nothing in the loop begins a send.
        judge = state.sends.judged if state.sends else None
        streams = state.directory.stream_names
        keep, has_audience = state.ring.add, state.delivery.has_audience
        runs: dict[str, _Run] = {}
        notices: dict[str, list[Told]] = {}
        decided: list[tuple[list[Outgoing], Answer]] = []
        for record in records:
            counts.records += 1
            envelope = record.envelope
            if envelope is None:
                counts.malformed += 1
                continue
            verdict = apply(record.offset, record.appended, envelope, record.digest)
            outcome, seq = verdict.kind, verdict.seq
            counts.verdicts[outcome] += 1
            channel = envelope.channel
            if outcome is _NUMBERED and seq is not None:
                kind, body = shown_body(record.value)
                is_notice = channel in streams
                if is_notice or kind in NOTICE_KINDS:
                    told = _told(seq, envelope, verdict.now, record.value)
                    state.notices.ring.add(channel, told)
                    notices.setdefault(channel, []).append(told)
                if not is_notice:
                    frame = event_frame(
                        channel, seq, envelope.id, envelope.sender, verdict.now, body, record.mentions
                    )
                    counts.events += 1
                    keep(channel, seq, frame)
                    # Most events are of channels that nobody here is in, and change nothing.
                    if kind in _HEEDED or channel in runs or has_audience(channel):
                        self._heed(runs, channel, seq, kind, body, frame)
            if judge is not None:
                judged = judge(channel, envelope.sender, envelope.id, record.digest, verdict)
                if judged is not None:
                    decided.append(judged)
        for stream, told_now in notices.items():
            counts.notices += len(told_now)
            state.notices.publish(stream, told_now, state.delivery)
        for channel, run in runs.items():
            for change in state.delivery.publish(channel, run.shown, run.frames, run.turns):
                state.waits.advance(member_key(channel, change.user_id))
        if not decided:
            return
        begun_by_now = state.clock.monotonic() + state.limits.send_timeout
        for answered, answer in decided:
            for outgoing in answered:
                counts.verdict_seconds.observe(begun_by_now - outgoing.deadline)
                outgoing.answer(with_original_time(state, outgoing.channel, answer))

    def _heed(
        self, runs: dict[str, _Run], channel: str, seq: int, kind: str, body: bytes, frame: bytes
    ) -> None:
        """Take an event, which the ring has, to those who are to be shown it, and do what its kind asks for."""
        run = runs.get(channel)
        if run is None and (kind in _MEMBER_EVENTS or self.state.delivery.has_audience(channel)):
            run = runs[channel] = _Run(seq - 1)
        if run is not None and kind in _MEMBER_EVENTS:
            event = read_event(body)
            if isinstance(event, MembersAdded | MembersRemoved):
                added = isinstance(event, MembersAdded)
                run.turns.append(Turn(len(run.frames), event.user_ids, event.version, added))
        elif kind in REDACTION_KINDS:
            happened = read_event(body)
            if not isinstance(happened, UnknownEvent):
                self.state.redaction.note(channel, seq, happened)
                # An edit that came too late is shown to nobody.
                frame = self.state.ring.get(channel, seq) or frame
        if run is not None:
            run.frames.append(frame)

    def post(self, channel: str, sender: str, id: str, value: bytes, waiter: Waiter) -> Refusal | None:
        """Append an event for somebody who may do this (the internal API); None: the waiter will be answered.

        Whoever answers counts the refusal, this one or the waiter's (`State.count_refusal`).
        """
        if self.state.draining:
            return Refusal("draining", "this node is shutting down")
        partition = self.state.numbering.partition_of(channel)
        if self.state.freshness.is_late(partition, self.state.clock.monotonic()):
            return _LATE
        event = read_event(value)
        says = event if isinstance(event, MessagePosted | MessageEdited) else None
        return post(self.state, channel, sender, id, value, waiter, says)

    def appends_failed(self, partition: int) -> int:
        """The log failed an append to a partition and all behind it: nothing may overtake them; gives how many."""
        of = self.state.numbering.partition_of
        return self.state.sends.fail_unconfirmed(lambda channel: of(channel) == partition)

    # --- the directory -----------------------------------------------------------------------------------------------

    def directory_records(self, records: Iterable[DirectoryRecord]) -> None:
        state = self.state
        waited_for = state.waits.by_key
        apply, set_member = state.directory.apply, state.directory.set_member
        membership_changed = state.delivery.membership_changed
        for record in records:
            # Almost all of them are memberships, of people who are not here.
            change: Change | None
            if isinstance(record, MemberRecord):
                change = set_member(record.channel_id, record.user_id, record.version, record.member)
            else:
                change = apply(record)
            if isinstance(change, MembershipChanged):
                membership_changed(change)
            elif isinstance(change, UserChanged):
                state.company.presence.known(change.user_id)
                if not change.active:
                    self._end_each(state.delivery.of_user(change.user_id), "deactivated")
            elif isinstance(change, WorkspaceChanged):
                if not change.active:
                    self._end_each(self._of_workspace(change.workspace_id), "workspace_deleted")
            elif isinstance(change, SessionRevoked):
                self._end_each(state.by_session.get(change.session_id, ()), "session_revoked")
            if waited_for:
                state.waits.advance(record.key)

    def _of_workspace(self, workspace_id: str) -> list[Session]:
        users = self.state.directory.users
        return [
            each
            for each in self.sessions.values()
            if each.user_id and users[each.user_id].workspace_id == workspace_id
        ]

    # --- time --------------------------------------------------------------------------------------------------------

    def proven(self, events: Mapping[int, float], directory: float) -> None:
        """When each tail was last proven to be at its end (monotonic seconds; the events tail by partition). Call it after
        every batch."""
        state = self.state
        later = events != state.freshness.events_proven
        state.freshness.events_proven = events
        state.freshness.directory_proven = directory
        now = state.clock.monotonic()
        state.delivery.held = state.freshness.must_hold(now)
        if not state.delivery.held:
            state.waits.advance(FRESH)
        if later:
            state.waits.advance(PROVEN)

    def tick(self) -> None:
        """Deadlines. Call it several times a second."""
        state = self.state
        now = state.clock.monotonic()
        state.waits.expire(now)
        state.sends.expire(now)
        if state.freshness.must_hold(now):
            state.delivery.held = True
        if state.freshness.must_give_up(now):
            self.end_all("directory_stale")
        self._end_the_slow(now)
        state.company.tick(now, self.sessions.values())
        if now >= self._forget_at:
            self._forget_at = now + _FORGET_EVERY
            state.user_buckets.forget(now)
            state.directory.forget_revoked(state.clock.wall_ms() - round(_FORGET_EVERY * 1000))

    def _end_the_slow(self, now: float) -> None:
        limits = self.state.limits
        for subscriber in list(self.state.delivery.behind):
            buffered = subscriber.link.buffered()
            if not subscriber.behind_since:
                subscriber.behind_since = now
            if not buffered:
                # `drained` is told by the connection; this is for one that could not (it fell behind while it emptied).
                self.state.delivery.drained(subscriber)
                continue
            # A welcome has no bound: it names every channel. Room and time for it come on top, at the same pace.
            share = 1 + subscriber.granted / limits.hard_limit
            patience = limits.behind_timeout * share
            too_much = buffered > limits.hard_limit * share
            if too_much or now - subscriber.behind_since > patience:
                self.state.too_slow["bytes" if too_much else "time"] += 1
                self._end_each([subscriber], "too_slow")

    def end_all(self, close: str) -> None:
        """Close every connection with a name of `contract.codes.CLOSES`."""
        self._end_each(self.sessions.values(), close)

    def _end_each(self, subscribers: Iterable[Subscriber], close: str) -> None:
        for subscriber in list(subscribers):
            if isinstance(subscriber, Session):
                subscriber.end(close)

    def log_lost(self) -> None:
        """What was shown may be no log's any more: tell everybody to forget it."""
        for session in list(self.sessions.values()):
            session.forget_positions()
            session.end("log_lost")

    # --- what the shell does next --------------------------------------------------------------------------------------

    @property
    def has_laggards(self) -> bool:
        """Whether `catch_up` has something to do."""
        state = self.state
        return state.delivery.has_laggards or bool(state.joining or state.delivery.leaving)

    def show(self, *, turns: bool = True) -> bool:
        """Write to some of those whose turn it is (`core.showing`), without `turns` only to the few; True while there are
        more."""
        return self.state.delivery.showing.step(turns=turns)

    @property
    def next_turn(self) -> float:
        """When `show` will have something to do, monotonic seconds, if nothing happens until then; infinity: never."""
        return self.state.delivery.showing.next_turn

    @property
    def is_crowded(self) -> bool:
        """Whether so much waits to be shown in some channel that no more records should come before."""
        return self.state.delivery.showing.is_crowded

    def catch_up(self) -> bool:
        """Bring some who leave, newcomers and laggards a step further; True while there is more to do now."""
        joining, delivery = self.state.joining, self.state.delivery
        # As many channels are left as are come into: those on their way out are never more than were once here together.
        delivery.leave_some(self.state.limits.channels_at_once)
        if joining:
            newcomer = joining.popleft()
            assert isinstance(newcomer, Session)
            if newcomer.join_some():
                joining.append(newcomer)
        return delivery.catch_up() or bool(joining or delivery.leaving)
