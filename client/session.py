"""The whole core of a client, without I/O: frames and answers in, frames and effects out, clock and chance passed in.

It puts together `Streams` (what may be shown), `Sends` (what is to be sent) and the heartbeat. Times called `now`
are seconds of a monotonic clock, the same one for every call.

The shell calls `connecting` and writes the `connect` frame; gives every frame to `received`; carries out the effects
in order; then, and whenever `next_due` says so, writes what `sendable` and `heartbeat` give; calls `disconnected`
when the connection is gone, for whatever reason.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from client.effects import Effect, Leave, Show
from client.model import Presence, RawEvent, RawNotice, Typing
from client.noticed import NOTICES, NoticeStream
from client.sends import Found, Outgoing, Question, Sends
from client.streams import Lacking, Streams
from services.contract import frames
from services.contract.ids import new_event_id

Passing = frames.Watch | frames.Activity | frames.SetAway | frames.Typing

WELCOME_S: Final = 12.0
"""How long a node may take from `connect` to `welcome`."""


class Session:
    """One client's view of its channels and its unacknowledged sends, over any number of connections.

    rng         for all jitter
    pipeline    how many sends of one channel may be under way at once (see `client.sends`)
    """

    def __init__(
        self,
        *,
        rng: random.Random,
        pipeline: int = 1,
        new_id: Callable[[int], str] = new_event_id,
    ) -> None:
        self._streams = Streams()
        self._notices = NoticeStream()
        self._watched: list[str] = []
        self._passing: list[Passing] = []
        self._sends = Sends(rng=rng, new_id=new_id, pipeline=pipeline)
        self._server = (0, 0.0)  # the server's clock in Unix ms, at this monotonic time; known once connected
        self._connected = False
        self._heartbeat_s = 0.0
        self._next_ping = 0.0
        self._heard = 0.0
        self._reading = True
        self._welcome_by: float | None = None
        self.session_id = ""
        self.user_id = ""
        self.nodes: tuple[str, ...] = ()

    # --- what is known ----------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        return self._connected

    @property
    def epoch(self) -> int | None:
        return self._streams.epoch

    @property
    def cursors(self) -> dict[str, int]:
        """The last seq shown, of every open channel."""
        return dict(self._streams.cursors)

    @property
    def notices(self) -> int | None:
        """All notices up to this number have been shown; None before the first connection."""
        return self._notices.cursor

    @property
    def unsettled(self) -> list[tuple[int, str, str]]:
        """(ticket, channel, id) of every post without a final verdict, oldest first."""
        return self._sends.unsettled()

    @property
    def awaits_verdicts(self) -> bool:
        return len(self._sends) > 0

    @property
    def deaf(self) -> bool:
        return self._streams.deaf

    # --- the application --------------------------------------------------------------------------------------

    def post(
        self,
        channel: str,
        text: str,
        *,
        directory_at: str | None = None,
        thread: int | None = None,
        also_to_channel: bool = False,
    ) -> int:
        """Queue a message; gives the ticket under which its verdict will come."""
        return self._sends.post(
            channel,
            text,
            after=self._streams.cursors.get(channel, 0),
            directory_at=directory_at,
            thread=thread,
            also_to_channel=also_to_channel,
        )

    def begin_at(self, epoch: int, channels: Mapping[str, int], notices: int | None) -> None:
        """Before the first connection: what has been shown elsewhere."""
        self._streams.begin_at(epoch, channels)
        self._notices.cursor = notices

    def go_deaf(self) -> None:
        """The application is too slow to be shown more, but verdicts are awaited: ignore the rest until resumed."""
        self._streams.deaf = True

    def paused(self) -> None:
        """Nothing is read from now on, because the application is slow: silence says nothing about the server."""
        self._reading = False

    def reading(self, now: float) -> None:
        """Reading goes on."""
        if not self._reading:
            self._reading = True
            self._heard = now
            self._sends.excuse(now)

    def forget_sends(self) -> None:
        self._sends.forget()

    # --- the connection ---------------------------------------------------------------------------------------

    def connecting(self, token: str, client: str, now: float) -> frames.Connect:
        """The first frame of a new connection."""
        self._welcome_by = now + WELCOME_S
        self._reading = True
        notices = self._notices.resume()
        resume = self._streams.resume()
        if resume is not None and notices is not None:
            resume = msgspec.structs.replace(resume, notices=notices)
        return frames.Connect(token=token, resume=resume, client=client)

    def received(self, frame: frames.ServerFrame, now: float) -> Sequence[Effect]:
        """Judge one frame. After an unplanned `Leave` nothing more of this connection may be given in."""
        self._heard = now
        match frame:
            case frames.EventFrame():
                return self._streams.event(frame) if self._connected else self._too_early(frame)
            case frames.Ack():
                return self._sends.acked(frame, self._streams.epoch or 0)
            case frames.Refused():
                return self._sends.refused(frame, now)
            case frames.NoticeFrame():
                return self._notices.notice(self.epoch or 0, frame) if not self.deaf else ()
            case frames.NoticesGap():
                return self._notices.gap(frame) if not self.deaf else ()
            case frames.PresenceFrame():
                return () if self.deaf else [Show(Presence(users=frame.users), 100 + 60 * len(frame.users))]
            case frames.TypingFrame():
                return self._typing(frame)
            case frames.Pong():
                if not self.deaf:
                    self._notices.pong(frame.notices)
                return ()
            case frames.Welcome():
                return self._welcomed(frame, now)
            case frames.Opened():
                return self._streams.opened(frame) if self._connected else self._too_early(frame)
            case frames.Closed():
                return self._streams.closed(frame)
            case frames.Gap():
                return self._streams.gap(frame)
            case frames.Reset():
                self._notices.forget()
                return [*self._streams.reset(frame), *self._sends.log_replaced(now)]
            case frames.Reconnect():
                self.nodes = tuple(frame.nodes) or self.nodes
                return [Leave("the node is about to leave", True, tuple(frame.nodes), frame.after_ms)]
            case frames.Error():
                return ()  # what follows from it comes as a close code or as silence

    def _typing(self, frame: frames.TypingFrame) -> Sequence[Effect]:
        others = [user for user in frame.users if user != self.user_id]
        if self.deaf or not others or frame.channel not in self._streams.cursors:
            return ()
        return [Show(Typing(channel=frame.channel, users=others, thread=frame.thread), 100)]

    def _welcomed(self, frame: frames.Welcome, now: float) -> Sequence[Effect]:
        replaced = self._streams.epoch is not None and self._streams.epoch != frame.epoch
        self._connected = True
        self._welcome_by = None
        self._server = (frame.server_time, now)
        self._heartbeat_s = max(frame.heartbeat_ms, 100) / 1000
        self._next_ping = now + max(frame.first_heartbeat_ms, 0) / 1000
        self.session_id = frame.session
        self.user_id = frame.user
        self.nodes = tuple(frame.nodes)
        # What was said on another connection, or while there was none, is of no use any more; whom to watch is.
        self._passing = [frames.Watch(users=self._watched)] if self._watched else []
        effects = self._streams.welcome(frame)
        if replaced:
            self._notices.forget()
        self._notices.welcome(frame.notices)
        if replaced:
            effects += self._sends.log_replaced(now)
        return effects

    @staticmethod
    def _too_early(frame: frames.ServerFrame) -> Sequence[Effect]:
        return [Leave(f"{type(frame).__name__} before Welcome")]

    def say(self, frame: Passing) -> None:
        """Something about the person, to be written now or never."""
        if self._connected:
            self._passing.append(frame)

    def watch(self, user_ids: Sequence[str]) -> None:
        """Whom to be shown, on this connection and those after it."""
        self._watched = list(user_ids)
        self.say(frames.Watch(users=self._watched))

    def passing(self) -> list[Passing]:
        """What to write of that."""
        taken, self._passing = self._passing, []
        return taken

    def sendable(self, now: float) -> list[Outgoing]:
        """The sends to write now, in this order."""
        return self._sends.sendable(now, self._server_ms(now)) if self._connected else []

    def _server_ms(self, now: float) -> int:
        # Not this machine's clock: if that one is wrong, ids would be expired when they are born.
        at, heard = self._server
        return at + int((now - heard) * 1000)

    def heartbeat(self, now: float) -> frames.Ping | None:
        """The ping, if it is time for one."""
        if not self._connected or now < self._next_ping:
            return None
        self._next_ping = now + self._heartbeat_s
        return frames.Ping()

    def given_up(self, now: float) -> Leave | None:
        """Why this connection is to be taken for dead, if it is."""
        if self._welcome_by is not None:
            return Leave("no welcome") if now >= self._welcome_by else None
        if not self._connected or not self._reading:
            return None
        if now >= self._heard + 2 * self._heartbeat_s:
            return Leave("nothing heard for two heartbeats")
        if self._sends.overdue(now):
            return Leave("no verdict on a send")
        return None

    def next_due(self, now: float) -> float | None:
        """When to ask `sendable`, `heartbeat` and `given_up` again, if nothing happens before."""
        if self._welcome_by is not None:
            return self._welcome_by
        if not self._connected:
            return None
        times = [self._next_ping]
        if self._reading:
            times.append(self._heard + 2 * self._heartbeat_s)
            sends = self._sends.next_due(now)
            if sends is not None:
                times.append(sends)
        return min(times)

    def disconnected(self) -> None:
        """The connection is gone; the next `connecting` resumes."""
        self._connected = False
        self._welcome_by = None
        self._streams.disconnected()
        self._notices.disconnected()
        self._sends.disconnected()

    # --- answers from REST ------------------------------------------------------------------------------------

    def lacking(self, channel: str) -> Lacking | None:
        """What to fetch next for the gap in this channel, or in the notices (`NOTICES`); None: nothing (any more)."""
        if channel == NOTICES:
            return None if self.deaf or self.epoch is None else self._notices.lacking(self.epoch)
        return self._streams.lacking(channel)

    def filled(self, channel: str, epoch: int, events: Sequence[RawEvent]) -> Sequence[Effect]:
        """A page of history for the gap, ascending by seq."""
        return self._streams.filled(channel, epoch, events)

    def filled_notices(self, epoch: int, position: int, notices: Sequence[RawNotice]) -> Sequence[Effect]:
        """A page of notices for their gap: everything up to `position` was looked at."""
        if epoch != self.epoch or self.deaf:
            return ()
        return self._notices.filled(epoch, position, notices)

    def unfillable(self, channel: str, reason: str = "") -> Sequence[Effect]:
        """The gap in this channel is given up, because of `reason`."""
        if channel == NOTICES:
            return () if self.deaf else self._notices.unfillable(self.epoch or 0, reason)
        return self._streams.unfillable(channel, reason)

    def look_up(self, ticket: int) -> Question | None:
        return self._sends.look_up(ticket)

    def found(self, ticket: int, where: Found) -> Sequence[Effect]:
        return self._sends.found(ticket, where)

    def absent(self, ticket: int, now: float) -> Sequence[Effect]:
        return self._sends.absent(ticket, now)

    def unanswerable(self, ticket: int, code: str, message: str) -> Sequence[Effect]:
        return self._sends.unanswerable(ticket, code, message)
