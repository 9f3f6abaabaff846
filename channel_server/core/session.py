"""One connection's conversation: connect, then sends and heartbeats, until somebody ends it.

    CONNECTING --connect--> ADMITTING --welcome--> LIVE --> ENDED

ADMITTING lasts while a key or a person may be a moment ahead of this node's directory, while the node holds everything
back, and while the person is brought into thousands of channels.
"""

from __future__ import annotations

import json
import math
from enum import IntEnum
from typing import Literal

import msgspec

from channel_server.core.admission import Admitted, Denied, NotYet, admit
from channel_server.core.audience import Joining, Subscriber
from channel_server.core.compose import pong_frame, prepared
from channel_server.core.limits import TokenBucket
from channel_server.core.ports import Link
from channel_server.core.sending import Sending
from channel_server.core.sends import Accepted, Refusal
from channel_server.core.state import FRESH, State
from channel_server.core.waits import Resume, Wait
from services.contract.codes import CLOSES
from services.contract.events import ChannelId, EventId
from services.contract.frames import (
    MAX_RESUME_CHANNELS,
    Ack,
    Activity,
    Connect,
    Error,
    Ping,
    Pong,
    Reconnect,
    Refused,
    Reset,
    Send,
    ServerFrame,
    SetAway,
    Typing,
    Watch,
    Welcome,
    decode_client_frame,
)
from services.contract.presence import LiveSession


class Phase(IntEnum):
    CONNECTING = 0
    ADMITTING = 1
    LIVE = 2
    ENDED = 3


class _SendNamed(msgspec.Struct, frozen=True):
    """As much of a send as is needed to refuse it."""

    type: Literal["send"]
    channel: ChannelId
    id: EventId


_send_named = msgspec.json.Decoder(_SendNamed)


