"""Refresh tokens know which token they were given for.

Tokens from before have no parent, and so no siblings; a second use of one that was used long ago ends its session
as before.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("refresh_tokens", sa.Column("parent_hash", sa.LargeBinary(), nullable=True))
    op.create_index("ix_refresh_tokens_parent_hash", "refresh_tokens", ["parent_hash"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_refresh_tokens_parent_hash", table_name="refresh_tokens")
    op.drop_column("refresh_tokens", "parent_hash")
