"""Something is lost, there twice, or not what it was."""

from __future__ import annotations

import json
from random import Random

from tests.unit.verify.mutations.registry import (
    NoPlace,
    breaks,
    choose,
    copies,
    later,
    pick,
    places,
    reader,
    shown,
)
from tests.unit.verify.world import World
from verify.judge import HistoryEvent, StoredRow

# --- lost -----------------------------------------------------------------------------------------------------


@breaks("acked_not_in_database", "not_in_database")
def missing_in_database(world: World, rng: Random) -> None:
    del world.rows[rng.randrange(len(world.rows))]


@breaks("acked_not_in_history", "not_in_history")
def missing_in_history(world: World, rng: Random) -> None:
    user, index = reader(world, rng)
    del world.history[user][index]


@breaks("acked_not_in_log", "not_in_log", "different_event")
def missing_in_log(world: World, rng: Random) -> None:
    for partition, offset in reversed(copies(world, *pick(world, rng))):
        del world.log[partition][offset]


@breaks("acked_not_in_log", "not_in_log", "different_event")
def moved_to_a_wrong_partition(world: World, rng: Random) -> None:
    for partition, offset in reversed(copies(world, *pick(world, rng))):
        world.log[1 - partition].append(world.log[partition].pop(offset))


@breaks("hole", "acked_not_shown", "not_shown", "closed_lies", "gap_lies")
def missing_at_a_client(world: World, rng: Random) -> None:
    lines, index = choose(rng, shown(world))
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
        raise NoPlace
    del lines[index]


@breaks("not_shown")
def the_last_one_missing_at_a_client(world: World, rng: Random) -> None:
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
        raise NoPlace
    one, other = rng.sample(candidates, 2)
    if one[0][one[1]]["channel"] != other[0][other[1]]["channel"]:
        raise NoPlace
    del one[0][one[1]]


@breaks("acked_nowhere")
def acknowledged_and_never_numbered(world: World, rng: Random) -> None:
    lines, index = choose(rng, places(world, "ack", duplicate=False))
    line, id = lines[index], world.new_id()
    head = len(world.events[line["channel"]])
    sent = {**line, "kind": "sent", "id": id, "text": "lost", "attempt": 1}
    lines[index:index] = [sent, {**line, "id": id, "seq": head + 1}]


@breaks("closed_member")
def closed_without_a_reason(world: World, rng: Random) -> None:
    lines = rng.choice(list(world.recordings.values()))
    user = lines[0]["user"]
    at = len(lines) - 1
    seen = [line for line in lines if line["kind"] == "event" and line["via"] == "live"]
    if lines[at]["kind"] != "disconnected" or not seen:
        raise NoPlace
    channel = rng.choice(seen)["channel"]
    removed = any(
        user in body.get("user_ids", ()) and body["type"] == "members.removed"
        for body in (json.loads(event.body) for event in world.events[channel])
    )
    if removed or user not in world.members[channel]:
        raise NoPlace
    last = max(line["seq"] for line in lines if line["kind"] == "event" and line["channel"] == channel)
    lines.insert(at, {**lines[at], "kind": "closed", "channel": channel, "last_seq": min(last, 1)})


# --- doubled --------------------------------------------------------------------------------------------------


@breaks("shown_twice")
def shown_again(world: World, rng: Random) -> None:
    lines, index = choose(rng, shown(world))
    lines.insert(rng.randint(index + 1, len(lines) - 1), lines[index])


@breaks("numbered_twice", "not_in_log")
def late_copy_numbered_in_the_database(world: World, rng: Random) -> None:
    row = rng.choice(world.rows)
    world.rows.append(row._replace(seq=len(world.events[row.channel]) + 1, at=row.at + 200_000))


@breaks("numbered_twice")
def late_copy_numbered_everywhere(world: World, rng: Random) -> None:
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


@breaks("not_in_log")
def expired_copy_numbered(world: World, rng: Random) -> None:
    for records in world.log:
        for record in records:
            if b'"old"' in record.body:
                _, channel, sender, id, stamped = record.header.decode().split(" ")
                seq = len(world.events[channel]) + 1
                world.rows.append(StoredRow(1, channel, seq, sender, id, int(stamped), record.body))
                return
    raise NoPlace


@breaks("stored_twice")
def number_used_twice(world: World, rng: Random) -> None:
    index = rng.randrange(len(world.rows))
    row = world.rows[index]
    others = [seq for seq in range(1, len(world.events[row.channel]) + 1) if seq != row.seq]
    if not others:
        raise NoPlace
    world.rows[index] = row._replace(seq=rng.choice(others))