class Session(Subscriber):
    """Made when the WebSocket is open; `received` for each message, `disconnected` when it is gone.

    number                  of the connection, on this node
    session_id, user_id     of the token, once admitted
    heard_at                monotonic seconds of the last message
    phase_since             likewise of the beginning of this phase
    client                  what the client calls itself
    since_ms                Unix milliseconds of its admission
    active, active_at       whether the person is at it, and monotonic seconds of when they did something last
    close_name              the close code's name once this side has ended it
    """

    __slots__ = (
        "_bad_frames",
        "_bucket",
        "_connect",
        "_refusals",
        "_sending",
        "_state",
        "_user_bucket",
        "_waits",
        "active",
        "active_at",
        "client",
        "close_name",
        "heard_at",
        "number",
        "opened_at",
        "phase",
        "phase_since",
        "session_id",
        "since_ms",
        "user_id",
    )

    def __init__(self, link: Link, state: State, number: int) -> None:
        super().__init__(link)
        self.number = number
        now = state.clock.monotonic()
        limits = state.limits
        self._state = state
        self._bucket = TokenBucket(limits.connection_rate, limits.connection_burst, now)
        self._refusals = TokenBucket(limits.connection_rate, limits.flooding_burst, now)
        self._user_bucket: TokenBucket | None = None
        self._bad_frames = 0
        self._connect: Connect | None = None
        self._sending: Sending | None = None
        self._waits: dict[str, Wait] = {}
        self.phase = Phase.CONNECTING
        self.opened_at = self.phase_since = self.heard_at = now
        self.session_id = ""
        self.user_id = ""
        self.close_name = ""
        self.client = ""
        self.since_ms = 0
        self.active = True
        self.active_at = now
        self._wait("connect", None, now + limits.connect_timeout, lambda _: self.end("connect_timeout"))

    # --- messages ------------------------------------------------------------------------------------------------

    def received(self, message: str | bytes) -> None:
        """Take one message: `str` a text message, `bytes` a binary one."""
        if self.phase is Phase.ENDED:
            return
        now = self.heard_at = self._state.clock.monotonic()
        if isinstance(message, bytes):
            self.end("unsupported_data")
            return
        pause = self._bucket.take(now)
        because = "connection_rate"
        if not pause and self._user_bucket is not None:
            pause = self._user_bucket.take(now)
            because = "user_rate"
        if pause:
            self._refuse_pace(message, pause, because, now)
            return
        try:
            frame = decode_client_frame(message)
        except (msgspec.DecodeError, UnicodeError) as error:
            self._refuse_unreadable(message, error)
            return
        if isinstance(frame, Send):
            self._send(frame, now)
        elif isinstance(frame, Ping):
            self._pong()
        elif isinstance(frame, Watch | Activity | SetAway | Typing):
            self._about_people(frame, now)
        else:
            self._begin_connect(frame, now)

    def _pong(self) -> None:
        state = self._state
        if self.phase is Phase.LIVE:
            state.delivery.write(self, pong_frame(state.notices.position(self)))
        else:
            self._write(Pong())

    def _about_people(self, frame: Watch | Activity | SetAway | Typing, now: float) -> None:
        state = self._state
        if self.phase is Phase.LIVE:
            state.company.received(self, self, frame, now, state.clock.wall_ms())
        else:
            self._violate("`connect` comes first")

    @property
    def told(self) -> LiveSession:
        """What the registry tells of this session."""
        host, port = self.link.remote
        return LiveSession(
            session=self.session_id,
            device=self.client,
            address=f"{host}:{port}" if host else "",
            since=self.since_ms,
            active=self.active,
        )

    def _refuse_pace(self, message: str, pause: float, because: str, now: float) -> None:
        if self._refusals.take(now):
            self.end("flooding")
            return
        retry_after_ms = math.ceil(pause * 1000)
        named = _name_send(message)
        if named is not None:
            refusal = Refusal("slow_down", "too many frames", retry_after_ms=retry_after_ms, because=because)
            self.refuse(named.channel, named.id, refusal)
        else:
            self._state.slowed[because] += 1
            self._write(Error(code="slow_down", message="too many frames", retry_after_ms=retry_after_ms))

    def _refuse_unreadable(self, message: str, error: Exception) -> None:
        named = _name_send(message)
        if named is not None:
            self.refuse(named.channel, named.id, Refusal("invalid_request", str(error)))
            return
        self._bad_frames += 1
        self._write(Error(code="bad_frame", message=str(error)))
        if self._bad_frames > self._state.limits.bad_frames:
            self.end("protocol_violation")

    # --- connect -------------------------------------------------------------------------------------------------

    def _begin_connect(self, frame: Connect, now: float) -> None:
        if self.phase is not Phase.CONNECTING:
            self._violate("`connect` comes once")
        elif frame.resume is not None and len(frame.resume.channels) > MAX_RESUME_CHANNELS:
            self._violate(f"`resume` may name {MAX_RESUME_CHANNELS} channels")
        elif self._state.draining:
            self.end("drained")
        else:
            self.phase = Phase.ADMITTING
            self.phase_since = now
            self._connect = frame
            self._try_connect(now, now)

    def _try_connect(self, since: float, now: float) -> None:
        state, frame = self._state, self._connect
        assert frame is not None
        if state.freshness.must_hold(now):
            # The connect time-out still runs: a node that holds for longer is of no use to anybody.
            self._wait(
                "connect",
                FRESH,
                since + state.limits.connect_timeout,
                self._retry_connect(since, "not_ready"),
            )
            return
        outcome = admit(frame.token, state.directory, state.clock.wall_ms())
        if isinstance(outcome, NotYet):
            deadline = since + state.limits.connect_wait
            if now < deadline:
                self._wait("connect", outcome.key, deadline, self._retry_connect(since, ""))
            else:
                self._write(Error(code="not_yet", message=outcome.message))
                self.end("not_ready")
        elif isinstance(outcome, Denied):
            self._write(Error(code="unauthenticated", message=outcome.message))
            self.end(outcome.close)
        elif len(state.delivery.of_user(outcome.user.id)) >= state.limits.connections_per_user:
            self.end("too_many_connections")
        else:
            self._welcome(outcome, frame, now)

    def _retry_connect(self, since: float, close: str) -> Resume:
        def resume(timed_out: bool) -> None:
            if timed_out and close:
                self.end(close)
            else:
                self._try_connect(since, self._state.clock.monotonic())

        return resume

    def _welcome(self, admitted: Admitted, frame: Connect, now: float) -> None:
        state, user = self._state, admitted.user
        self._cancel_wait("connect")
        self.session_id, self.user_id = admitted.claims.session_id, user.id
        self._user_bucket = state.user_buckets.of(user.id, now)
        state.unadmitted.pop(self, None)
        state.by_session.setdefault(self.session_id, set()).add(self)
        same_epoch = frame.resume is not None and frame.resume.epoch == state.epoch
        named = frame.resume.channels if frame.resume is not None and same_epoch else {}
        joining = state.delivery.join(self, user, named)
        self._connect = frame
        if len(joining.channels) > state.limits.channels_at_once:
            # Not even some of them at once: others may say `connect` in the same turn of the event loop.
            state.joining.append(self)
        else:
            self.join_some()

    def join_some(self) -> bool:
        """Bring it into some more of its channels; True while there are more, then it has its `welcome`."""
        state, joining, frame = self._state, self.joining, self._connect
        if joining is None or frame is None:
            return False  # it has ended
        now = state.clock.monotonic()
        if state.draining:
            self.end("drained")
            return False
        if state.freshness.must_hold(now):
            self._wait("connect", FRESH, now + state.limits.connect_timeout, self._go_on_joining)
            return False
        if state.delivery.join_some(self, state.limits.channels_at_once):
            return True
        self._connect = None
        self._joined(joining, frame, now)
        return False

    def _go_on_joining(self, timed_out: bool) -> None:
        if timed_out:
            self.end("not_ready")
        else:
            self._state.joining.append(self)

    def _joined(self, joining: Joining, frame: Connect, now: float) -> None:
        state, user = self._state, joining.user
        noticed = None
        if frame.resume is not None:
            if frame.resume.epoch == state.epoch:
                noticed = frame.resume.notices
            else:
                self._write(Reset(epoch=state.epoch))
        self.phase = Phase.LIVE
        self.phase_since = now
        self._sending = Sending(state, user.id, self)
        notices = state.notices.join(self, state.directory.streams.get(user.workspace_id, ""), noticed)
        heartbeat_ms = round(state.limits.heartbeat * 1000)
        welcome = prepared(
            Welcome(
                session=self.session_id,
                user=user.id,
                epoch=state.epoch,
                server_time=state.clock.wall_ms(),
                heartbeat_ms=heartbeat_ms,
                first_heartbeat_ms=round(heartbeat_ms * state.rng.uniform(0.2, 1.0)),
                heads=joining.heads,
                nodes=state.other_nodes,
                notices=notices,
            )
        )
        state.delivery.write(self, welcome)
        if self.pending is None:
            self.granted = len(welcome)
        if self.notices is not None:
            state.delivery.schedule(self)
        self.client, self.since_ms, self.active_at = frame.client, state.clock.wall_ms(), now
        state.company.joined(self)
        if self.unresolved:
            deadline = now + state.limits.member_wait
            self._wait("unresolved", None, deadline, lambda _: state.delivery.settle_unresolved(self))
        self._expect_heartbeat(now)

    def _expect_heartbeat(self, heard_at: float) -> None:
        self._wait("heartbeat", None, heard_at + 2 * self._state.limits.heartbeat, self._check_heartbeat)

    def _check_heartbeat(self, _: bool) -> None:
        if self._state.clock.monotonic() >= self.heard_at + 2 * self._state.limits.heartbeat:
            self.end("heartbeat_timeout")
        else:
            self._expect_heartbeat(self.heard_at)

    # --- sends ---------------------------------------------------------------------------------------------------

    def _send(self, send: Send, now: float) -> None:
        if self._sending is None:
            self._violate("`connect` comes first, and sends after `welcome`")
        else:
            self._state.company.is_active(self, now)
            self._sending.take(send, now)

    def acknowledge(self, channel: str, id: str, accepted: Accepted, *, with_batch: bool) -> None:
        """A send has its number (`sending.Sender`)."""
        ack = Ack(channel=channel, id=id, seq=accepted.seq, at=accepted.at, duplicate=accepted.duplicate)
        delivery = self._state.delivery
        (delivery.write_with_batch if with_batch else delivery.write)(self, prepared(ack))

    def append_failed(self) -> None:
        """Later sends must not overtake the one that failed: the client comes back and sends again, oldest first."""
        self.end("append_failed")

    def refuse(self, channel: str, id: str, refusal: Refusal) -> None:
        """A send was refused."""
        self._state.count_refusal(refusal)
        self._write(
            Refused(
                channel=channel,
                id=id,
                code=refusal.code,
                message=refusal.message,
                head=refusal.head,
                now=refusal.now,
                retry_after_ms=refusal.retry_after_ms,
            )
        )

    @property
    def unacknowledged(self) -> int:
        """Sends that wait for the log or the directory."""
        return 0 if self._sending is None else self._sending.unacknowledged

    # --- ending --------------------------------------------------------------------------------------------------

    def ask_to_reconnect(self, after_ms: int) -> None:
        """The node is about to leave."""
        if self.phase is Phase.LIVE:
            self._write(Reconnect(after_ms=after_ms, nodes=self._state.other_nodes))

    def forget_positions(self) -> None:
        """What the client was shown may be no log's any more."""
        if self.phase is Phase.LIVE:
            self._write(Reset(epoch=self._state.epoch))

    def end(self, close: str) -> None:
        """Close with a name of `contract.codes.CLOSES`; nothing is written or taken any more."""
        if self.phase is Phase.ENDED:
            return
        self.close_name = close
        self._state.ended[close] += 1
        was_live = self.phase is Phase.LIVE
        if self.pending:
            self.link.write_prepared(self.pending)
        self.disconnected()
        self.link.close(CLOSES[close].code, close)
        if not was_live:
            self._state.see_off(self)

    def disconnected(self) -> None:
        """The connection is gone, or about to be: forget all that it waited for. Harmless to repeat."""
        if self.phase is Phase.ENDED:
            return
        state = self._state
        self.phase = Phase.ENDED
        self.phase_since = state.clock.monotonic()
        state.unadmitted.pop(self, None)
        for name in list(self._waits):
            self._cancel_wait(name)
        if self._sending is not None:
            self._sending.end()
        self._connect = None
        state.delivery.leave(self)
        if self._sending is not None:
            state.company.left(self, self)
        same_session = state.by_session.get(self.session_id)
        if same_session is not None:
            same_session.discard(self)
            if not same_session:
                del state.by_session[self.session_id]
        if self.user_id and not state.delivery.of_user(self.user_id):
            state.user_buckets.left(self.user_id)

    def _violate(self, message: str) -> None:
        self._write(Error(code="bad_frame", message=message))
        self.end("protocol_violation")

    # --- writing and waiting ------------------------------------------------------------------------------------

    def _write(self, frame: ServerFrame) -> None:
        self._state.delivery.write(self, prepared(frame))

    def _wait(self, name: str, key: str | None, deadline: float, resume: Resume) -> None:
        """Wait for one thing under this name, instead of whatever it waited for under it before."""
        self._cancel_wait(name)
        self._waits[name] = self._state.waits.wait(key, deadline, resume)

    def _cancel_wait(self, name: str) -> None:
        wait = self._waits.pop(name, None)
        if wait is not None:
            self._state.waits.cancel(wait)


def _name_send(message: str) -> _SendNamed | None:
    """Which send this is, as far as that can be read: enough to refuse it by its name."""
    try:
        return _send_named.decode(message)
    except (ValueError, RecursionError):
        pass
    try:
        # More lenient: it reads what browsers write for text that is not Unicode (lone surrogates, escaped).
        return msgspec.convert(json.loads(message), _SendNamed)
    except (ValueError, RecursionError):
        return None
