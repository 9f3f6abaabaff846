"""What was under way when a channel server was killed: read afterwards from what its clients recorded and the log.

Each kill is classified for every stage that some message, or some client, was in:

    before append        a client had sent, and this node never appended it (the log's first copy is a later one's)
    append to ack        the node had appended it, and the client was not told
    ack to delivery      the sender was told, and some other client of the node was not shown it by this node
    mid fan-out          some clients of the node were shown an event by it, and others were not
    catching up          a client had resumed there and was not shown everything up to the heads of its welcome
    during start         the node was killed before it was ready (known to whoever killed it)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from services.contract.envelope import decode_envelope
from tests.faults.swarm import Stay
from tests.stack.rawlog import Entry

BEFORE_APPEND: Final = "before append"
APPEND_TO_ACK: Final = "append to ack"
ACK_TO_DELIVERY: Final = "ack to delivery"
MID_FAN_OUT: Final = "mid fan-out"
CATCHING_UP: Final = "catching up"
DURING_START: Final = "during start"
STAGES: Final = (BEFORE_APPEND, APPEND_TO_ACK, ACK_TO_DELIVERY, MID_FAN_OUT, CATCHING_UP, DURING_START)


@dataclass
class Kill:
    """`node`: the addresses of the nodes killed. `at`: monotonic ms, as in recordings."""

    nodes: frozenset[str]
    at: int
    stages: set[str] = field(default_factory=set)


@dataclass
class Visit:
    """One client's stay at one node, from `welcome` to the end of the connection (monotonic ms).

    `sent`: id -> when it was first sent there; `acked`: id -> (channel, seq); `shown`: channel -> the seqs shown;
    `due`: channel -> the head of the welcome for what was resumed.
    """

    client: str
    node: str
    begun: int
    ended: int = 1 << 62
    clean: bool = False
    sent: dict[str, int] = field(default_factory=dict)
    acked: dict[str, tuple[str, int]] = field(default_factory=dict)
    shown: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    resumed: dict[str, int] = field(default_factory=dict)
    due: dict[str, int] = field(default_factory=dict)

    @property
    def caught_up(self) -> bool:
        """Whether everything between what was resumed and the heads was shown here."""
        return all(
            last in self.shown[channel] or last <= self.resumed[channel] for channel, last in self.due.items()
        )


def visits(recording: Path) -> list[Visit]:
    """The stays of the clients that wrote this file, in order."""
    found: list[Visit] = []
    open_now: dict[str, Visit] = {}
    for line in recording.read_bytes().splitlines():
        told: dict[str, Any] = msgspec.json.decode(line)
        client, now = told["client"], told["t"]
        match told["kind"]:
            case "connected":
                visit = Visit(client, told["node"], now, resumed=dict(told["resumed"]))
                visit.due = {
                    channel: head for channel, head in told["heads"].items() if channel in visit.resumed
                }
                open_now[client] = visit
                found.append(visit)
            case "disconnected" if client in open_now:
                visit = open_now.pop(client)
                visit.ended, visit.clean = now, told["code"] == 1000
            case "sent" if client in open_now:
                open_now[client].sent.setdefault(told["id"], now)
            case "ack" if client in open_now and told["via"] == "ws":
                open_now[client].acked[told["id"]] = (told["channel"], told["seq"])
            case "event" if client in open_now and told["via"] != "gap":
                open_now[client].shown[told["channel"]].add(told["seq"])
            case _:
                pass
    return found


def classify(
    kills: Iterable[Kill],
    stays: Iterable[Visit],
    gallery: Iterable[Stay],
    log: Iterable[Entry],
    wall_minus_monotonic_ms: int,
) -> Counter[str]:
    """Fill in the stages of every kill, and count how many kills hit each stage.

    `stays`: of the recorded clients. `gallery`: of many viewers who were all up to date.
    """
    everybody = list(gallery)
    first_copy: dict[str, int] = {}
    for entry in log:
        first_copy.setdefault(decode_envelope(entry.headers).id, entry.appended - wall_minus_monotonic_ms)
    all_stays = sorted(stays, key=lambda visit: visit.begun)
    sent_again: dict[str, list[int]] = defaultdict(list)
    for visit in all_stays:
        for id, at in visit.sent.items():
            sent_again[id].append(at)
    hits: Counter[str] = Counter()
    for kill in kills:
        for node in kill.nodes:
            there = [
                visit
                for visit in all_stays
                if visit.node == node and visit.begun <= kill.at and kill.at - 50 <= visit.ended and not visit.clean
                and visit.ended <= kill.at + 5_000
            ]  # fmt: skip
            kill.stages.update(
                _sending(there, first_copy, sent_again),
                _catching_up(there),
                _fanning_out(kill, node, there, everybody),
            )
        hits.update(kill.stages)
    return hits


def _sending(
    there: Iterable[Visit], first_copy: Mapping[str, int], sent_again: Mapping[str, list[int]]
) -> Iterable[str]:
    for visit in there:
        for id in visit.sent.keys() - visit.acked.keys():
            appended = first_copy.get(id)
            later = min((at for at in sent_again[id] if at > visit.ended), default=None)
            if appended is not None and (later is None or appended < later):
                yield APPEND_TO_ACK
            else:
                yield BEFORE_APPEND


def _catching_up(there: Iterable[Visit]) -> Iterable[str]:
    for visit in there:
        if not visit.caught_up:
            yield CATCHING_UP


def _fanning_out(kill: Kill, node: str, there: Iterable[Visit], gallery: Iterable[Stay]) -> Iterable[str]:
    """The gallery's connections to the node that broke with it: did they all get equally far?"""
    reached: dict[str, list[int]] = defaultdict(list)
    for stay in gallery:
        if stay.node == node and stay.begun * 1000 <= kill.at <= stay.ended * 1000 + 50 <= kill.at + 5_050:
            for channel, seq in stay.cursors.items():
                reached[channel].append(seq)
    for seqs in reached.values():
        if min(seqs) != max(seqs):
            yield MID_FAN_OUT
    for visit in there:
        for channel, seq in visit.acked.values():
            if channel in reached and min(reached[channel]) < seq:
                yield ACK_TO_DELIVERY
