"""The whole state of a message: edits, deletion, reactions, pins, threads, mentions.

Messages from before have none of these: nothing but posting was possible.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def _people(name: str) -> sa.Column[list[str]]:
    return sa.Column(name, postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), server_default=sa.text("false"), nullable=False)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)


def _optional(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=True)


# Constant defaults: none of these rewrites a table.
_MESSAGE = (
    lambda: _optional("thread"),
    lambda: _flag("also_to_channel"),
    lambda: _count("edits"),
    lambda: _optional("edited_at_ms"),
    lambda: _flag("deleted"),
    lambda: sa.Column("pinned_by", sa.Text(), nullable=True),
    lambda: _optional("pinned_at_ms"),
    lambda: sa.Column("reactions", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
    lambda: _count("replies"),
    lambda: _optional("last_reply"),
    lambda: _optional("last_reply_at_ms"),
    lambda: _people("participants"),
    lambda: _people("mentions"),
    lambda: _flag("mentions_channel"),
)

_INDEXES = {
    "ix_messages_channel_id_thread_seq": (["channel_id", "thread", "seq"], "thread is not null"),
    "ix_messages_channel_id_seq_top": (
        ["channel_id", "seq"],
        "(thread is null or also_to_channel) and not deleted",
    ),
    "ix_messages_channel_id_seq_pinned": (["channel_id", "seq"], "pinned_at_ms is not null"),
    "ix_messages_channel_id_seq_all": (["channel_id", "seq"], "mentions_channel"),
}


def upgrade() -> None:
    for column in _MESSAGE:
        op.add_column("messages", column())
    for name, (columns, where) in _INDEXES.items():
        op.create_index(name, "messages", columns, postgresql_where=sa.text(where))
    op.create_table(
        "message_mentions",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "channel_id", "seq", name="pk_message_mentions"),
    )
    op.create_index("ix_message_mentions_channel_id_seq", "message_mentions", ["channel_id", "seq"])
    op.add_column("events", _people("mentions"))
    op.add_column("events", _optional("target"))
    op.create_index(
        "ix_events_channel_id_target_seq",
        "events",
        ["channel_id", "target", "seq"],
        postgresql_where=sa.text("target is not null"),
    )
    op.add_column("outbox", _people("mentions"))


def downgrade() -> None:
    op.drop_column("outbox", "mentions")
    op.drop_index("ix_events_channel_id_target_seq", table_name="events")
    op.drop_column("events", "target")
    op.drop_column("events", "mentions")
    op.drop_table("message_mentions")
    for name in _INDEXES:
        op.drop_index(name, table_name="messages")
    for column in reversed(_MESSAGE):
        op.drop_column("messages", str(column().name))
