"""What a node measures. Read from the core's own counters when somebody asks: the hot paths pay nothing for it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from types import TracebackType
from typing import Self

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from channel_server.core.counts import BOUNDS
from channel_server.core.node import Node
from channel_server.core.state import SLOW_DOWNS
from services.eventlog.sequencer import Kind


class NodeCollector(Collector):
    """Registered while the node runs (`with`)."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def __enter__(self) -> Self:
        REGISTRY.register(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        REGISTRY.unregister(self)

    def collect(self) -> Iterator[Metric]:
        node = self._node
        state, counts, delivered = node.state, node.counts, node.state.delivery.counts
        now = state.clock.monotonic()
        for name, value, sentence in (
            ("records", counts.records, "Records of the log that this node has folded, replay included."),
            (
                "malformed_records",
                counts.malformed,
                "Records without a well-formed envelope, or in a wrong partition.",
            ),
            ("events", counts.events, "Events numbered and made ready to be shown."),
            ("notices", counts.notices, "Notices numbered, whomever they address."),
            ("shown_notices", state.notices.shown, "Notices shown live, counted once for each connection."),
            (
                "replayed_notices",
                state.notices.replayed,
                "Notices shown from memory, to those who resumed or were behind.",
            ),
            (
                "notice_gaps",
                state.notices.gaps,
                "Times a client was told that notices are no longer held here.",
            ),
            ("deliveries", delivered.deliveries, "Events shown live, counted once for each connection."),
            ("writes", delivered.writes, "Writes that carried them: one for each connection and batch."),
            (
                "replayed_events",
                delivered.replayed,
                "Events shown from the ring, to those who resumed or were behind.",
            ),
            ("gaps", delivered.gaps, "Times a client was told that the ring had moved past its place."),
            (
                "fell_behind",
                delivered.behind,
                "Times a connection's buffer passed the high-water mark: from then on only its position is kept.",
            ),
            ("drained", delivered.drained, "Times the buffer of one that was behind had drained."),
            (
                "catch_up_writes",
                delivered.replays,
                "Writes of at most one chunk that brought a connection nearer to the heads.",
            ),
            (
                "crowded_out",
                state.crowded_out,
                "Connections without a welcome ended because there were too many of them.",
            ),
            (
                "cut_short",
                state.cut_short,
                "Connections without a welcome that were reset, because too many of them were closing.",
            ),
            ("opened", delivered.opened, "Times a client was told that it had become a member of a channel."),
            ("closed", delivered.closed, "Times a client was told that a channel was closed to it."),
            ("ring_evicted_events", state.ring.evicted, "Events that the ring has let go."),
        ):
            yield CounterMetricFamily(f"lockstep_node_{name}", sentence, value=value)
        verdicts = CounterMetricFamily(
            "lockstep_node_verdicts", "The fold's verdicts on records, replay included.", labels=["kind"]
        )
        for kind in Kind:
            verdicts.add_metric([kind.name.lower()], counts.verdicts[kind])
        yield verdicts
        ended = CounterMetricFamily(
            "lockstep_node_ended_connections",
            "Connections that this node ended, by the close code's name.",
            labels=["close"],
        )
        for close, value in state.ended.items():
            ended.add_metric([close], value)
        yield ended
        refused = CounterMetricFamily(
            "lockstep_node_refused_sends", "Sends and posts by REST refused, by error code.", labels=["code"]
        )
        for code, value in state.refused.items():
            refused.add_metric([code], value)
        yield refused
        slowed = CounterMetricFamily(
            "lockstep_node_slow_downs",
            "Answers of `slow_down`, by the limit that was reached; log_late: also posts by REST, which go to another node.",
            labels=["limit"],
        )
        for limit in SLOW_DOWNS:
            slowed.add_metric([limit], state.slowed[limit])
        yield slowed
        too_slow = CounterMetricFamily(
            "lockstep_node_too_slow",
            "Connections ended as too_slow: for the bytes in the buffer, or the time behind.",
            labels=["reason"],
        )
        for reason in ("bytes", "time"):
            too_slow.add_metric([reason], state.too_slow[reason])
        yield too_slow
        yield from self._people()
        seconds = counts.verdict_seconds
        yield HistogramMetricFamily(
            "lockstep_node_verdict_seconds",
            "From the append of a send to the verdict of this node's own tail.",
            buckets=[
                (str(bound), float(total))
                for bound, total in zip((*BOUNDS, "+Inf"), accumulate(seconds.buckets), strict=True)
            ],
            sum_value=seconds.sum,
        )
        sizes = state.directory.sizes()
        for name, number, sentence in (
            (
                "sessions",
                len(node.sessions),
                "Open connections, those that are still being admitted included.",
            ),
            (
                "behind_connections",
                len(state.delivery.behind),
                "Connections whose buffer is above the high-water mark.",
            ),
            (
                "unadmitted_connections",
                len(state.unadmitted),
                "Open connections that nobody is known to be behind yet.",
            ),
            (
                "joining_connections",
                len(state.joining),
                "Connections on their way into many channels, without a welcome yet.",
            ),
            (
                "leaving_connections",
                state.delivery.leaving,
                "Connections that are over, on their way out of many channels: they are shown nothing more.",
            ),
            ("waiting_writes", state.delivery.showing.waiting, "Connections that are to be written to."),
            (
                "crowded",
                int(state.delivery.showing.is_crowded),
                "1 while so much waits to be shown that the log is read no further.",
            ),
            ("sends_under_way", len(state.sends), "Sends that wait for the verdict of this node's fold."),
            ("parked_sends", state.parked, "Sends that wait for the directory."),
            ("ring_bytes", state.ring.bytes, "Memory taken by recent events."),
            ("notice_bytes", state.notices.ring.bytes, "Memory taken by recent notices."),
            ("ring_events", len(state.ring), "Recent events held for those who come back."),
            (
                "held",
                int(state.delivery.held),
                "1 while nothing is shown because the directory may be out of date.",
            ),
            (
                "events_age_seconds",
                now - state.freshness.oldest,
                "Age of the last proof that the events tail is at its end, of the partition where it is oldest.",
            ),
            (
                "directory_age_seconds",
                now - state.freshness.directory_proven,
                "The same of the directory tail.",
            ),
            ("directory_users", sizes["users"], "People known."),
            ("directory_channels", sizes["channels"], "Channels known."),
            (
                "directory_revoked",
                sizes["revoked"],
                "Ended sessions remembered because a token may still name them.",
            ),
        ):
            yield GaugeMetricFamily(f"lockstep_node_{name}", sentence, value=number)

    def _people(self) -> Iterator[Metric]:
        company = self._node.state.company
        presence = CounterMetricFamily(
            "lockstep_node_presence",
            "Of presence: records told, changes coalesced into them, tombstones for the dead, frames shown, states in them, "
            "frames held_back because a connection was behind, people unwatchable.",
            labels=["what"],
        )
        for what in ("records", "coalesced", "tombstones", "frames", "states", "held_back", "unwatchable"):
            presence.add_metric([what], company.presence.counts[what])
        yield presence
        typing = CounterMetricFamily(
            "lockstep_node_typing",
            "Of typing: records told, frames shown, coalesced into either, dropped for connections that were behind, "
            "crowded (too many at once), not_allowed, too_many_members (above the workspace's limit).",
            labels=["what"],
        )
        for what in (
            "records",
            "frames",
            "coalesced",
            "dropped",
            "crowded",
            "not_allowed",
            "too_many_members",
        ):
            typing.add_metric([what], company.typists.counts[what])
        yield typing
        yield GaugeMetricFamily(
            "lockstep_node_watchers", "Connections that watch people.", value=company.presence.watchers
        )
        yield GaugeMetricFamily(
            "lockstep_node_registry_people",
            "People with a live session at any node.",
            value=len(company.presence.registry),
        )
