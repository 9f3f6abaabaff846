"""A small Lockstep that never errs: clients, nodes, log, PostgreSQL and history of a random run, kept as the judge
reads them. `mutations` breaks them one at a time."""

from __future__ import annotations

import json
import uuid
import zlib
from dataclasses import dataclass, field
from random import Random
from typing import Any

from verify.figures import LogCounts
from verify.judge import HistoryEvent, Judge, StoredRow, Terms, Verdict
from verify.numbering import Numbering, Times

START = 1_760_000_000_000
TIMES = Times(partitions=2, retry=120_000, future=60_000)
Line = dict[str, Any]


@dataclass
class Record:
    """One record of the log."""

    appended: int
    header: bytes
    body: bytes


@dataclass
class Stored:
    """A numbered event, as the log's rule has it."""

    seq: int
    id: str
    sender: str
    at: int
    body: bytes


@dataclass
class Message:
    id: str
    channel: str
    text: str
    attempts: int = 0
    refused: bool = False
    acked: bool = False


@dataclass
class Client:
    name: str
    user: str
    lines: list[Line] = field(default_factory=list)
    connected: bool = False
    positions: dict[str, int] = field(default_factory=dict)
    pending: list[Message] = field(default_factory=list)
    owed: list[tuple[Message, Stored, bool]] = field(default_factory=list)


