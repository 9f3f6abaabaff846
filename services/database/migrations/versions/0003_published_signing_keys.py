"""Signing keys remember since when the relay has published them.

Keys from before count as published since they were made, unless they are still waiting in the outbox.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("signing_keys", sa.Column("published_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(
        "update signing_keys set published_at = created_at"
        " where not exists (select from outbox where topic = 'directory' and key = 'key:' || kid)"
    )


def downgrade() -> None:
    op.drop_column("signing_keys", "published_at")
