"""What all sessions of a node share."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Sequence

from channel_server.core.audience import Subscriber
from channel_server.core.company import Company, Member
from channel_server.core.delivery import Delivery
from channel_server.core.directory import Directory
from channel_server.core.freshness import Freshness
from channel_server.core.limits import Buckets, Limits
from channel_server.core.mentions import Here
from channel_server.core.noticeboard import Noticeboard, NoticeRing
from channel_server.core.numbering import Numbering
from channel_server.core.ports import Clock, Log
from channel_server.core.redaction import Redaction
from channel_server.core.ring import Ring
from channel_server.core.sends import Refusal, Sends
from channel_server.core.waits import Waits

NOTICES_SHARE = 8
"""Recent notices may take this part of what recent events may, on top."""

FRESH = "fresh"
"""The key in `Waits` that advances when the node need not hold any more."""

PROVEN = "proven"
"""The key in `Waits` that advances when some partition's tail has been proven current at a later time than before."""

SLOW_DOWNS = ("connection_rate", "user_rate", "unacknowledged", "waiting", "log_full", "log_late")
"""Why somebody is told `slow_down`: a connection's or a person's pace, a connection's sends without an answer, sends that
wait for the directory, the node's appends under way, a tail that is late."""


class State:
    """One node's parts, put together. `draining`: the node is about to leave."""

    def __init__(
        self,
        *,
        epoch: int,
        numbering: Numbering,
        clock: Clock,
        log: Log,
        limits: Limits,
        ring_bytes: int,
        other_nodes: Sequence[str],
        rng: random.Random,
        node_name: str,
        incarnation: str,
        members_of: Callable[[str], Sequence[Member]],
    ) -> None:
        self.epoch = epoch
        self.clock = clock
        self.log = log
        self.limits = limits
        self.other_nodes = list(other_nodes)
        self.rng = rng
        self.numbering = numbering
        self.directory = Directory()
        self.ring = Ring(ring_bytes)
        self.notices = Noticeboard(NoticeRing(ring_bytes // NOTICES_SHARE), numbering.head)
        self.delivery = Delivery(self.ring, self.directory, numbering.head, limits, clock, self.notices)
        self.redaction = Redaction(self.ring)
        self.company = Company(
            incarnation=incarnation,
            node_name=node_name,
            directory=self.directory,
            delivery=self.delivery,
            members_of=members_of,
        )
        self.here: Here = self.company.here
        """Who in a channel is active."""
        self.sends = Sends(limits.sends_per_node)
        self.waits = Waits()
        self.freshness = Freshness(limits)
        self.parked = 0
        """Sends that wait for the directory, of all sessions."""
        self.user_buckets = Buckets(limits.user_rate, limits.user_burst)
        self.by_session: dict[str, set[Subscriber]] = {}
        """Live connections by the token's session."""
        self.unadmitted: dict[Subscriber, None] = {}
        """Connections that nobody is known to be behind, in the order in which they came."""
        self.joining: deque[Subscriber] = deque()
        """Connections on their way into many channels: they take turns."""
        self.seen_off: dict[Subscriber, None] = {}
        """Connections that were ended without ever having had a `welcome` and are not gone yet, likewise."""
        self.draining = False
        self.ended: Counter[str] = Counter()
        """Connections that this side has ended, by close code name, for the metrics."""
        self.refused: Counter[str] = Counter()
        """Refused sends and posts by REST, by error code, likewise."""
        self.slowed: Counter[str] = Counter()
        """`slow_down` answers by limit (`SLOW_DOWNS`), likewise; for `log_late` also posts by REST, sent to another node."""
        self.crowded_out = 0
        """Connections ended to make room for those that speak, or because there was none."""
        self.cut_short = 0
        """Connections that did not close quickly enough for how many of their kind were closing."""
        self.too_slow: Counter[str] = Counter()
        """Connections ended as `too_slow`, by what was too much: `bytes` in the buffer, or the `time` behind."""

    def see_off(self, stranger: Subscriber) -> None:
        """Its close handshake has begun; no more of those hold descriptors than may be `unadmitted`: the oldest is cut."""
        self.seen_off[stranger] = None
        if len(self.seen_off) > self.limits.unadmitted:
            oldest = next(iter(self.seen_off))
            del self.seen_off[oldest]
            self.cut_short += 1
            oldest.link.abort()

    def count_refusal(self, refusal: Refusal) -> None:
        self.refused[refusal.code] += 1
        if refusal.because:
            self.slowed[refusal.because] += 1
