"""The figures of a verdict: what was looked at, and how much of it was wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from verify.crosscheck import Crosscheck
from verify.findings import Findings
from verify.ledger import LOST, Ledger
from verify.stream import Stream


@dataclass
class ChannelFigures:
    """One channel in one epoch; a head is the last number of that source, None when it was not asked."""

    channel: str
    epoch: int
    events: int
    head: int
    sent: int
    acknowledged: int
    delivered: int
    log: int | None
    database: int | None
    history: int | None


@dataclass
class LogCounts:
    """Records of the log, all channels: how many there are, and how many of them got no number, by reason."""

    records: int
    duplicates: int
    expired: int
    future: int
    skipped: int


@dataclass
class Figures:
    """Totals. `delivered`: events shown to applications, each client counted. `gaps_open`: numbers that a gap named
    and that were not fetched. `unclean`: clients whose recording does not end with a clean disconnect."""

    clients: int = 0
    unclean: int = 0
    channels: int = 0
    events: int = 0
    sent: int = 0
    acknowledged: int = 0
    delivered: int = 0
    gaps_open: int = 0
    lost: int = 0
    duplicated: int = 0
    out_of_order: int = 0
    log: LogCounts | None = None
    sources: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    by_channel: list[ChannelFigures] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        """There was nothing to judge."""
        return not (self.events or self.sent or self.acknowledged)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def figures_of(
    ledger: Ledger, findings: Findings, streams: list[Stream], cross: Crosscheck, notes: list[str]
) -> Figures:
    """Count; after the decision."""
    counts = findings.counts
    figures = Figures(
        clients=len(streams),
        unclean=sum(not stream.clean for stream in streams),
        delivered=sum(stream.shown for stream in streams),
        gaps_open=sum(stream.told for stream in streams),
        lost=cross.lost_everywhere,
        duplicated=sum(counts.get(rule, 0) for rule in ("shown_twice", "stored_twice", "numbered_twice")),
        out_of_order=sum(counts.get(rule, 0) for rule in ("out_of_order", "sender_order", "ack_order")),
        notes=notes,
    )
    channels = set()
    for (epoch, channel), book in sorted(ledger.books.items()):
        sent = sum(len(s.sends[channel].rows) for s in streams if channel in s.sends)
        acknowledged = sum(
            len({acks.id(at) for at in range(len(acks)) if acks.epochs[at] == epoch})
            for stream in streams
            if (acks := stream.acks.get(channel)) is not None
        )
        views = [view for s in streams if (view := s.views.get((epoch, channel))) is not None]
        readings = [reading for reading in cross.readings.values() if reading.channel == channel]
        first_of_channel = channel not in channels
        row = ChannelFigures(
            channel=channel,
            epoch=epoch,
            events=book.rows,
            head=book.head,
            sent=sent if first_of_channel else 0,
            acknowledged=acknowledged,
            delivered=sum(view.shown.count for view in views),
            log=cross.log.head(book),
            database=cross.database.of(book).last if cross.database.read else None,
            history=min((reading.spans.last for reading in readings), default=None),
        )
        figures.lost += sum(1 for seq in book.seqs(1, book.head) if (f := book.get(seq)) and f.marks & LOST)
        if not (row.events or row.sent or row.acknowledged):
            continue
        channels.add(channel)
        figures.by_channel.append(row)
        figures.events += row.events
        figures.acknowledged += acknowledged
    figures.sent = sum(len(sends.rows) for stream in streams for sends in stream.sends.values())
    figures.channels = len(channels)
    return figures
