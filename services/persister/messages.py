"""The states of messages in PostgreSQL: read those that a batch changes, write whole rows, redact what was deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

import asyncpg
import msgspec

from services.persister.copying import copy_rows
from services.persister.fold import Key, Projection, storable
from services.projection import Message, Reaction, Thread

_READ: Final = """
select m.channel_id, m.seq, m.event_id::text, m.sender_id, m.at_ms, m.text, m.thread, m.also_to_channel,
    m.edits, m.edited_at_ms, m.deleted, m.pinned_by, m.pinned_at_ms, m.reactions::text,
    m.replies, m.last_reply, m.last_reply_at_ms, m.participants, m.mentions, m.mentions_channel
from unnest($1::text[], $2::bigint[]) as wanted(channel_id, seq) join messages m using (channel_id, seq)
"""

_COLUMNS: Final = (
    ("channel_id", "text"),
    ("seq", "bigint"),
    ("event_id", "uuid"),
    ("sender_id", "text"),
    ("at_ms", "bigint"),
    ("text", "text"),
    ("thread", "bigint"),
    ("also_to_channel", "boolean"),
    ("mentions_channel", "boolean"),
    ("edits", "bigint"),
    ("edited_at_ms", "bigint"),
    ("deleted", "boolean"),
    ("pinned_by", "text"),
    ("pinned_at_ms", "bigint"),
    ("reactions", "jsonb"),
    ("replies", "bigint"),
    ("last_reply", "bigint"),
    ("last_reply_at_ms", "bigint"),
    ("participants", "text[]"),
    ("mentions", "text[]"),
)
_NAMES: Final = [name for name, _ in _COLUMNS]
_FIXED: Final = 5
"""The first columns never change."""

_DEFAULTS: Final = (0, None, False, None, None, "[]", 0, None, None, (), ())
"""The last columns of a message that mentions nobody and that nobody has done anything to: what the table puts there."""

_AS_TEXT: Final = frozenset({"jsonb", "text[]"})
"""Travel as text: an array of arrays would be flattened by `unnest`."""

_CHANGE: Final = """
update messages as m set {changes} from unnest({parameters}) as new({names})
where m.channel_id = new.channel_id and m.seq = new.seq
""".format(
    names=", ".join(_NAMES),
    changes=", ".join(
        f"{name} = new.{name}::{kind}" if kind in _AS_TEXT else f"{name} = new.{name}"
        for name, kind in _COLUMNS[_FIXED:]
    ),
    parameters=", ".join(
        f"${place}::{'text' if kind in _AS_TEXT else kind}[]" for place, (_, kind) in enumerate(_COLUMNS, 1)
    ),
)

_REDACT: Final = """
update events as e set kind = 'message.redacted', body = gone.body, mentions = '{}'
from unnest($1::text[], $2::bigint[], $3::bytea[]) as gone(channel_id, seq, body)
where e.channel_id = gone.channel_id and e.seq = gone.seq and e.kind = 'message.posted'
"""

_REDACT_EDITS: Final = """
update events as e set kind = 'message.redacted', mentions = '{}', body = convert_to(
    '{"type":"message.redacted","was":"message.edited","target":' || e.target || '}', 'UTF8')
from unnest($1::text[], $2::bigint[]) as gone(channel_id, target)
where e.channel_id = gone.channel_id and e.target = gone.target and e.kind = 'message.edited'
"""

_UNADDRESS: Final = """
delete from message_mentions as m using unnest($1::text[], $2::text[], $3::bigint[]) as old(user_id, channel_id, seq)
where m.user_id = old.user_id and m.channel_id = old.channel_id and m.seq = old.seq
"""

_ADDRESS: Final = """
insert into message_mentions (user_id, channel_id, seq) select * from unnest($1::text[], $2::text[], $3::bigint[])
on conflict do nothing
"""

_reactions = msgspec.json.Decoder(tuple[tuple[str, tuple[str, ...]], ...])


async def read_messages(connection: asyncpg.Connection, keys: Collection[Key]) -> dict[Key, Message]:
    """The states that are stored of these; one statement, none for no keys."""
    if not keys:
        return {}
    channels, seqs = _columns(keys)
    return {(row[0], row[1]): _message(row) for row in await connection.fetch(_READ, channels, seqs)}


async def write_messages(
    connection: asyncpg.Connection, projection: Projection, stored: Collection[Key]
) -> None:
    """Whole rows, who is addressed, and in the same transaction the redaction of the raw events stored so far.

    `stored`: the messages that are there before the batch, of those that it changes. Raises asyncpg.UniqueViolationError
    when another is there as well.
    """
    new = [_row(message) for key, message in projection.changed.items() if key not in stored]
    await copy_rows(connection, "messages", new, _NAMES, _DEFAULTS)
    changed = [_literals(_row(projection.changed[key])) for key in stored if key in projection.changed]
    if changed:
        await connection.execute(_CHANGE, *_columns(changed))
    if projection.unaddressed:
        await connection.execute(_UNADDRESS, *_columns(projection.unaddressed))
    if projection.addressed:
        await connection.execute(_ADDRESS, *_columns(projection.addressed))
    if projection.redacted:
        rows_of = [(*key, body) for key, body in projection.redacted.items()]
        await connection.execute(_REDACT, *_columns(rows_of))
    if projection.gone:
        await connection.execute(_REDACT_EDITS, *_columns(projection.gone))


def _columns(rows: Iterable[tuple[object, ...]]) -> tuple[list[object], ...]:
    return tuple(list(column) for column in zip(*rows, strict=True))


def _row(message: Message) -> tuple[object, ...]:
    summary = message.summary
    return (
        *message[:5],
        storable(message.text),
        message.thread,
        message.also_to_channel,
        message.mentions_channel,
        message.edits,
        message.edited_at,
        message.deleted,
        message.pinned_by,
        message.pinned_at,
        msgspec.json.encode(message.reactions).decode() if message.reactions else "[]",
        summary.replies,
        summary.last_reply,
        summary.last_reply_at,
        summary.participants,
        message.mentions,
    )


def _literals(row: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(_array(value) if isinstance(value, tuple) else value for value in row)


def _array(ids: tuple[str, ...]) -> str:
    """The literal of an array of ids, which hold nothing that it would have to quote."""
    return "{" + ",".join(ids) + "}"


def _message(row: asyncpg.Record) -> Message:
    reactions = tuple(Reaction(emoji, users) for emoji, users in _reactions.decode(row["reactions"]))
    summary = Thread(row["replies"], row["last_reply"], row["last_reply_at_ms"], tuple(row["participants"]))
    return Message(
        row["channel_id"],
        row["seq"],
        row["event_id"],
        row["sender_id"],
        row["at_ms"],
        text=row["text"],
        thread=row["thread"],
        also_to_channel=row["also_to_channel"],
        edits=row["edits"],
        edited_at=row["edited_at_ms"],
        deleted=row["deleted"],
        pinned_by=row["pinned_by"],
        pinned_at=row["pinned_at_ms"],
        reactions=reactions,
        summary=summary,
        mentions=tuple(row["mentions"]),
        mentions_channel=row["mentions_channel"],
    )