class World:
    """Runs on construction. `recordings`, `log`, `rows` and `history` are what the judge is given."""

    def __init__(self, rng: Random, steps: int = 60) -> None:
        self.rng = rng
        self.now = START
        self.channels = [f"ch_{self._hex()}" for _ in range(rng.randint(1, 3))]
        self.clients = [Client(f"client-{i}", f"usr_{self._hex()}") for i in range(rng.randint(2, 5))]
        self.log: list[list[Record]] = [[] for _ in range(TIMES.partitions)]
        self.events: dict[str, list[Stored]] = {channel: [] for channel in self.channels}
        self.members: dict[str, set[str]] = {channel: set() for channel in self.channels}
        self.deleted: set[tuple[str, int]] = set()
        self._keys: dict[tuple[str, str, str], Stored] = {}
        self._clocks = [0] * TIMES.partitions
        self._versions = 0
        self._run(steps)
        self.recordings = {f"{client.name}.jsonl": client.lines for client in self.clients}
        self.rows = [
            StoredRow(1, channel, e.seq, e.sender, e.id, e.at, self._left(channel, e))
            for channel, events in self.events.items()
            for e in events
        ]
        self.history = {
            client.user: [
                HistoryEvent(1, channel, e.seq, e.sender, e.id, e.at, self._left(channel, e))
                for channel in self.channels
                if client.user in self.members[channel]
                for e in self.events[channel]
            ]
            for client in self.clients
        }

    def _hex(self) -> str:
        return f"{self.rng.getrandbits(128):032x}"

    def new_id(self, born: int | None = None) -> str:
        born = self.now if born is None else born
        bits = born << 80 | 7 << 76 | self.rng.getrandbits(12) << 64 | 2 << 62 | self.rng.getrandbits(62)
        return str(uuid.UUID(int=bits))

    # --- the log --------------------------------------------------------------------------------------------

    def append(self, channel: str, sender: str, id: str, body: bytes) -> tuple[Stored | None, bool]:
        """The event with its number, and whether this copy was a duplicate; None when the copy is expired."""
        partition = zlib.crc32(channel.encode()) % TIMES.partitions
        appended, stamped = self.now + self.rng.randint(0, 3), self.now + self.rng.randint(-3, 3)
        header = f"1 {channel} {sender} {id} {stamped}".encode()
        self.log[partition].append(Record(appended, header, body))
        clock = self._clocks[partition] = max(self._clocks[partition], min(appended, stamped))
        if clock - int(id[:8] + id[9:13], 16) > TIMES.retry:
            return None, False
        known = self._keys.get((channel, sender, id))
        if known is not None:
            return known, True
        stored = Stored(len(self.events[channel]) + 1, id, sender, clock, body)
        self.events[channel].append(stored)
        self._keys[channel, sender, id] = stored
        return stored, False

    def _member_event(self, channel: str, client: Client, kind: str, by: str) -> None:
        self._versions += 1
        body = {"type": kind, "user_ids": [client.user], "version": self._versions}
        self.append(channel, by, self.new_id(), json.dumps(body).encode())

    # --- the run --------------------------------------------------------------------------------------------

    def _run(self, steps: int) -> None:
        owner = self.clients[0].user
        for channel in self.channels:
            self.append(
                channel, owner, self.new_id(), b'{"type":"channel.created","kind":"public","name":"x"}'
            )
            for client in self.clients:
                if client is self.clients[0] or self.rng.random() < 0.8:
                    self._member_event(channel, client, "members.added", owner)
                    self.members[channel].add(client.user)
        for _ in range(steps):
            self.now += 150_000 if self.rng.random() < 0.02 else self.rng.choice((0, 1, 5, 400, 3_000))
            client = self.rng.choice(self.clients)
            step = self.rng.random()
            if not client.connected:
                self._connect(client)
            elif step < 0.4:
                self._send(client)
            elif step < 0.85:
                self._deliver(client, self.rng.randint(1, 6))
            elif step < 0.92:
                self._disconnect(client, 1006)
            elif step < 0.95:
                self._change_membership(client)
            elif step < 0.97:
                self._rest(client)
            elif step < 0.985:
                self._delete(client)
            else:
                self._noise()
        for client in self.clients:
            if not client.connected:
                self._connect(client)
        for client in self.clients:
            self._deliver(client, 1_000_000)
            self._disconnect(client, 1000)

    def _write(self, client: Client, kind: str, **fields: Any) -> None:
        line = {
            "t": self.now - START,
            "at": self.now,
            "client": client.name,
            "user": client.user,
            "kind": kind,
        }
        client.lines.append({**line, **fields})

    def _connect(self, client: Client) -> None:
        heads, resumed = {}, dict(client.positions)
        for channel in self.channels:
            head = len(self.events[channel])
            if client.user in self.members[channel] and resumed.get(channel) != head:
                heads[channel] = head
        client.connected = True
        self._write(client, "connected", epoch=1, node="node-1", session="s", resumed=resumed, heads=heads)
        for channel, head in heads.items():
            if channel not in resumed:
                client.positions[channel] = head
                if self.rng.random() < 0.7:
                    self._write(client, "opened", epoch=1, channel=channel, head=head)
            elif self.rng.random() < 0.4:
                self._gap(client, channel, self.rng.randint(resumed[channel] + 1, head))
        for channel in resumed:
            if client.user not in self.members[channel]:
                self._close(client, channel)
        for message in list(client.pending):
            self._attempt(client, message, lost=False)

    def _gap(self, client: Client, channel: str, to: int) -> None:
        first = client.positions[channel] + 1
        self._write(client, "gap", channel=channel, **{"from": first, "to": to})
        if self.rng.random() < 0.8:
            for stored in self.events[channel][first - 1 : to]:
                self._show(client, channel, stored, "gap")
        client.positions[channel] = to

    def _close(self, client: Client, channel: str) -> None:
        last = client.positions.pop(channel)
        self._write(client, "closed", channel=channel, last_seq=last)

    def _disconnect(self, client: Client, code: int) -> None:
        client.connected = False
        client.owed.clear()
        self._write(client, "disconnected", code=code, reason="")

    def _send(self, client: Client) -> None:
        open_channels = [c for c in self.channels if c in client.positions and client.user in self.members[c]]
        if not open_channels:
            return
        burst = self.rng.randint(1, 3)
        lost_from = self.rng.randint(0, burst) if self.rng.random() < 0.15 else burst
        for index in range(burst):
            channel = self.rng.choice(open_channels)
            message = Message(self.new_id(), channel, f"text {self.rng.randint(0, 999)} שלום 👩‍👩‍👧")
            client.pending.append(message)
            if index >= lost_from:
                message.attempts += 1
                self._sent(client, message)
            elif self.rng.random() < 0.05:
                message.attempts += 1
                self._sent(client, message)
                self._write(client, "refused", channel=channel, id=message.id, code="slow_down", final=False)
                self._attempt(client, message, lost=False)
            else:
                self._attempt(client, message, lost=False)
        if lost_from < burst:
            self._disconnect(client, 1006)

    def _sent(self, client: Client, message: Message) -> None:
        self._write(
            client, "sent", channel=message.channel, id=message.id, text=message.text, attempt=message.attempts
        )  # fmt: skip

    def _attempt(self, client: Client, message: Message, *, lost: bool) -> None:
        message.attempts += 1
        self._sent(client, message)
        body = json.dumps({"type": "message.posted", "text": message.text}, ensure_ascii=False).encode()
        stored, duplicate = self.append(message.channel, client.user, message.id, body)
        if stored is None:
            self._write(
                client, "refused", channel=message.channel, id=message.id, code="expired", final=False
            )
            if (message.channel, client.user, message.id) in self._keys:
                client.pending.remove(message)  # history has it: the copy before this one was numbered
                return
            old, message.id = message.id, self.new_id()
            self._write(client, "rebirth", channel=message.channel, old_id=old, new_id=message.id)
            message.attempts = 0
            self._attempt(client, message, lost=lost)
        elif client.user in self.members[message.channel]:
            client.owed.append((message, stored, duplicate))
        else:
            client.pending.remove(message)

    def _acknowledge(self, client: Client) -> None:
        for message, stored, duplicate in client.owed:
            if message in client.pending:
                client.pending.remove(message)
            self._write(
                client, "ack", channel=message.channel, id=message.id, seq=stored.seq, at=stored.at,
                duplicate=duplicate, via="ws",
            )  # fmt: skip
        client.owed.clear()

    def _deliver(self, client: Client, limit: int) -> None:
        if self.rng.random() < 0.5:
            self._acknowledge(client)
        for channel in list(client.positions):
            for stored in self.events[channel][client.positions[channel] :][:limit]:
                body = json.loads(stored.body)
                if body["type"] == "members.removed" and client.user in body["user_ids"]:
                    break
                client.positions[channel] = stored.seq
                self._show(client, channel, stored, "live")
        self._acknowledge(client)

    def _delete(self, client: Client) -> None:
        """A message is edited and deleted; what is shown of both later is redacted."""
        channel = self.rng.choice(self.channels)
        messages = [e for e in self.events[channel] if e.body.startswith(b'{"type": "message.posted"')]
        if client.user not in self.members[channel] or not messages:
            return
        target = self.rng.choice(messages).seq
        edit = {"type": "message.edited", "target": target, "text": "better"}
        self.append(channel, client.user, self.new_id(), json.dumps(edit).encode())
        if self.rng.random() < 0.3:
            return
        gone = {"type": "message.deleted", "target": target}
        self.append(channel, client.user, self.new_id(), json.dumps(gone).encode())
        self.deleted.add((channel, target))

    def _left(self, channel: str, stored: Stored) -> bytes:
        """The body as it is shown once everything is stored."""
        body = json.loads(stored.body)
        kind = body["type"]
        if kind == "message.posted" and (channel, stored.seq) in self.deleted:
            return b'{"type":"message.redacted","was":"message.posted"}'
        if kind == "message.edited" and (channel, body["target"]) in self.deleted:
            return b'{"type":"message.redacted","was":"message.edited","target":%d}' % body["target"]
        return stored.body

    def _show(self, client: Client, channel: str, stored: Stored, via: str) -> None:
        self._write(
            client, "event", epoch=1, channel=channel, seq=stored.seq, id=stored.id, sender=stored.sender,
            at=stored.at, event=json.loads(stored.body if via == "live" else self._left(channel, stored)), via=via,
        )  # fmt: skip

    def _change_membership(self, client: Client) -> None:
        channel = self.rng.choice(self.channels)
        by = self.clients[0].user
        if client is self.clients[0]:
            return
        if client.user in self.members[channel]:
            self._deliver(client, 1_000_000)
            self._member_event(channel, client, "members.removed", by)
            self.members[channel].remove(client.user)
            if channel in client.positions:
                self._close(client, channel)
        else:
            self._member_event(channel, client, "members.added", by)
            self.members[channel].add(client.user)
            head = len(self.events[channel])
            client.positions[channel] = head
            self._write(client, "opened", epoch=1, channel=channel, head=head)

    def _rest(self, client: Client) -> None:
        """A message posted by REST, and a page of history looked at."""
        channel = self.rng.choice(self.channels)
        if client.user not in self.members[channel]:
            return
        message = Message(self.new_id(), channel, "by REST", 1)
        self._sent(client, message)
        body = json.dumps({"type": "message.posted", "text": message.text}).encode()
        stored, _ = self.append(channel, client.user, message.id, body)
        assert stored is not None
        self._write(client, "ack", channel=channel, id=message.id, seq=stored.seq, at=stored.at, via="rest")
        for event in self.events[channel][-3:]:
            self._show(client, channel, event, "history")

    def _noise(self) -> None:
        """What the rule must not number: an expired copy, a malformed record, a copy in the wrong partition."""
        kind = self.rng.randint(0, 3)
        channel, client = self.rng.choice(self.channels), self.rng.choice(self.clients)
        partition = zlib.crc32(channel.encode()) % TIMES.partitions
        if kind == 0:
            self.append(
                channel,
                client.user,
                self.new_id(self.now - 200_000),
                b'{"type":"message.posted","text":"old"}',
            )
        elif kind == 1:
            self.log[partition].append(Record(self.now, b"1 nonsense", b"{}"))
        elif kind == 2:
            header = f"1 {channel} {client.user} {self.new_id()} {self.now}".encode()
            self.log[1 - partition].append(Record(self.now, header, b"{}"))
        elif self.events[channel]:
            stored = self.rng.choice(self.events[channel])
            self.append(channel, stored.sender, stored.id, stored.body)

    # --- the judgement --------------------------------------------------------------------------------------

    def judge(
        self,
        terms: Terms | None = None,
        *,
        recordings: bool = True,
        log: bool = True,
        database: bool = True,
        history: bool = True,
    ) -> Verdict:
        """Feed the judge as `verify.run` does."""
        judge = Judge(terms or Terms(caught_up=True, all_senders_recorded=True))
        if recordings:
            for name, lines in self.recordings.items():
                recording = judge.recording(name)
                for position, line in enumerate(lines, 1):
                    recording.take(json.dumps(line).encode(), position)
                recording.finish()
        if log:
            counts = LogCounts(0, 0, 0, 0, 0)
            for partition, records in enumerate(self.log):
                source = judge.log_begins(1, partition, based=True)
                fold = Numbering(partition, TIMES, whole=True)
                for offset, record in enumerate(records):
                    numbered = fold.take(record.appended, [("lockstep", record.header)])
                    if numbered is not None:
                        judge.log_record(1, source, offset, numbered, record.body)
                counts.duplicates += fold.duplicates
            judge.log_counts = counts
            judge.log_paused()
        if database:
            judge.database_begins(judge.channels())
            for row in self.rows:
                judge.stored(row)
        if history:
            for user, events in self.history.items():
                for channel in {event.channel for event in events}:
                    source = judge.history_begins(f"REST history as {user}", channel, from_start=True)
                    for event in events:
                        if event.channel == channel:
                            judge.history(source, event, event.seq)
        return judge.verdict()
