"""The audit log's entries of deleted messages of others, written by the transaction that stores the deletion.

The web app, which writes all other entries, only asks a channel server for the deletion: whether it came to pass, the
log decides, and this transaction is the first to know.
"""

from __future__ import annotations

from typing import Final

import asyncpg

from services.contract.ids import new_entity_id
from services.persister.fold import Projection

_RECORD: Final = """
insert into audit_log (id, workspace_id, actor_id, action, target, details)
select done.id, c.workspace_id, u.id, 'message.deleted', c.id,
    jsonb_build_object('seq', done.seq, 'author', done.author)
from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[]) as done(id, channel_id, seq, author, actor)
join channels c on c.id = done.channel_id
join users u on u.id = done.actor and u.workspace_id = c.workspace_id
"""


async def audit_deletions(connection: asyncpg.Connection, projection: Projection) -> None:
    """An entry for each message that somebody else than its author deleted; no statement when there is none."""
    if projection.overruled:
        rows = [(new_entity_id("aud"), *each) for each in projection.overruled]
        await connection.execute(_RECORD, *(list(column) for column in zip(*rows, strict=True)))
