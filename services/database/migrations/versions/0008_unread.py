"""What is unread is counted from indexes alone: they say who wrote each message."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_INDEXES = (
    ("ix_messages_channel_id_seq_top", "(thread is null or also_to_channel) and not deleted"),
    ("ix_messages_channel_id_seq_all", "mentions_channel"),
)


def _make(include: list[str] | None) -> None:
    for name, where in _INDEXES:
        op.drop_index(name, table_name="messages")
        op.create_index(
            name,
            "messages",
            ["channel_id", "seq"],
            postgresql_where=sa.text(where),
            postgresql_include=include,
        )


def upgrade() -> None:
    _make(["sender_id"])


def downgrade() -> None:
    _make(None)
