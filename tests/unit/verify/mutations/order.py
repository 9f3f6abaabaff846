"""Something is forged, or comes at the wrong moment."""

from __future__ import annotations

import json
from itertools import pairwise
from random import Random

from tests.unit.verify.mutations.registry import NoPlace, breaks, choose, later, places, shown
from tests.unit.verify.world import World

# --- forged ---------------------------------------------------------------------------------------------------


@breaks("ack_unsent")
def acknowledged_what_was_not_sent(world: World, rng: Random) -> None:
    lines, index = choose(rng, places(world, "ack"))
    lines[index] = {**lines[index], "id": world.new_id()}


@breaks("never_sent")
def said_in_the_name_of_another(world: World, rng: Random) -> None:
    """The sender's own recording knows nothing of a message that everybody has."""
    lines, index = choose(rng, places(world, "ack"))
    id = lines[index]["id"]
    lines[:] = [line for line in lines if line.get("id") != id or line["kind"] == "event"]


@breaks("text_differs")
def not_what_was_sent(world: World, rng: Random) -> None:
    numbered = {row.id for row in world.rows}
    lines, index = choose(rng, [(ls, i) for ls, i in places(world, "sent") if ls[i]["id"] in numbered])
    id = lines[index]["id"]
    for at, line in enumerate(lines):
        if line["kind"] == "sent" and line["id"] == id:
            lines[at] = {**line, "text": line["text"] + "."}


@breaks("absent_numbered")
def taken_for_absent(world: World, rng: Random) -> None:
    lines, index = choose(rng, places(world, "ack"))
    line = lines[index]
    lines.insert(index + 1, {**line, "kind": "rebirth", "old_id": line["id"], "new_id": world.new_id()})


# --- out of order ---------------------------------------------------------------------------------------------


@breaks("out_of_order")
def shown_in_another_order(world: World, rng: Random) -> None:
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
    lines, a, b = choose(rng, pairs)
    lines[a], lines[b] = lines[b], lines[a]


@breaks("sender_order", "ack_order")
def sent_in_another_order(world: World, rng: Random) -> None:
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
    lines, a, b = choose(rng, pairs)
    one, other = lines[a]["id"], lines[b]["id"]
    texts = {lines[a]["id"]: lines[a]["text"], lines[b]["id"]: lines[b]["text"]}
    for index, line in enumerate(lines):
        if line["kind"] == "sent" and line["id"] in (one, other):
            id = other if line["id"] == one else one
            lines[index] = {**line, "id": id, "text": texts[id]}


@breaks("after_closed")
def shown_after_closed(world: World, rng: Random) -> None:
    candidates = [
        (lines, index)
        for lines, index in places(world, "closed")
        if lines[index]["last_seq"] < len(world.events[lines[index]["channel"]])
    ]
    lines, index = choose(rng, candidates)
    line = lines[index]
    stored = world.events[line["channel"]][line["last_seq"]]
    event = {
        **line, "kind": "event", "epoch": 1, "seq": stored.seq, "id": stored.id, "sender": stored.sender,
        "at": stored.at, "event": json.loads(stored.body), "via": "live",
    }  # fmt: skip
    lines.insert(index + 1, event)


def _added_again(world: World, channel: str, seq: int, user: str) -> bool:
    later = (json.loads(stored.body) for stored in world.events[channel][seq:])
    return any(body["type"] == "members.added" and user in body["user_ids"] for body in later)


@breaks("after_removal")
def shown_the_own_removal(world: World, rng: Random) -> None:
    shown_after_closed(world, rng)
    for lines, index in places(world, "closed"):
        following = lines[index + 1 : index + 2]
        if (
            following
            and following[0]["kind"] == "event"
            and following[0].get("channel") == lines[index]["channel"]
        ):
            body = following[0]["event"]
            user = lines[index]["user"]
            if (
                body["type"] == "members.removed"
                and user in body["user_ids"]
                and not _added_again(world, following[0]["channel"], following[0]["seq"], user)
            ):
                lines[index] = {**lines[index], "last_seq": following[0]["seq"]}
                lines[index], lines[index + 1] = lines[index + 1], lines[index]
                return
    raise NoPlace


