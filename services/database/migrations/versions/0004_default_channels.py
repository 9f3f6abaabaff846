"""A workspace's first channel is marked, so that new people can be put into it whatever it is called by now.

Of workspaces from before it is the oldest public channel: signing up made one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "channels", sa.Column("is_default", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.execute(
        "update channels set is_default = true where id in (select distinct on (workspace_id) id from channels"
        " where kind = 'public' order by workspace_id, created_at, id)"
    )
    op.create_index(
        "uq_channels_workspace_default",
        "channels",
        ["workspace_id"],
        unique=True,
        postgresql_where=sa.text("is_default"),
    )


def downgrade() -> None:
    op.drop_index(
        "uq_channels_workspace_default", table_name="channels", postgresql_where=sa.text("is_default")
    )
    op.drop_column("channels", "is_default")
