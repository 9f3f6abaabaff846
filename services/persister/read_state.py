"""What a batch does to read markers and to the following of threads: the pure part, and its SQL.

Three kinds of facts, each with an order of its own, so that partitions may be stored in any order and markers come out
the same: the greatest number at which a person joined or posted, the last marker they put themselves (the stream of
notices orders those), and the last thing they said about following a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import asyncpg

from services.contract.events import Event, MembersAdded, MessagePosted
from services.contract.notices import Notice, ReadMoved, ThreadFollowed, ThreadRead
from services.projection import Numbered

_NOT_MOVED: Final = -1
"""In place of the head at which a marker was put: it was not."""


class Put(NamedTuple):
    """Where a person put a marker, and the channel's head by then; without that head they have only read on so far."""

    seq: int
    head: int

    def then(self, seq: int, head: int, forward: bool) -> Put:
        """The two together, as one."""
        return Put(max(self.seq, seq), self.head) if forward else Put(seq, head)


_NOWHERE: Final = Put(0, _NOT_MOVED)


Reader = tuple[str, str]
"""User and channel."""

Follower = tuple[str, str, int]
"""User, channel and root."""


@dataclass(slots=True)
class ReadState:
    """What a batch adds.

    own, moved                  of channels: the greatest number of the person's own, the last marker put
    replied, thread_moved       likewise of threads
    chosen                      what people said last about following
    roots                       threads that were replied to: who wrote the root follows
    mentioned                   who is addressed in a thread: they have all of it to read still
    """

    own: dict[Reader, int] = field(default_factory=dict)
    moved: dict[Reader, Put] = field(default_factory=dict)
    replied: dict[Follower, int] = field(default_factory=dict)
    thread_moved: dict[Follower, Put] = field(default_factory=dict)
    chosen: dict[Follower, bool] = field(default_factory=dict)
    roots: set[tuple[str, int]] = field(default_factory=set)
    mentioned: set[Follower] = field(default_factory=set)


def read_state(
    typed: Iterable[tuple[Numbered, Event]],
    notices: Iterable[tuple[str, Notice]],
    called: Iterable[Follower] = (),
) -> ReadState:
    """`notices`: who sent them, and what. `called`: whom replies address."""
    state = ReadState()
    for at, event in typed:
        if isinstance(event, MembersAdded):
            for user in event.user_ids:
                state.own[user, at.channel] = at.seq
        elif isinstance(event, MessagePosted):
            if event.thread is not None:
                state.replied[at.sender, at.channel, event.thread] = at.seq
                state.roots.add((at.channel, event.thread))
            if event.thread is None or event.also_to_channel:
                state.own[at.sender, at.channel] = at.seq
    for person, notice in notices:
        match notice:
            case ReadMoved(channel=channel, seq=seq, head=head, forward=forward):
                reader = person, channel
                state.moved[reader] = state.moved.get(reader, _NOWHERE).then(seq, head, forward)
            case ThreadRead(channel=channel, root=root, seq=seq, head=head, forward=forward):
                follower = person, channel, root
                state.thread_moved[follower] = state.thread_moved.get(follower, _NOWHERE).then(
                    seq, head, forward
                )
            case ThreadFollowed(channel=channel, root=root, following=following):
                state.chosen[person, channel, root] = following
    state.mentioned.update(called)
    return state


_MARK: Final = """
insert into read_markers (user_id, channel_id, own, moved, head)
select * from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
on conflict (user_id, channel_id) do update set
    own = greatest(read_markers.own, excluded.own),
    moved = case when excluded.head < 0 then greatest(read_markers.moved, excluded.moved) else excluded.moved end,
    head = case when excluded.head < 0 then read_markers.head else excluded.head end
"""

# Repliers, mentioned people and authors follow what is a thread, not a number: its root has to be there. It stands in
# the same partition, so it is stored by now.
_FOLLOW: Final = """
insert into thread_follows (user_id, channel_id, root, auto, own, head)
select n.user_id, n.channel_id, n.root, true, n.own, -1
from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) as n(user_id, channel_id, root, own)
join messages m on m.channel_id = n.channel_id and m.seq = n.root and m.thread is null
on conflict (user_id, channel_id, root) do update
    set auto = true, own = greatest(thread_follows.own, excluded.own)
"""

_FOLLOW_AS_AUTHOR: Final = """
insert into thread_follows (user_id, channel_id, root, auto, own, head)
select m.sender_id, m.channel_id, m.seq, true, m.seq, -1
from unnest($1::text[], $2::bigint[]) as n(channel_id, root)
join messages m on m.channel_id = n.channel_id and m.seq = n.root and m.thread is null
on conflict (user_id, channel_id, root) do update
    set auto = true, own = greatest(thread_follows.own, excluded.own)
"""

# What people say themselves comes through another partition: the thread may not be stored yet.
_READ_THREAD: Final = """
insert into thread_follows (user_id, channel_id, root, moved, head)
select * from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
on conflict (user_id, channel_id, root) do update set
    moved = case when excluded.head < 0 then greatest(thread_follows.moved, excluded.moved) else excluded.moved end,
    head = case when excluded.head < 0 then thread_follows.head else excluded.head end
"""

_CHOOSE: Final = """
insert into thread_follows (user_id, channel_id, root, chosen, head)
select n.user_id, n.channel_id, n.root, n.chosen, -1
from unnest($1::text[], $2::text[], $3::bigint[], $4::boolean[]) as n(user_id, channel_id, root, chosen)
on conflict (user_id, channel_id, root) do update set chosen = excluded.chosen
"""


async def write_read_state(connection: asyncpg.Connection, state: ReadState) -> None:
    """In the transaction of the batch, after its messages; at most one statement for each kind of fact."""
    if keys := sorted(state.own.keys() | state.moved.keys()):
        rows = [(*key, state.own.get(key, 0), *state.moved.get(key, _NOWHERE)) for key in keys]
        await connection.execute(_MARK, *_columns(rows))
    if state.roots:
        await connection.execute(_FOLLOW_AS_AUTHOR, *_columns(sorted(state.roots)))
    if followers := sorted(state.replied.keys() | state.mentioned):
        rows_of = [(*key, state.replied.get(key, 0)) for key in followers]
        await connection.execute(_FOLLOW, *_columns(rows_of))
    if state.thread_moved:
        put = [(*key, *place) for key, place in sorted(state.thread_moved.items())]
        await connection.execute(_READ_THREAD, *_columns(put))
    if state.chosen:
        await connection.execute(
            _CHOOSE, *_columns([(*key, chosen) for key, chosen in sorted(state.chosen.items())])
        )


def _columns(rows: Sequence[tuple[object, ...]]) -> tuple[list[object], ...]:
    return tuple(list(column) for column in zip(*rows, strict=True))
