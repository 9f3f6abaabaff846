"""Messages that people keep for themselves, and messages that are to be posted later."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "saved_messages",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_saved_messages_user_id"),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name="fk_saved_messages_channel_id"),
        sa.PrimaryKeyConstraint("user_id", "channel_id", "seq", name="pk_saved_messages"),
    )
    op.create_index("uq_saved_messages_user_id_id", "saved_messages", ["user_id", "id"], unique=True)
    op.create_table(
        "scheduled_messages",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("thread", sa.BigInteger(), nullable=True),
        sa.Column("also_to_channel", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("send_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("failed", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_scheduled_messages_user_id"),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name="fk_scheduled_messages_channel_id"),
        sa.PrimaryKeyConstraint("id", name="pk_scheduled_messages"),
    )
    op.create_index("ix_scheduled_messages_user_id_id", "scheduled_messages", ["user_id", "id"])
    op.create_index(
        "ix_scheduled_messages_send_at_id",
        "scheduled_messages",
        ["send_at", "id"],
        postgresql_where=sa.text("failed is null"),
    )


def downgrade() -> None:
    op.drop_table("scheduled_messages")
    op.drop_table("saved_messages")
