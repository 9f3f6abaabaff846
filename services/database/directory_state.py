"""The entities of the directory, as PostgreSQL holds them now, in the words of contract.directory.

Read in a transaction of at least `repeatable read` when several reads are to speak of one moment.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final, NamedTuple

from sqlalchemy import ARRAY, Row, Select, Text, and_, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from services.contract.directory import (
    ChannelRecord,
    DirectoryRecord,
    GroupRecord,
    KeyRecord,
    MemberRecord,
    RevokedRecord,
    UserRecord,
    WorkspaceRecord,
)
from services.contract.tokens import MAX_LIFETIME_S
from services.database.tables import (
    Channel,
    Membership,
    Session,
    SigningKey,
    User,
    UserGroup,
    UserGroupMember,
    Workspace,
)

REVOCATION_MS: Final = (MAX_LIFETIME_S + 60) * 1000
"""How long a revocation matters: no token that names the session is valid for longer. A minute for clocks that differ."""


def _workspace(row: Row[*tuple[Any, ...]]) -> DirectoryRecord:
    return WorkspaceRecord(
        version=row.version,
        id=row.id,
        active=row.active,
        max_text=row.max_text,
        typing_limit=row.typing_limit,
    )


def _user(row: Row[*tuple[Any, ...]]) -> DirectoryRecord:
    return UserRecord(
        version=row.version,
        id=row.id,
        workspace_id=row.workspace_id,
        name=row.name,
        active=row.active,
        role=row.role,
    )


def _group(row: Row[*tuple[Any, ...]]) -> DirectoryRecord:
    return GroupRecord(
        version=row.version,
        id=row.id,
        workspace_id=row.workspace_id,
        handle=row.handle,
        user_ids=row.user_ids,
        active=row.active,
    )


def _channel(row: Row[*tuple[Any, ...]]) -> DirectoryRecord:
    return ChannelRecord(
        version=row.version,
        id=row.id,
        workspace_id=row.workspace_id,
        kind=row.kind,
        archived=row.archived_at is not None,
        posting=row.posting,
    )


def _member(row: Row[*tuple[Any, ...]]) -> DirectoryRecord:
    return MemberRecord(
        version=row.version, channel_id=row.channel_id, user_id=row.user_id, member=row.member
    )


def _key(row: Row[*tuple[Any, ...]]) -> DirectoryRecord:
    return KeyRecord(version=row.version, kid=row.kid, public_key=row.public_key, active=row.active)


def _revoked(row: Row[*tuple[Any, ...]]) -> DirectoryRecord:
    return RevokedRecord(
        version=row.version, session_id=row.id, until_ms=_unix_ms(row.revoked_at) + REVOCATION_MS
    )


def _unix_ms(moment: dt.datetime) -> int:
    return int(moment.timestamp() * 1000)


class _Source(NamedTuple):
    """Where the records of one kind come from. A key is `<kind>:` and the identity's columns, joined by colons."""

    rows: Select[*tuple[Any, ...]]
    identity: tuple[InstrumentedAttribute[str], ...]
    record: Callable[[Row[*tuple[Any, ...]]], DirectoryRecord]


_SOURCES: Final[dict[str, _Source]] = {
    "workspace": _Source(
        select(Workspace.id, Workspace.version, Workspace.active, Workspace.max_text, Workspace.typing_limit),
        (Workspace.id,),
        _workspace,
    ),
    "user": _Source(
        select(User.id, User.version, User.workspace_id, User.name, User.active, User.role), (User.id,), _user
    ),
    "key": _Source(
        select(SigningKey.kid, SigningKey.version, SigningKey.public_key, SigningKey.active),
        (SigningKey.kid,),
        _key,
    ),
    "revoked": _Source(
        select(Session.id, Session.version, Session.revoked_at).where(Session.revoked_at.is_not(None)),
        (Session.id,),
        _revoked,
    ),
    "channel": _Source(
        select(
            Channel.id,
            Channel.version,
            Channel.workspace_id,
            Channel.kind,
            Channel.archived_at,
            Channel.posting,
        ),
        (Channel.id,),
        _channel,
    ),
    "member": _Source(
        select(Membership.channel_id, Membership.user_id, Membership.version, Membership.member),
        (Membership.channel_id, Membership.user_id),
        _member,
    ),
    "group": _Source(
        select(
            UserGroup.id,
            UserGroup.version,
            UserGroup.workspace_id,
            UserGroup.handle,
            UserGroup.active,
            func.array(
                select(UserGroupMember.user_id)
                .where(UserGroupMember.group_id == UserGroup.id)
                .order_by(UserGroupMember.user_id)
                .scalar_subquery()
            ).label("user_ids"),
        ),
        (UserGroup.id,),
        _group,
    ),
}
"""In the order in which everything is read: who there is before where they are."""


async def current_records(connection: AsyncConnection, keys: Iterable[str]) -> dict[str, DirectoryRecord]:
    """The records of these keys. A key is absent when nothing of that kind and identity exists (or, for `revoked:`,
    when the session is not revoked)."""
    wanted: dict[str, list[list[str]]] = defaultdict(list)
    for key in set(keys):
        kind, _, identity = key.partition(":")
        values = identity.split(":")
        known = _SOURCES.get(kind)
        if known is not None and len(values) == len(known.identity):
            wanted[kind].append(values)
    found: dict[str, DirectoryRecord] = {}
    for kind, identities in wanted.items():
        source = _SOURCES[kind]
        columns = [list(column) for column in zip(*identities, strict=True)]
        # Arrays rather than lists of parameters: the statement's text, and so its plan, stays the same.
        parts = [f"part_{n}" for n in range(len(columns))]
        arrays = (bindparam(None, column, type_=ARRAY(Text)) for column in columns)
        chosen = func.unnest(*arrays).table_valued(*parts).render_derived()
        match = and_(*(column == chosen.c[part] for column, part in zip(source.identity, parts, strict=True)))
        for row in await connection.execute(source.rows.join(chosen, match)):
            record = source.record(row)
            found[record.key] = record
    return found


async def all_records(
    connection: AsyncConnection, now_ms: int, *, fetch: int = 1000
) -> AsyncIterator[DirectoryRecord]:
    """Every entity there is, `fetch` rows at a time: what a new epoch's directory begins with.

    Revocations that no token can outlive any more at `now_ms` (Unix milliseconds) are left out.
    """
    for source in _SOURCES.values():
        ordered = source.rows.order_by(*source.identity).execution_options(yield_per=fetch)
        async with connection.stream(ordered) as rows:
            async for row in rows:
                record = source.record(row)
                if not isinstance(record, RevokedRecord) or record.until_ms > now_ms:
                    yield record