@breaks("not_open", "after_closed", "shown_twice")
def shown_without_being_open(world: World, rng: Random) -> None:
    lines = rng.choice(list(world.recordings.values()))
    opened = {
        channel
        for line in lines
        if line["kind"] == "connected"
        for channel in (*line["heads"], *line["resumed"])
    }
    opened |= {line["channel"] for line in lines if line["kind"] == "opened"}
    closed = [channel for channel in world.channels if channel not in opened]
    channel = choose(rng, closed)
    stored = rng.choice(world.events[channel])
    event = {
        **lines[-1], "kind": "event", "channel": channel, "epoch": 1, "seq": stored.seq, "id": stored.id,
        "sender": stored.sender, "at": stored.at, "event": json.loads(stored.body), "via": "live",
    }  # fmt: skip
    lines.insert(len(lines) - 1, event)


@breaks("gap_lies")
def gap_with_another_beginning(world: World, rng: Random) -> None:
    candidates = []
    for lines, index in places(world, "gap"):
        channel, first = lines[index]["channel"], lines[index]["from"]
        candidates.append((lines, index, first + 1))
        before = [line for line in lines[:index] if line["kind"] == "event" and line["channel"] == channel]
        if any(line["seq"] == first - 1 and line["via"] != "history" for line in before):
            candidates.append((lines, index, first - 1))
    lines, index, other = choose(rng, candidates)
    lines[index] = {**lines[index], "from": other}


@breaks("gap_lies")
def gap_that_goes_too_far(world: World, rng: Random) -> None:
    candidates = [
        (lines, index)
        for lines, index in places(world, "gap")
        if any(
            lines[at]["via"] == "live" and lines[at]["seq"] == lines[index]["to"] + 1
            for at in later(lines, index, "event", lines[index]["channel"])
        )
        and not any(line["kind"] == "connected" for line in lines[index + 1 :])
    ]
    lines, index = choose(rng, candidates)
    lines[index] = {**lines[index], "to": lines[index]["to"] + 1}


@breaks("hole", "out_of_order", "acked_not_shown", "not_shown", "opened_lies")
def opened_at_another_head(world: World, rng: Random) -> None:
    candidates = []
    for lines, index in places(world, "opened"):
        channel = lines[index]["channel"]
        following = [
            line for line in lines[index + 1 :] if line.get("channel") == channel and line["kind"] != "sent"
        ]
        if following and following[0]["kind"] == "event" and following[0]["via"] == "live":
            candidates.append((lines, index))
    lines, index = choose(rng, candidates)
    lines[index] = {**lines[index], "head": lines[index]["head"] + rng.choice((-1, 1))}


@breaks("opened_lies")
def opened_while_open(world: World, rng: Random) -> None:
    lines, index = choose(rng, shown(world))
    line = lines[index]
    head = line["seq"] + rng.choice((-1, 1, 2))
    lines.insert(index + 1, {**line, "kind": "opened", "head": head})


@breaks("opened_lies")
def opened_beyond_the_end(world: World, rng: Random) -> None:
    lines = rng.choice(list(world.recordings.values()))
    closed = [channel for channel in world.channels if lines[0]["user"] not in world.members[channel]]
    channel = choose(rng, closed)
    head = len(world.events[channel]) + 1
    lines.append({**lines[-1], "kind": "opened", "epoch": 1, "channel": channel, "head": head})


@breaks("closed_lies")
def closed_too_late(world: World, rng: Random) -> None:
    lines, index = choose(rng, places(world, "closed"))
    lines[index] = {**lines[index], "last_seq": lines[index]["last_seq"] + rng.randint(1, 3)}


@breaks("wrong_epoch")
def another_epoch(world: World, rng: Random) -> None:
    lines, index = choose(rng, shown(world))
    lines[index] = {**lines[index], "epoch": 2}


@breaks("bad_number")
def number_zero(world: World, rng: Random) -> None:
    lines, index = choose(rng, shown(world))
    lines[index] = {**lines[index], "seq": rng.choice((0, -1))}


@breaks("hole")
def hole_in_the_database_alone(world: World, rng: Random) -> None:
    """Nothing else to compare with: the numbers alone must tell."""
    world.recordings, world.log, world.history = {}, [[], []], {}
    candidates = [i for i, row in enumerate(world.rows) if row.seq < len(world.events[row.channel])]
    del world.rows[choose(rng, candidates)]
