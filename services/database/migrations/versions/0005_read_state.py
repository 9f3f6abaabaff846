"""What people have read: markers of channels and threads.

Whoever is in a channel now has read it: the counts of unread messages begin here.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_MARKER = "case when own > head then greatest(own, moved) else moved end"


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)


def upgrade() -> None:
    op.create_table(
        "read_markers",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        _number("own"),
        _number("moved"),
        _number("head"),
        sa.Column("seq", sa.BigInteger(), sa.Computed(_MARKER, persisted=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "channel_id", name="pk_read_markers"),
    )
    op.create_table(
        "thread_follows",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("root", sa.BigInteger(), nullable=False),
        sa.Column("auto", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("chosen", sa.Boolean(), nullable=True),
        _number("own"),
        _number("moved"),
        _number("head"),
        sa.Column(
            "following", sa.Boolean(), sa.Computed("coalesce(chosen, auto)", persisted=True), nullable=False
        ),
        sa.Column("read_seq", sa.BigInteger(), sa.Computed(_MARKER, persisted=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "channel_id", "root", name="pk_thread_follows"),
    )
    op.create_index("ix_thread_follows_channel_id_root", "thread_follows", ["channel_id", "root"])
    op.execute(
        "insert into read_markers (user_id, channel_id, own)"
        " select m.user_id, m.channel_id, h.head from memberships m join channel_heads h using (channel_id)"
        " where m.member"
    )


def downgrade() -> None:
    op.drop_index("ix_thread_follows_channel_id_root", table_name="thread_follows")
    op.drop_table("thread_follows")
    op.drop_table("read_markers")
