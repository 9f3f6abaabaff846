"""One breach each: takes a world that keeps every promise and breaks one of them. False: this world has no place for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from random import Random
from typing import NamedTuple

from tests.unit.verify.world import Line, World
from verify.judge import HistoryEvent, StoredRow

Mutate = Callable[[World, Random], bool]


class Mutation(NamedTuple):
    """`rules`: any of these must be named."""

    mutate: Mutate
    rules: frozenset[str]


MUTATIONS: dict[str, Mutation] = {}


def breaks(*rules: str) -> Callable[[Mutate], Mutate]:
    def register(mutate: Mutate) -> Mutate:
        MUTATIONS[mutate.__name__] = Mutation(mutate, frozenset(rules))
        return mutate

    return register


def places(world: World, kind: str, **fields: object) -> list[tuple[list[Line], int]]:
    """Where lines of this kind are: (lines of a recording, index)."""
    return [
        (lines, index)
        for lines in world.recordings.values()
        for index, line in enumerate(lines)
        if line["kind"] == kind and all(line.get(name) == value for name, value in fields.items())
    ]


def shown(world: World) -> list[tuple[list[Line], int]]:
    return places(world, "event", via="live")


def later(lines: list[Line], index: int, kind: str, channel: str) -> Iterator[int]:
    """The indexes of later lines of this kind and channel."""
    for at in range(index + 1, len(lines)):
        if lines[at]["kind"] == kind and lines[at]["channel"] == channel:
            yield at


def copies(world: World, channel: str, seq: int) -> list[tuple[int, int]]:
    """(partition, offset) of every copy of this event in the log."""
    event = world.events[channel][seq - 1]
    key = f" {channel} {event.sender} {event.id} ".encode()
    return [
        (partition, offset)
        for partition, records in enumerate(world.log)
        for offset, record in enumerate(records)
        if key in record.header
    ]


def pick(world: World, rng: Random) -> tuple[str, int]:
    channel = rng.choice(world.channels)
    return channel, rng.randint(1, len(world.events[channel]))


def reader(world: World, rng: Random) -> tuple[str, int] | None:
    """A person and the index of an event of theirs in history."""
    users = [user for user, events in world.history.items() if events]
    if not users:
        return None
    user = rng.choice(users)
    return user, rng.randrange(len(world.history[user]))


# --- lost -----------------------------------------------------------------------------------------------------


@breaks("acked_not_in_database", "not_in_database")
def missing_in_database(world: World, rng: Random) -> bool:
    del world.rows[rng.randrange(len(world.rows))]
    return True


@breaks("acked_not_in_history", "not_in_history")
def missing_in_history(world: World, rng: Random) -> bool:
    place = reader(world, rng)
    if place is None:
        return False
    del world.history[place[0]][place[1]]
    return True


@breaks("acked_not_in_log", "not_in_log", "different_event")
def missing_in_log(world: World, rng: Random) -> bool:
    for partition, offset in reversed(copies(world, *pick(world, rng))):
        del world.log[partition][offset]
    return True


@breaks("acked_not_in_log", "not_in_log", "different_event")
def moved_to_a_wrong_partition(world: World, rng: Random) -> bool:
    for partition, offset in reversed(copies(world, *pick(world, rng))):
        world.log[1 - partition].append(world.log[partition].pop(offset))
    return True


@breaks("hole", "acked_not_shown", "not_shown", "closed_lies", "gap_lies")
def missing_at_a_client(world: World, rng: Random) -> bool:
    candidates = shown(world)
    if not candidates:
        return False
    lines, index = rng.choice(candidates)
    line = lines[index]
    reappears = any(lines[at]["seq"] == line["seq"] for at in later(lines, index, "event", line["channel"]))
    others = any(
        line["seq"] == other["seq"] and line["channel"] == other["channel"]
        for elsewhere in world.recordings.values()
        if elsewhere is not lines
        for other in elsewhere
        if other["kind"] == "event" and other["via"] != "history"
    )
    last = not any(True for _ in later(lines, index, "event", line["channel"]))
    if reappears or (last and not others):
        return False
    del lines[index]
    return True


@breaks("not_shown")
def the_last_one_missing_at_a_client(world: World, rng: Random) -> bool:
    """Nobody waits for an acknowledgement of it, but another client was shown it."""
    last = {
        (channel, len(events))
        for channel, events in world.events.items()
        if events and not events[-1].body.startswith(b'{"type": "message.posted"')
    }
    candidates = [
        (lines, index)
        for lines, index in shown(world)
        if (lines[index]["channel"], lines[index]["seq"]) in last
    ]
    if len(candidates) < 2:
        return False
    one, other = rng.sample(candidates, 2)
    if one[0][one[1]]["channel"] != other[0][other[1]]["channel"]:
        return False
    del one[0][one[1]]
    return True


@breaks("acked_nowhere")
def acknowledged_and_never_numbered(world: World, rng: Random) -> bool:
    candidates = places(world, "ack", duplicate=False)
    if not candidates:
        return False
    lines, index = rng.choice(candidates)
    line, id = lines[index], world.new_id()
    head = len(world.events[line["channel"]])
    sent = {**line, "kind": "sent", "id": id, "text": "lost", "attempt": 1}
    lines[index:index] = [sent, {**line, "id": id, "seq": head + 1}]
    return True


@breaks("closed_member")
def closed_without_a_reason(world: World, rng: Random) -> bool:
    lines = rng.choice(list(world.recordings.values()))
    user = lines[0]["user"]
    at = len(lines) - 1
    seen = [line for line in lines if line["kind"] == "event" and line["via"] == "live"]
    if lines[at]["kind"] != "disconnected" or not seen:
        return False
    channel = rng.choice(seen)["channel"]
    removed = any(
        user in body.get("user_ids", ()) and body["type"] == "members.removed"
        for body in (json.loads(event.body) for event in world.events[channel])
    )
    if removed or user not in world.members[channel]:
        return False
    last = max(line["seq"] for line in lines if line["kind"] == "event" and line["channel"] == channel)
    lines.insert(at, {**lines[at], "kind": "closed", "channel": channel, "last_seq": min(last, 1)})
    return True


# --- doubled --------------------------------------------------------------------------------------------------


@breaks("shown_twice")
def shown_again(world: World, rng: Random) -> bool:
    candidates = shown(world)
    if not candidates:
        return False
    lines, index = rng.choice(candidates)
    lines.insert(rng.randint(index + 1, len(lines) - 1), lines[index])
    return True


@breaks("numbered_twice", "not_in_log")
def late_copy_numbered_in_the_database(world: World, rng: Random) -> bool:
    row = rng.choice(world.rows)
    world.rows.append(row._replace(seq=len(world.events[row.channel]) + 1, at=row.at + 200_000))
    return True


@breaks("numbered_twice")
def late_copy_numbered_everywhere(world: World, rng: Random) -> bool:
    """Without the log to tell: a retry got a second number, and everybody agrees on it."""
    world.log = [[], []]
    row = rng.choice(world.rows)
    twice = row._replace(seq=len(world.events[row.channel]) + 1, at=row.at + 200_000)
    world.rows.append(twice)
    for events in world.history.values():
        if any(event.channel == row.channel for event in events):
            events.append(
                HistoryEvent(1, twice.channel, twice.seq, twice.sender, twice.id, twice.at, twice.body or b"")
            )
    return True


@breaks("not_in_log")
def expired_copy_numbered(world: World, rng: Random) -> bool:
    for records in world.log:
        for record in records:
            if b'"old"' in record.body:
                _, channel, sender, id, stamped = record.header.decode().split(" ")
                seq = len(world.events[channel]) + 1
                world.rows.append(StoredRow(1, channel, seq, sender, id, int(stamped), record.body))
                return True
    return False


@breaks("stored_twice")
def number_used_twice(world: World, rng: Random) -> bool:
    index = rng.randrange(len(world.rows))
    row = world.rows[index]
    others = [seq for seq in range(1, len(world.events[row.channel]) + 1) if seq != row.seq]
    if not others:
        return False
    world.rows[index] = row._replace(seq=rng.choice(others))
    return True


@breaks("stored_twice")
def history_gives_one_twice(world: World, rng: Random) -> bool:
    place = reader(world, rng)
    if place is None:
        return False
    events = world.history[place[0]]
    events.insert(place[1], events[place[1]])
    return True


@breaks("numbered_twice", "ack_differs", "acked_nowhere")
def acknowledged_with_two_numbers(world: World, rng: Random) -> bool:
    candidates = places(world, "ack")
    if not candidates:
        return False
    lines, index = rng.choice(candidates)
    lines.insert(index + 1, {**lines[index], "seq": lines[index]["seq"] + rng.randint(1, 3)})
    return True


# --- different ------------------------------------------------------------------------------------------------


@breaks("different_event")
def another_text_at_a_client(world: World, rng: Random) -> bool:
    candidates = places(world, "event")
    if not candidates:
        return False
    lines, index = rng.choice(candidates)
    body = {**lines[index]["event"], "text": "something else"}
    lines[index] = {**lines[index], "event": body}
    return True


@breaks("different_event")
def another_field_at_a_client(world: World, rng: Random) -> bool:
    candidates = places(world, "event")
    if not candidates:
        return False
    lines, index = rng.choice(candidates)
    line = lines[index]
    change = rng.choice(
        [
            {"id": world.new_id()},
            {"id": line["id"].upper()},
            {"sender": "usr_" + "0" * 32},
            {"at": line["at"] + 1},
            {"event": {**line["event"], "added": 1}},
        ]
    )
    if change.get("id") == line["id"]:
        return False
    lines[index] = {**line, **change}
    return True


@breaks("different_event", "not_in_log")
def another_number_at_a_client(world: World, rng: Random) -> bool:
    candidates = places(world, "event")
    if not candidates:
        return False
    lines, index = rng.choice(candidates)
    lines[index] = {**lines[index], "seq": lines[index]["seq"] + rng.choice((1, 2, 5, 10**12))}
    return True


@breaks("different_event", "not_in_database", "acked_not_in_database")
def the_database_differs(world: World, rng: Random) -> bool:
    index = rng.randrange(len(world.rows))
    row = world.rows[index]
    world.rows[index] = rng.choice(
        [
            row._replace(sender="usr_" + "0" * 32),
            row._replace(id=world.new_id()),
            row._replace(at=row.at - 1),
            row._replace(body=b'{"type":"message.posted","text":"else"}'),
            row._replace(body=None),
            row._replace(body=(row.body or b"")[:-1]),
            row._replace(epoch=2),
        ]
    )
    return True


@breaks("different_event")
def the_database_swaps_two(world: World, rng: Random) -> bool:
    channel = rng.choice(world.channels)
    mine = [index for index, row in enumerate(world.rows) if row.channel == channel]
    if len(mine) < 2:
        return False
    a, b = rng.sample(mine, 2)
    first, other = world.rows[a], world.rows[b]
    world.rows[a], world.rows[b] = first._replace(seq=other.seq), other._replace(seq=first.seq)
    return True


@breaks("different_event")
def history_differs(world: World, rng: Random) -> bool:
    place = reader(world, rng)
    if place is None:
        return False
    events, index = world.history[place[0]], place[1]
    event = events[index]
    events[index] = rng.choice(
        [
            event._replace(sender="usr_" + "0" * 32),
            event._replace(id=world.new_id()),
            event._replace(at=event.at + 1),
            event._replace(body=b'{"type":"message.posted","text":"else"}'),
        ]
    )
    return True


@breaks("different_event", "not_in_log", "acked_not_in_log")
def the_log_swaps_two(world: World, rng: Random) -> bool:
    channel = rng.choice(world.channels)
    head = len(world.events[channel])
    if head < 2:
        return False
    a, b = rng.sample(range(1, head + 1), 2)
    (partition, first), (_, other) = copies(world, channel, a)[0], copies(world, channel, b)[0]
    records = world.log[partition]
    records[first], records[other] = records[other], records[first]
    return True


@breaks("ack_differs", "acked_nowhere")
def acknowledged_as_another(world: World, rng: Random) -> bool:
    candidates = places(world, "ack")
    if not candidates:
        return False
    lines, index = rng.choice(candidates)
    head = len(world.events[lines[index]["channel"]])
    others = [seq for seq in range(1, head + 3) if seq != lines[index]["seq"]]
    lines[index] = {**lines[index], "seq": rng.choice(others)}
    return True


@breaks("ack_differs")
def acknowledged_at_another_time(world: World, rng: Random) -> bool:
    candidates = places(world, "ack", duplicate=False)
    if not candidates:
        return False
    lines, index = rng.choice(candidates)
    lines[index] = {**lines[index], "at": lines[index]["at"] + 1}
    return True


# --- forged ---------------------------------------------------------------------------------------------------


@breaks("ack_unsent")
def acknowledged_what_was_not_sent(world: World, rng: Random) -> bool:
    candidates = places(world, "ack")
    if not candidates:
        return False
    lines, index = rng.choice(candidates)
    lines[index] = {**lines[index], "id": world.new_id()}
    return True


@breaks("never_sent")
def said_in_the_name_of_another(world: World, rng: Random) -> bool:
    """The sender's own recording knows nothing of a message that everybody has."""
    candidates = places(world, "ack")
    if not candidates:
        return False
    lines, index = rng.choice(candidates)
    id = lines[index]["id"]
    lines[:] = [line for line in lines if line.get("id") != id or line["kind"] == "event"]
    return True


