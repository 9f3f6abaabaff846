"""Telling people that a message mentions them: notices, put into the outbox by the transaction that stores the message.

So each is sent once, however often the persister is killed. Only members are told: who is not in a channel learns
nothing of what is said there.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import asyncpg

from services.contract.ids import uuid7
from services.contract.notices import MAX_ADDRESSED, MentionMade, encode_notice, notices_channel
from services.database.wake import NOTIFY_CHANNEL
from services.persister.fold import Projection

_MEMBERS: Final = """
select c.workspace_id, wanted.channel_id, wanted.seq, wanted.user_id
from unnest($1::text[], $2::text[], $3::bigint[]) as wanted(user_id, channel_id, seq)
join memberships m on m.channel_id = wanted.channel_id and m.user_id = wanted.user_id and m.member
join channels c on c.id = wanted.channel_id
"""

_ENQUEUE: Final = """
insert into outbox (topic, event_id, channel_id, sender_id, body)
select 'events', * from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[])
"""

_WAKE: Final = f"select pg_notify('{NOTIFY_CHANNEL}', '')"


async def tell_mentioned(connection: asyncpg.Connection, projection: Projection) -> None:
    """One notice for each message that addresses somebody anew; no statement when none does."""
    if not projection.addressed:
        return
    users, channels, seqs = (list(column) for column in zip(*projection.addressed, strict=True))
    told: defaultdict[tuple[str, str, int], list[str]] = defaultdict(list)
    for workspace, channel, seq, user in await connection.fetch(_MEMBERS, users, channels, seqs):
        told[workspace, channel, seq].append(user)
    if not told:
        return
    rows = [
        (
            uuid7(),
            notices_channel(workspace),
            projection.changed[channel, seq].sender,
            encode_notice(MentionMade(channel=channel, seq=seq, user_ids=sorted(people)[:MAX_ADDRESSED])),
        )
        for (workspace, channel, seq), people in sorted(told.items())
    ]
    await connection.execute(_ENQUEUE, *(list(column) for column in zip(*rows, strict=True)))
    await connection.execute(_WAKE)
