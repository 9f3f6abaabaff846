"""Who is shown events: a connection as delivery sees it, and a channel's audience."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from channel_server.core.directory import Membership, User
from channel_server.core.ports import Link


class Lag(NamedTuple):
    last: int
    membership: Membership


class Turn(NamedTuple):
    """A member event: its `place` among the frames published with it."""

    place: int
    user_ids: Sequence[str]
    version: int
    member: bool


class Subscriber:
    """A connected client as delivery sees it.

    pending     bytes that its next write begins with, often shared with others; None while it is behind
    lag         the channels in which it is not live, by id
    unresolved  channels it named when it resumed without being a member: the last seq it named
    stream      of the notices of its workspace; empty before it is admitted
    notices     up to where it has been shown its notices while it lags in them; None while it does not
    granted     bytes that this side wrote at once and unasked (its `welcome`), until it has drained: no slowness of its own
    """

    __slots__ = (
        "behind_since",
        "granted",
        "lag",
        "link",
        "notices",
        "pending",
        "scheduled",
        "stream",
        "unresolved",
        "user",
    )

    def __init__(self, link: Link) -> None:
        self.link = link
        self.user: User | None = None
        self.pending: bytes | None = b""
        self.lag: dict[str, Lag] = {}
        self.unresolved: dict[str, int] = {}
        self.scheduled = False
        self.behind_since = 0.0
        self.granted = 0
        self.stream = ""
        self.notices: int | None = None


class Audience:
    __slots__ = ("ahead", "live")

    def __init__(self) -> None:
        self.live: set[Subscriber] = set()
        self.ahead: set[Subscriber] = set()
        """Lagging the other way: they have been shown, by another node, what has not come here yet."""