@breaks("text_differs")
def not_what_was_sent(world: World, rng: Random) -> bool:
    numbered = {row.id for row in world.rows}
    candidates = [(ls, i) for ls, i in places(world, "sent") if ls[i]["id"] in numbered]
    if not candidates:
        return False
    lines, index = rng.choice(candidates)
    id = lines[index]["id"]
    for at, line in enumerate(lines):
        if line["kind"] == "sent" and line["id"] == id:
            lines[at] = {**line, "text": line["text"] + "."}
    return True


@breaks("absent_numbered")
def taken_for_absent(world: World, rng: Random) -> bool:
    candidates = places(world, "ack")
    if not candidates:
        return False
    lines, index = rng.choice(candidates)
    line = lines[index]
    lines.insert(index + 1, {**line, "kind": "rebirth", "old_id": line["id"], "new_id": world.new_id()})
    return True


# --- out of order ---------------------------------------------------------------------------------------------


@breaks("out_of_order")
def shown_in_another_order(world: World, rng: Random) -> bool:
    pairs = []
    for lines, index in places(world, "event"):
        if lines[index]["via"] == "history":
            continue
        for at in range(index + 1, len(lines)):
            other = lines[at]
            if other["kind"] not in ("event", "ack", "sent", "refused"):
                break
            same = other["kind"] == "event" and other["via"] == lines[index]["via"]
            if same and other["channel"] == lines[index]["channel"]:
                pairs.append((lines, index, at))
                break
    if not pairs:
        return False
    lines, a, b = rng.choice(pairs)
    lines[a], lines[b] = lines[b], lines[a]
    return True


