"""A look at the open connections, for operators: those first that are worst off, a page at a time."""

from __future__ import annotations

import asyncio
import heapq
from typing import Final, get_args

from channel_server.core.compose import event_at
from channel_server.core.node import Node
from channel_server.core.session import Phase, Session
from services.contract.internal import ChannelLag, ConnectionInfo, ConnectionPage, ConnectionState

STATES: Final[tuple[str, ...]] = get_args(ConnectionState)

MAX_PAGE: Final = 1_000
MAX_CURSOR: Final = 1_000_000

_SLICE = 1_000
"""Connections looked at before the event loop gets its turn."""

_NAMED_LAGS = 5

_AGED_LAGS = 20
"""Channels of a connection whose oldest missing event is looked at: each costs the reading of a frame."""


async def page_of(
    node: Node,
    *,
    limit: int,
    cursor: int,
    state: str | None,
    user: str | None,
    workspace: str | None = None,
) -> ConnectionPage:
    """`limit` connections after the first `cursor`. Costs little even with all 20,000: only a page is looked at closely."""
    worst: list[tuple[tuple[float, int, int, int], Session]] = []
    total = 0
    sessions = list(node.sessions.values())
    for begin in range(0, len(sessions), _SLICE):
        if begin:
            await asyncio.sleep(0)
        now = node.state.clock.monotonic()
        for session in sessions[begin : begin + _SLICE]:
            if user is not None and session.user_id != user:
                continue
            if workspace is not None and (session.user is None or session.user.workspace_id != workspace):
                continue
            if state is not None and state_of(session, node) != state:
                continue
            total += 1
            badness = (
                _waiting(session, now),
                session.link.buffered(),
                len(session.lag) + (session.notices is not None),
                -session.number,
            )
            heapq.heappush(worst, (badness, session))
            if len(worst) > cursor + limit:
                heapq.heappop(worst)
    worst.sort(reverse=True)
    items = tuple(describe(session, node) for _, session in worst[cursor:])
    shown = cursor + len(items)
    return ConnectionPage(items=items, total=total, next_cursor=str(shown) if shown < total else None)


def state_of(session: Session, node: Node) -> ConnectionState:
    if session.phase is Phase.CONNECTING:
        return "connecting"
    if session.phase is Phase.ADMITTING:
        return "admitting"
    if session.phase is Phase.ENDED:
        return "closing"
    if session.pending is None:
        return "behind"
    if node.state.draining:
        return "draining"
    return "held" if node.state.delivery.held else "live"


def describe(session: Session, node: Node) -> ConnectionInfo:
    clock = node.state.clock
    now, wall = clock.monotonic(), clock.wall_ms()

    def unix_ms(at: float) -> int:
        return wall - round((now - at) * 1000)

    board = node.state.notices
    state = state_of(session, node)
    since = session.phase_since
    if state == "behind" and session.behind_since:
        since = session.behind_since
    elif state == "held":
        since = max(since, node.state.freshness.directory_proven + node.state.limits.hold)
    head_of = node.state.numbering.head
    lags = sorted(
        (
            ChannelLag(
                channel=channel,
                last=lag.last if lag.last >= 0 else None,
                head=head_of(channel),
                events=max(head_of(channel) - lag.last, 0) if lag.last >= 0 else 0,
            )
            for channel, lag in session.lag.items()
        ),
        key=lambda lag: -lag.events,
    )
    oldest_event = min(
        (at for lag in lags[:_AGED_LAGS] if (at := _oldest_missing(lag, node)) is not None), default=wall
    )
    return ConnectionInfo(
        number=session.number,
        user=session.user_id,
        session=session.session_id,
        remote=_address(session.link.remote),
        state=state,
        since=unix_ms(since),
        opened_at=unix_ms(session.opened_at),
        lagging_channels=len(lags),
        lagging_events=sum(lag.events for lag in lags),
        lag=tuple(lags[:_NAMED_LAGS]),
        notices=board.position(session) if session.stream else None,
        lagging_notices=board.lacking(session) if session.stream else 0,
        buffered_bytes=session.link.buffered(),
        kernel_bytes=session.link.kernel_unsent(),
        oldest_unsent_seconds=round(max(_waiting(session, now), (wall - oldest_event) / 1000), 1),
        unacknowledged=session.unacknowledged,
        heard_seconds=round(now - session.heard_at, 1),
    )


def _waiting(session: Session, now: float) -> float:
    """How long something has been in its way, seconds: bytes in its buffer, or its being behind."""
    since = [at for at in (session.link.unsent_since, session.behind_since) if at]
    return now - min(since) if since else 0.0


def _oldest_missing(lag: ChannelLag, node: Node) -> int | None:
    """When the first event that it lacks was numbered, Unix ms; later than that when the ring has let it go."""
    oldest = node.state.ring.oldest(lag.channel)
    if lag.last is None or not lag.events or oldest is None:
        return None
    frame = node.state.ring.get(lag.channel, max(lag.last + 1, oldest))
    return None if frame is None else event_at(frame)


def _address(remote: tuple[str, int]) -> str:
    host, port = remote
    if not host:
        return ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
