"""Who is shown events: a connection as delivery sees it, and a channel's audience."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
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

    user        whose it is, from when it joins until it leaves
    pending     bytes that its next write begins with, often shared with others; None while it is behind or joining, and once
                it leaves
    prompt      whether it is among those that are written to with the next steps
    joining     while it is on its way into its channels: it is shown nothing before it is in all of them
    lag         the channels in which it is not live, by id
    unresolved  channels it named when it resumed without being a member: the last seq it named
    stream      of the notices of its workspace; empty before it is admitted
    notices     up to where it has been shown its notices while it lags in them; None while it does not
    granted     bytes that this side wrote at once and unasked (its `welcome`), until it has drained: no slowness of its own
    """

    __slots__ = (
        "behind_since",
        "granted",
        "joining",
        "lag",
        "link",
        "notices",
        "pending",
        "prompt",
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
        self.joining: Joining | None = None
        self.prompt = False
        self.scheduled = False
        self.behind_since = 0.0
        self.granted = 0
        self.stream = ""
        self.notices: int | None = None


class Joining:
    """A subscriber on its way into all of its person's channels.

    named       the last seq of each channel that it resumes from
    heads       of the channels gone through, where they are not what it named: what its `welcome` says
    place       how many of `channels` have been gone through; one may come twice
    """

    __slots__ = ("channels", "heads", "named", "place", "user")

    def __init__(self, user: User, named: Mapping[str, int]) -> None:
        self.user = user
        self.named = named
        self.channels = list(user.memberships)
        self.heads: dict[str, int] = {}
        self.place = 0


class Leaving:
    """A subscriber that is over, on its way out of the channels that it has come into.

    place       how many of `channels` it is out of
    """

    __slots__ = ("channels", "place", "subscriber")

    def __init__(self, subscriber: Subscriber, channels: Sequence[str]) -> None:
        self.subscriber = subscriber
        self.channels = channels
        self.place = 0


class Lane:
    """The connections of a large audience that have something pending, to be written in its turns.

    left    how many of those `waiting` belong to the turn that it is; who is added meanwhile belongs to the next
    cost    seconds that this turn has taken so far
    """

    __slots__ = ("cost", "left", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Subscriber] = deque()
        self.left = 0
        self.cost = 0.0


class Audience:
    """Who is shown a channel's events, and which they have not been shown yet.

    live        who is shown each event as it comes
    ahead       lagging the other way: they have been shown, by another node, what has not come here yet
    unshown     frames of the channel's newest events, those after `shown`: put before nobody yet
    size        of what is unshown, bytes
    queued      whether its turn will come, or is: always while there is something unshown, or a lane
    lane        only while there are many to write to
    rests_until its turn does not come earlier, monotonic seconds; 0.0 when it never had to rest
    """

    __slots__ = ("ahead", "channel", "lane", "live", "queued", "rests_until", "shown", "size", "unshown")

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.live: set[Subscriber] = set()
        self.ahead: set[Subscriber] = set()
        self.unshown: list[bytes] = []
        self.shown = 0
        self.size = 0
        self.queued = False
        self.lane: Lane | None = None
        self.rests_until = 0.0


class Audiences(dict[str, Audience]):
    """By channel: those channels alone in which anybody is live or ahead.

    `settle` puts what is unshown before the audience, so that everybody in it stands at the channel's head.
    """

    def __init__(self, settle: Callable[[Audience], None]) -> None:
        super().__init__()
        self._settle = settle

    def of(self, channel: str) -> Audience:
        """The channel's, made if there is none: somebody has to come into it."""
        audience = self.get(channel)
        if audience is None:
            audience = self[channel] = Audience(channel)
        return audience

    def settled(self, channel: str) -> Audience:
        """As `of`, all of whom stand at the channel's head: to be changed."""
        audience = self.of(channel)
        if audience.unshown:
            self._settle(audience)
        return audience

    def drop_if_empty(self, audience: Audience) -> None:
        """Forget it when nobody is left in it."""
        if not audience.live and not audience.ahead:
            self.pop(audience.channel, None)