@breaks("sender_order", "ack_order")
def sent_in_another_order(world: World, rng: Random) -> bool:
    """Two first attempts of one client in one channel, the other way round."""
    numbered = {row.id for row in world.rows}
    pairs = []
    for lines in world.recordings.values():
        refused = {line["id"] for line in lines if line["kind"] == "refused"}
        rest = {line["id"] for line in lines if line["kind"] == "ack" and line["via"] == "rest"}
        firsts: dict[str, list[int]] = {}
        seen = set()
        for index, line in enumerate(lines):
            if line["kind"] == "sent" and line["id"] not in seen:
                seen.add(line["id"])
                if line["id"] in numbered - refused - rest:
                    firsts.setdefault(line["channel"], []).append(index)
        for indexes in firsts.values():
            pairs += [(lines, a, b) for a, b in pairwise(indexes)]
    if not pairs:
        return False
    lines, a, b = rng.choice(pairs)
    one, other = lines[a]["id"], lines[b]["id"]
    texts = {lines[a]["id"]: lines[a]["text"], lines[b]["id"]: lines[b]["text"]}
    for index, line in enumerate(lines):
        if line["kind"] == "sent" and line["id"] in (one, other):
            id = other if line["id"] == one else one
            lines[index] = {**line, "id": id, "text": texts[id]}
    return True


