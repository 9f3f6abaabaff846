"""Delivery: one ring for all, and for each connection no more than where it stands.

A subscriber is *live* in a channel (in the channel's audience: shown each event as it comes) or *lagging* in it (a
`lag` entry: the last seq it was shown, and the membership under which it was). It lags because it resumed, because
its buffer is above the high-water mark (*behind*), or because the node holds everything back. A subscriber that
falls behind leaves an audience only when the channel's next event comes, so that memory is bounded by its channels
and nothing is copied. What is published is put before the audience when it is its turn (`core.showing`), or earlier when
somebody is about to come into it or to lose their membership, so that everybody in it stands at the same seq. Laggards are
brought to the head, and made live again, by `core.catching_up`.
A connection that is over belongs to nobody and takes nothing from then on. Of many channels it is taken out in bounded
steps (`leave_some`); in whose audience it still stands meanwhile, it is passed over.

Guarantees, per connection and channel, between `opened` (or the resume) and `closed`: the seqs shown are exactly
last + 1, last + 2, ..., interrupted only by `gap` frames that name the missing. No event is shown at which the person
was not a member by then, as far as this node knew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final

from channel_server.core.audience import Audience, Audiences, Joining, Lag, Leaving, Subscriber, Turn
from channel_server.core.catching_up import NOT_OPEN, Laggards
from channel_server.core.compose import closed_frame, opened_frame
from channel_server.core.counts import DeliveryCounts
from channel_server.core.directory import Directory, MembershipChanged, User
from channel_server.core.limits import Limits
from channel_server.core.noticeboard import Noticeboard, NoticeRing
from channel_server.core.ports import Clock
from channel_server.core.ring import Ring
from channel_server.core.showing import Showing

_NEVER: Final = -1
"""In place of a membership: none that anybody can have, so that settling begins with `closed`."""


class Delivery:
    """All subscribers of a node. `head_of(channel)` is the last seq that was published (0: none)."""

    def __init__(
        self,
        ring: Ring,
        directory: Directory,
        head_of: Callable[[str], int],
        limits: Limits,
        clock: Clock,
        board: Noticeboard | None = None,
    ) -> None:
        self._directory = directory
        self._head_of = head_of
        self._limits = limits
        self._audiences = Audiences(self._settle)
        self._of_user: dict[str, list[Subscriber]] = {}
        self._leaving: deque[Leaving] = deque()
        self.behind: set[Subscriber] = set()
        self.held = False
        """While set, nothing more is put before anybody; connections fall behind without being so."""
        self.counts = DeliveryCounts()
        self.showing = Showing(clock, limits, self.counts, self._settle, self.fall_behind)
        self.board = board or Noticeboard(NoticeRing(0), head_of)
        self._laggards = Laggards(
            ring, self._audiences, head_of, limits, self.counts, self.board, self.fall_behind
        )

    # --- coming and going -------------------------------------------------------------------------------------

    def join(self, subscriber: Subscriber, user: User, named: Mapping[str, int]) -> Joining:
        """Begin to subscribe to all of the person's channels; `named` is what the client resumes from.

        `join_some` does it. Channels named without being a member wait in `unresolved` for a membership, or for
        `settle_unresolved`. Nothing is written before the `catch_up` after it.
        """
        joining = subscriber.joining = Joining(user, named)
        subscriber.user = user
        subscriber.pending = None
        subscriber.behind_since = 0.0
        self.behind.discard(subscriber)
        self._of_user.setdefault(user.id, []).append(subscriber)
        for channel, last in named.items():
            if not user.memberships.get(channel, 0) & 1:
                subscriber.unresolved[channel] = last
        return joining

    def join_some(self, subscriber: Subscriber, most: int) -> bool:
        """Go through so many channels. True while there are more; then it is shown what comes, and `heads` are whole."""
        joining = subscriber.joining
        if joining is None:
            return False
        named, memberships = joining.named, joining.user.memberships
        begin = joining.place
        joining.place += most
        for channel in joining.channels[begin : joining.place]:
            if channel in subscriber.lag:
                continue  # something has happened in it meanwhile, and will be told
            last = named.get(channel)
            membership = memberships[channel]
            if not membership & 1:
                if last is not None:
                    subscriber.unresolved[channel] = last
                continue
            audience = self._audiences.settled(channel)
            if subscriber in audience.live or channel in subscriber.lag:
                continue  # it comes twice
            head = self._head_of(channel)
            if last != head:
                joining.heads[channel] = head
            if last is None or last == head:
                audience.live.add(subscriber)
            else:
                self._lag(subscriber, channel, Lag(last, membership))
                self._audiences.drop_if_empty(audience)
        if joining.place < len(joining.channels):
            return True
        subscriber.joining = None
        subscriber.pending = b""
        if subscriber.lag:
            self.schedule(subscriber)
        return False

    def leave(self, subscriber: Subscriber) -> None:
        """The connection is over: it is shown nothing more. Harmless when it never joined.

        Out of few channels it is taken here and now, out of many by `leave_some`.
        """
        user, joining = subscriber.user, subscriber.joining
        if user is None:
            return
        subscriber.user = None
        subscriber.joining = None
        subscriber.pending = None
        subscriber.unresolved.clear()
        self.behind.discard(subscriber)
        self.board.leave(subscriber)
        of_user = self._of_user[user.id]
        of_user.remove(subscriber)
        if not of_user:
            del self._of_user[user.id]
        # No more than it has come into: so those who come and go at once cannot make leaving fall behind coming in.
        channels = list(user.memberships) if joining is None else joining.channels[: joining.place]
        leaving = Leaving(subscriber, channels)
        if len(channels) <= self._limits.channels_at_once:
            self._take_out(leaving, len(channels))
        else:
            self._leaving.append(leaving)

    def leave_some(self, most: int) -> bool:
        """Take who leaves, the first first, out of so many channels. True while there are more."""
        while self._leaving and most > 0:
            leaving = self._leaving[0]
            most -= self._take_out(leaving, most)
            if leaving.place == len(leaving.channels):
                self._leaving.popleft()
        return bool(self._leaving)

    def _take_out(self, leaving: Leaving, most: int) -> int:
        """Out of so many channels; gives how many there were."""
        subscriber, begin = leaving.subscriber, leaving.place
        channels = leaving.channels[begin : begin + most]
        for channel in channels:
            audience = self._audiences.get(channel)
            if audience is not None:
                audience.live.discard(subscriber)
                audience.ahead.discard(subscriber)
                self._audiences.drop_if_empty(audience)
        leaving.place += len(channels)
        if leaving.place == len(leaving.channels):
            subscriber.lag.clear()
        return len(channels)

    @property
    def leaving(self) -> int:
        """Connections that are over and still on their way out of many channels."""
        return len(self._leaving)

    def live_in(self, channel: str) -> Iterator[Subscriber]:
        """The connections that are shown what happens in a channel as it happens."""
        audience = self._audiences.get(channel)
        for subscriber in () if audience is None else audience.live:
            if subscriber.user is not None:
                yield subscriber

    def has_audience(self, channel: str) -> bool:
        """Whether anybody here is to be shown what happens in a channel, now or once they have caught up."""
        return channel in self._audiences

    def of_user(self, user_id: str) -> Sequence[Subscriber]:
        """The person's connections on this node."""
        return self._of_user.get(user_id, ())

    @property
    def users(self) -> Collection[str]:
        """Everybody who has a connection on this node."""
        return self._of_user.keys()

    def settle_unresolved(self, subscriber: Subscriber) -> None:
        """The wait is over: tell the client that the channels it named are closed to it."""
        unresolved, subscriber.unresolved = subscriber.unresolved, {}
        for channel, last in unresolved.items():
            self._lag(subscriber, channel, Lag(last, _NEVER))

    # --- a batch of the tail -----------------------------------------------------------------------------------

    def publish(
        self, channel: str, shown: int, frames: Sequence[bytes], turns: Sequence[Turn] = ()
    ) -> list[MembershipChanged]:
        """Show a channel's next events, `shown` + 1 and so on, to those who may see them; `showing` writes.

        The frames are in the ring already. Gives the changes of membership that the turns among them made.
        """
        changes: list[MembershipChanged] = []
        begin = 0
        for turn in turns:
            # Who is removed does not see the event that removes; who is added sees what comes after.
            cut = turn.place + turn.member
            if any(user_id in self._of_user for user_id in turn.user_ids):
                self._put(channel, shown + begin, frames[begin:cut])
                begin = cut
            for user_id in turn.user_ids:
                change = self._directory.set_member(channel, user_id, turn.version, turn.member)
                if change is not None:
                    changes.append(change)
                    self.membership_changed(change, shown + cut)
        self._put(channel, shown + begin, frames[begin:] if begin else frames)
        audience = self._audiences.get(channel)
        if audience is not None and audience.ahead:
            head = shown + len(frames)
            for subscriber in [s for s in audience.ahead if s.lag[channel].last <= head]:
                audience.ahead.discard(subscriber)
                self.schedule(subscriber)
        return changes

    def _put(self, channel: str, shown: int, frames: Sequence[bytes]) -> None:
        """Leave the next frames to be shown when it is the channel's turn."""
        audience = self._audiences.get(channel)
        if audience is None or not frames or not audience.live:
            return
        if not audience.unshown:
            audience.shown = shown
        audience.unshown += frames
        self.showing.published(audience, sum(map(len, frames)))

    def _settle(self, audience: Audience, changed: MembershipChanged | None = None) -> None:
        """Put what is unshown, all of it from before `changed`, before the live."""
        frames, live = audience.unshown, audience.live
        if not frames:
            return
        audience.unshown = []
        self.showing.settled(audience)
        missed: list[Subscriber] = []
        if self.held:
            missed.extend(live)
        else:
            payload = frames[0] if len(frames) == 1 else b"".join(frames)
            joined: dict[bytes, bytes] = {}
            lane, most = self.showing.lane_of(audience), self._limits.unshown
            note = self.showing.prompt.append if lane is None else lane.waiting.append
            for subscriber in live:
                pending = subscriber.pending
                if not pending:
                    if pending is None:
                        missed.append(subscriber)
                        continue
                    subscriber.pending = payload
                    if lane is not None:
                        note(subscriber)
                elif len(pending) > most:
                    missed.append(subscriber)
                    continue
                else:
                    # Subscribers of the same channels share the joined bytes too.
                    both = joined.get(pending)
                    if both is None:
                        both = joined[pending] = pending + payload
                    subscriber.pending = both
                if lane is None and not subscriber.prompt:
                    # Even if something is pending already: that may be waiting for the turn of a large audience.
                    subscriber.prompt = True
                    note(subscriber)
            if lane is None:
                self.showing.unwritten += len(payload) * (len(live) - len(missed))
            self.counts.deliveries += (len(live) - len(missed)) * len(frames)
        for subscriber in missed:
            live.discard(subscriber)
            user = subscriber.user
            if user is None:
                continue  # it leaves
            membership = user.memberships[audience.channel]
            if changed is not None and changed.user_id == user.id:
                membership = changed.before
            self._lag(subscriber, audience.channel, Lag(audience.shown, membership))

    def put(self, subscriber: Subscriber, frame: bytes, *, many: bool = False) -> bool:
        """Show a frame with the next steps of `showing`; `many`: it is shown to many, for whom nobody else should wait.

        False: not now, because too much is pending, it is behind, or everything is held.
        """
        pending = subscriber.pending
        if pending is None or self.held or len(pending) > self._limits.unshown:
            return False
        subscriber.pending = pending + frame
        if not many:
            self.showing.touch(subscriber, len(frame))
        elif not pending:
            self.showing.touch_as_one_of_many(subscriber)
        return True

    def write(self, subscriber: Subscriber, frame: bytes) -> None:
        """Write a frame now, together with whatever is pending before it."""
        if subscriber.pending:
            frame = subscriber.pending + frame
            subscriber.pending = b""
        if subscriber.link.write_prepared(frame) > self._limits.high_water:
            self.fall_behind(subscriber)

    def write_with_batch(self, subscriber: Subscriber, frame: bytes) -> None:
        """As `write`, but with the step that follows, so that a batch costs a connection one write."""
        if subscriber.pending is None:
            self.write(subscriber, frame)
        else:
            subscriber.pending += frame
            self.showing.touch(subscriber, len(frame))

    # --- behind, and back ----------------------------------------------------------------------------------------

    def fall_behind(self, subscriber: Subscriber) -> None:
        """Its buffer is above the high-water mark after a write: write nothing more but answers."""
        if subscriber.pending is not None:
            assert not subscriber.pending, "written before anybody looks at the buffer"
            subscriber.pending = None
            self.behind.add(subscriber)
            self.counts.behind += 1

    def drained(self, subscriber: Subscriber) -> None:
        """Its buffer is at or below the low-water mark. Harmless when it was not behind."""
        if subscriber in self.behind:
            subscriber.pending = b""
            subscriber.behind_since = 0.0
            subscriber.granted = 0
            self.behind.discard(subscriber)
            self.counts.drained += 1
            if subscriber.lag or subscriber.notices is not None:
                self.schedule(subscriber)

    @property
    def has_laggards(self) -> bool:
        """Whether `catch_up` has something to do now."""
        return bool(self._laggards) and not self.held

    def catch_up(self) -> bool:
        """Bring some laggards one step further. True while there is more to do now."""
        return not self.held and self._laggards.advance()

    def schedule(self, subscriber: Subscriber) -> None:
        """Have `catch_up` look at it, unless it is behind."""
        self._laggards.schedule(subscriber)

    # --- memberships -----------------------------------------------------------------------------------------------

    def membership_changed(self, change: MembershipChanged, head: int | None = None) -> None:
        """Tell the person's connections. `head`: the last seq published before the change (default: the channel's)."""
        subscribers = self._of_user.get(change.user_id)
        if subscribers is None:
            return
        channel = change.channel
        member = bool(change.after & 1)
        unsettled = self._audiences.get(channel)
        if unsettled is not None:
            self._settle(unsettled, change)
        for subscriber in subscribers:
            at = self._head_of(channel) if head is None else head
            audience = self._audiences.get(channel)
            is_live = audience is not None and subscriber in audience.live
            if channel in subscriber.lag:
                self.schedule(subscriber)  # settled there: closed, and opened at the head when a member again
            elif member and channel in subscriber.unresolved:
                # The directory is late: a member all along, who resumes. A member event: one from here on.
                resumes = change.after if head is None else _NEVER
                self._lag(subscriber, channel, Lag(subscriber.unresolved.pop(channel), resumes))
            elif subscriber.joining is not None and not is_live:
                subscriber.joining.channels.append(channel)
            elif self.held or subscriber.pending is None:
                if is_live:
                    assert audience is not None
                    audience.live.discard(subscriber)
                    self._lag(subscriber, channel, Lag(at, change.before))
                elif member:
                    self._lag(subscriber, channel, Lag(NOT_OPEN, _NEVER))
            elif is_live and not member:
                assert audience is not None
                audience.live.discard(subscriber)
                self._audiences.drop_if_empty(audience)
                self.write(subscriber, closed_frame(channel, at))
                self.counts.closed += 1
            elif member and not is_live:
                self._audiences.settled(channel).live.add(subscriber)
                self.write(subscriber, opened_frame(channel, at))
                self.counts.opened += 1

    def _lag(self, subscriber: Subscriber, channel: str, lag: Lag) -> None:
        subscriber.lag[channel] = lag
        self.schedule(subscriber)