@breaks("stored_twice")
def history_gives_one_twice(world: World, rng: Random) -> None:
    user, index = reader(world, rng)
    events = world.history[user]
    events.insert(index, events[index])


@breaks("numbered_twice", "ack_differs", "acked_nowhere")
def acknowledged_with_two_numbers(world: World, rng: Random) -> None:
    lines, index = choose(rng, places(world, "ack"))
    lines.insert(index + 1, {**lines[index], "seq": lines[index]["seq"] + rng.randint(1, 3)})


# --- different ------------------------------------------------------------------------------------------------


@breaks("different_event")
def another_text_at_a_client(world: World, rng: Random) -> None:
    lines, index = choose(rng, places(world, "event"))
    body = {**lines[index]["event"], "text": "something else"}
    lines[index] = {**lines[index], "event": body}


@breaks("different_event")
def another_field_at_a_client(world: World, rng: Random) -> None:
    lines, index = choose(rng, places(world, "event"))
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
        raise NoPlace
    lines[index] = {**line, **change}


@breaks("different_event", "not_in_log")
def another_number_at_a_client(world: World, rng: Random) -> None:
    lines, index = choose(rng, places(world, "event"))
    lines[index] = {**lines[index], "seq": lines[index]["seq"] + rng.choice((1, 2, 5, 10**12))}


@breaks("different_event", "not_in_database", "acked_not_in_database")
def the_database_differs(world: World, rng: Random) -> None:
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


@breaks("different_event")
def the_database_swaps_two(world: World, rng: Random) -> None:
    channel = rng.choice(world.channels)
    mine = [index for index, row in enumerate(world.rows) if row.channel == channel]
    if len(mine) < 2:
        raise NoPlace
    a, b = rng.sample(mine, 2)
    first, other = world.rows[a], world.rows[b]
    world.rows[a], world.rows[b] = first._replace(seq=other.seq), other._replace(seq=first.seq)


@breaks("different_event")
def history_differs(world: World, rng: Random) -> None:
    user, index = reader(world, rng)
    events = world.history[user]
    event = events[index]
    events[index] = rng.choice(
        [
            event._replace(sender="usr_" + "0" * 32),
            event._replace(id=world.new_id()),
            event._replace(at=event.at + 1),
            event._replace(body=b'{"type":"message.posted","text":"else"}'),
        ]
    )


@breaks("different_event", "not_in_log", "acked_not_in_log")
def the_log_swaps_two(world: World, rng: Random) -> None:
    channel = rng.choice(world.channels)
    head = len(world.events[channel])
    if head < 2:
        raise NoPlace
    a, b = rng.sample(range(1, head + 1), 2)
    (partition, first), (_, other) = copies(world, channel, a)[0], copies(world, channel, b)[0]
    records = world.log[partition]
    records[first], records[other] = records[other], records[first]


@breaks("ack_differs", "acked_nowhere")
def acknowledged_as_another(world: World, rng: Random) -> None:
    lines, index = choose(rng, places(world, "ack"))
    head = len(world.events[lines[index]["channel"]])
    others = [seq for seq in range(1, head + 3) if seq != lines[index]["seq"]]
    lines[index] = {**lines[index], "seq": rng.choice(others)}


@breaks("ack_differs")
def acknowledged_at_another_time(world: World, rng: Random) -> None:
    lines, index = choose(rng, places(world, "ack", duplicate=False))
    lines[index] = {**lines[index], "at": lines[index]["at"] + 1}


# --- redacted -------------------------------------------------------------------------------------------------


@breaks("redacted_undeleted")
def redacted_without_a_deletion(world: World, rng: Random) -> None:
    rows = [
        index
        for index, row in enumerate(world.rows)
        if (row.body or b"").startswith(b'{"type": "message.posted"')
    ]
    index = choose(rng, rows)
    world.rows[index] = world.rows[index]._replace(body=b'{"type":"message.redacted","was":"message.posted"}')


@breaks("different_event")
def redacted_as_something_else(world: World, rng: Random) -> None:
    rows = [
        index
        for index, row in enumerate(world.rows)
        if (row.body or b"").startswith(b'{"type":"message.redacted"')
    ]
    index = choose(rng, rows)
    world.rows[index] = world.rows[index]._replace(
        body=b'{"type":"message.redacted","was":"message.posted","thread":1}'
    )