@breaks("after_closed")
def shown_after_closed(world: World, rng: Random) -> bool:
    candidates = [
        (lines, index)
        for lines, index in places(world, "closed")
        if lines[index]["last_seq"] < len(world.events[lines[index]["channel"]])
    ]
    if not candidates:
        return False
    lines, index = rng.choice(candidates)
    line = lines[index]
    stored = world.events[line["channel"]][line["last_seq"]]
    event = {
        **line, "kind": "event", "epoch": 1, "seq": stored.seq, "id": stored.id, "sender": stored.sender,
        "at": stored.at, "event": json.loads(stored.body), "via": "live",
    }  # fmt: skip
    lines.insert(index + 1, event)
    return True


@breaks("after_removal")
def shown_the_own_removal(world: World, rng: Random) -> bool:
    if not shown_after_closed(world, rng):
        return False
    for lines, index in places(world, "closed"):
        following = lines[index + 1 : index + 2]
        if (
            following
            and following[0]["kind"] == "event"
            and following[0].get("channel") == lines[index]["channel"]
        ):
            body = following[0]["event"]
            if body["type"] == "members.removed" and lines[index]["user"] in body["user_ids"]:
                lines[index] = {**lines[index], "last_seq": following[0]["seq"]}
                lines[index], lines[index + 1] = lines[index + 1], lines[index]
                return True
    return False


@breaks("not_open", "after_closed", "shown_twice")
def shown_without_being_open(world: World, rng: Random) -> bool:
    lines = rng.choice(list(world.recordings.values()))
    opened = {
        channel
        for line in lines
        if line["kind"] == "connected"
        for channel in (*line["heads"], *line["resumed"])
    }
    opened |= {line["channel"] for line in lines if line["kind"] == "opened"}
    closed = [channel for channel in world.channels if channel not in opened]
    if not closed:
        return False
    channel = rng.choice(closed)
    stored = rng.choice(world.events[channel])
    event = {
        **lines[-1], "kind": "event", "channel": channel, "epoch": 1, "seq": stored.seq, "id": stored.id,
        "sender": stored.sender, "at": stored.at, "event": json.loads(stored.body), "via": "live",
    }  # fmt: skip
    lines.insert(len(lines) - 1, event)
    return True


@breaks("gap_lies")
def gap_with_another_beginning(world: World, rng: Random) -> bool:
    candidates = []
    for lines, index in places(world, "gap"):
        channel, first = lines[index]["channel"], lines[index]["from"]
        candidates.append((lines, index, first + 1))
        before = [line for line in lines[:index] if line["kind"] == "event" and line["channel"] == channel]
        if any(line["seq"] == first - 1 and line["via"] != "history" for line in before):
            candidates.append((lines, index, first - 1))
    if not candidates:
        return False
    lines, index, other = rng.choice(candidates)
    lines[index] = {**lines[index], "from": other}
    return True


@breaks("gap_lies")
def gap_that_goes_too_far(world: World, rng: Random) -> bool:
    candidates = [
        (lines, index)
        for lines, index in places(world, "gap")
        if any(
            lines[at]["via"] == "live" and lines[at]["seq"] == lines[index]["to"] + 1
            for at in later(lines, index, "event", lines[index]["channel"])
        )
        and not any(line["kind"] == "connected" for line in lines[index + 1 :])
    ]
    if not candidates:
        return False
    lines, index = rng.choice(candidates)
    lines[index] = {**lines[index], "to": lines[index]["to"] + 1}
    return True


@breaks("hole", "out_of_order", "acked_not_shown", "not_shown", "opened_lies")
def opened_at_another_head(world: World, rng: Random) -> bool:
    candidates = []
    for lines, index in places(world, "opened"):
        channel = lines[index]["channel"]
        following = [
            line for line in lines[index + 1 :] if line.get("channel") == channel and line["kind"] != "sent"
        ]
        if following and following[0]["kind"] == "event" and following[0]["via"] == "live":
            candidates.append((lines, index))
    if not candidates:
        return False
    lines, index = rng.choice(candidates)
    lines[index] = {**lines[index], "head": lines[index]["head"] + rng.choice((-1, 1))}
    return True


@breaks("opened_lies")
def opened_while_open(world: World, rng: Random) -> bool:
    candidates = shown(world)
    if not candidates:
        return False
    lines, index = rng.choice(candidates)
    line = lines[index]
    head = line["seq"] + rng.choice((-1, 1, 2))
    lines.insert(index + 1, {**line, "kind": "opened", "head": head})
    return True


@breaks("opened_lies")
def opened_beyond_the_end(world: World, rng: Random) -> bool:
    lines = rng.choice(list(world.recordings.values()))
    closed = [channel for channel in world.channels if lines[0]["user"] not in world.members[channel]]
    if not closed:
        return False
    channel = rng.choice(closed)
    head = len(world.events[channel]) + 1
    lines.append({**lines[-1], "kind": "opened", "epoch": 1, "channel": channel, "head": head})
    return True


@breaks("closed_lies")
def closed_too_late(world: World, rng: Random) -> bool:
    candidates = places(world, "closed")
    if not candidates:
        return False
    lines, index = rng.choice(candidates)
    lines[index] = {**lines[index], "last_seq": lines[index]["last_seq"] + rng.randint(1, 3)}
    return True


@breaks("wrong_epoch")
def another_epoch(world: World, rng: Random) -> bool:
    candidates = shown(world)
    if not candidates:
        return False
    lines, index = rng.choice(candidates)
    lines[index] = {**lines[index], "epoch": 2}
    return True


@breaks("bad_number")
def number_zero(world: World, rng: Random) -> bool:
    candidates = shown(world)
    if not candidates:
        return False
    lines, index = rng.choice(candidates)
    lines[index] = {**lines[index], "seq": rng.choice((0, -1))}
    return True


@breaks("hole")
def hole_in_the_database_alone(world: World, rng: Random) -> bool:
    """Nothing else to compare with: the numbers alone must tell."""
    world.recordings, world.log, world.history = {}, [[], []], {}
    candidates = [i for i, row in enumerate(world.rows) if row.seq < len(world.events[row.channel])]
    if not candidates:
        return False
    del world.rows[rng.choice(candidates)]
    return True
