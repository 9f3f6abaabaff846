"""Settings of workspaces and channels, profiles, user groups, preferences, do not disturb, the audit log.

Channel servers hear of every workspace, and of everybody who is not an ordinary member, so that what they hold of
an older installation is what they would hold of a new one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _workspaces()
    _users_and_invites()
    _channels()
    _groups()
    _preferences()
    _audit_log()


def _workspaces() -> None:
    op.add_column("workspaces", _flag("active", "true"))
    op.add_column("workspaces", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("workspaces", _number("max_text", "12000"))
    op.add_column("workspaces", sa.Column("edit_window_s", sa.BigInteger(), nullable=True))
    op.add_column("workspaces", sa.Column("delete_window_s", sa.BigInteger(), nullable=True))
    op.add_column("workspaces", _number("typing_limit", "200"))
    op.add_column("workspaces", _word("who_may_create_channels", "members"))
    op.add_column("workspaces", _word("who_may_invite", "admins"))
    op.add_column("workspaces", _word("who_may_manage_groups", "admins"))
    op.add_column("workspaces", sa.Column("version", sa.BigInteger(), nullable=True))
    op.execute("update workspaces set version = nextval('row_version')")
    op.alter_column("workspaces", "version", nullable=False)
    for name, condition in (
        ("max_text", "max_text between 1 and 12000"),
        ("windows", "edit_window_s >= 0 and delete_window_s >= 0"),
        ("typing_limit", "typing_limit between 0 and 1000"),
        (
            "who_may",
            "who_may_create_channels in ('members', 'admins') and who_may_invite in ('members', 'admins')"
            " and who_may_manage_groups in ('members', 'admins')",
        ),
    ):
        op.create_check_constraint(op.f(f"ck_workspaces_{name}"), "workspaces", condition)
    op.execute(
        "insert into outbox (topic, key) select 'directory', 'workspace:' || id from workspaces order by id"
    )
    op.execute("update users set version = nextval('row_version') where role <> 'member'")
    op.execute(
        "insert into outbox (topic, key) select 'directory', 'user:' || id from users where role <> 'member'"
        " order by id"
    )
    op.execute("select pg_notify('outbox', '')")


def _users_and_invites() -> None:
    for name in ("display_name", "title", "avatar_url", "status_text", "status_emoji"):
        op.add_column("users", _word(name, ""))
    op.add_column("users", sa.Column("status_expires_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("users", _word("time_zone", "UTC"))
    op.add_column(
        "invites",
        sa.Column("channel_ids", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    )


def _channels() -> None:
    op.drop_index("uq_channels_workspace_default", table_name="channels")
    op.create_index(
        "ix_channels_default", "channels", ["workspace_id", "id"], postgresql_where=sa.text("is_default")
    )
    op.create_index(
        "ix_channels_public_name",
        "channels",
        ["workspace_id", sa.text('lower(name) collate "C"')],
        postgresql_where=sa.text("kind = 'public'"),
    )
    op.add_column("channels", _word("posting", "everyone"))
    op.add_column("channels", _word("adding", "everyone"))
    op.create_check_constraint(
        op.f("ck_channels_who"),
        "channels",
        "posting in ('everyone', 'admins') and adding in ('everyone', 'admins')",
    )
    op.add_column("channels", _number("member_count", "0"))
    op.execute(
        "update channels set member_count = counted.members from"
        " (select channel_id, count(*) as members from memberships where member group by channel_id) as counted"
        " where counted.channel_id = channels.id"
    )


def _groups() -> None:
    op.create_table(
        "user_groups",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("workspace_id", sa.Text(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        _word("description", ""),
        _flag("active", "true"),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        _created_at(),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_user_groups_workspace_id")
        ),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_user_groups_created_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_groups")),
    )
    op.create_index(
        "uq_user_groups_workspace_handle",
        "user_groups",
        ["workspace_id", "handle"],
        unique=True,
        postgresql_where=sa.text("active"),
    )
    op.create_index("ix_user_groups_workspace_id_id", "user_groups", ["workspace_id", "id"])
    op.create_table(
        "user_group_members",
        sa.Column("group_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        _created_at(),
        sa.ForeignKeyConstraint(
            ["group_id"], ["user_groups.id"], name=op.f("fk_user_group_members_group_id")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_user_group_members_user_id")),
        sa.PrimaryKeyConstraint("group_id", "user_id", name=op.f("pk_user_group_members")),
    )
    op.create_index("ix_user_group_members_user_id", "user_group_members", ["user_id"])


def _preferences() -> None:
    op.create_table(
        "channel_preferences",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("channel_id", sa.Text(), nullable=False),
        _flag("muted", "false"),
        _word("level", "all"),
        sa.CheckConstraint(
            "level in ('all', 'mentions', 'nothing')", name=op.f("ck_channel_preferences_level")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_channel_preferences_user_id")),
        sa.ForeignKeyConstraint(
            ["channel_id"], ["channels.id"], name=op.f("fk_channel_preferences_channel_id")
        ),
        sa.PrimaryKeyConstraint("user_id", "channel_id", name=op.f("pk_channel_preferences")),
    )
    op.create_table(
        "do_not_disturb",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("starts", sa.SmallInteger(), nullable=True),
        sa.Column("ends", sa.SmallInteger(), nullable=True),
        sa.Column("snoozed_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(starts is null) = (ends is null) and starts between 0 and 1439 and ends between 0 and 1439",
            name=op.f("ck_do_not_disturb_schedule"),
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_do_not_disturb_user_id")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_do_not_disturb")),
    )


def _audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("workspace_id", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("details", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        _created_at(),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=op.f("fk_audit_log_workspace_id")),
        sa.ForeignKeyConstraint(["actor_id"], ["users.id"], name=op.f("fk_audit_log_actor_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    for columns in (
        ("workspace_id", "id"),
        ("workspace_id", "action", "id"),
        ("workspace_id", "actor_id", "id"),
    ):
        op.create_index(f"ix_audit_log_{'_'.join(columns)}", "audit_log", list(columns))
    op.create_index("ix_audit_log_workspace_id_target_id", "audit_log", ["workspace_id", "target", "id"])
    op.execute(
        "create function audit_log_is_append_only() returns trigger language plpgsql as"
        " $$ begin raise exception 'the audit log is only ever added to'; end $$"
    )
    op.execute(
        "create trigger audit_log_append_only before update or delete or truncate on audit_log"
        " for each statement execute function audit_log_is_append_only()"
    )


def downgrade() -> None:
    op.execute(
        "delete from outbox where topic = 'directory' and (key like 'workspace:%' or key like 'group:%')"
    )
    op.drop_table("audit_log")
    op.execute("drop function audit_log_is_append_only()")
    for table in ("do_not_disturb", "channel_preferences", "user_group_members", "user_groups"):
        op.drop_table(table)
    op.drop_constraint(op.f("ck_channels_who"), "channels")
    op.drop_index("ix_channels_public_name", table_name="channels")
    op.drop_index("ix_channels_default", table_name="channels")
    for column in ("posting", "adding", "member_count"):
        op.drop_column("channels", column)
    # Only one channel of a workspace can be its default again: the oldest.
    op.execute(
        "update channels set is_default = false where is_default and id not in (select distinct on (workspace_id) id"
        " from channels where is_default order by workspace_id, created_at, id)"
    )
    op.create_index(
        "uq_channels_workspace_default",
        "channels",
        ["workspace_id"],
        unique=True,
        postgresql_where=sa.text("is_default"),
    )
    op.drop_column("invites", "channel_ids")
    for column in (
        "display_name",
        "title",
        "avatar_url",
        "status_text",
        "status_emoji",
        "status_expires_at",
        "time_zone",
    ):
        op.drop_column("users", column)
    for name in ("max_text", "windows", "typing_limit", "who_may"):
        op.drop_constraint(op.f(f"ck_workspaces_{name}"), "workspaces")
    for column in (
        "active",
        "deleted_at",
        "max_text",
        "edit_window_s",
        "delete_window_s",
        "typing_limit",
        "who_may_create_channels",
        "who_may_invite",
        "who_may_manage_groups",
        "version",
    ):
        op.drop_column("workspaces", column)


def _flag(name: str, default: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), server_default=sa.text(default), nullable=False)


def _number(name: str, default: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default=sa.text(default), nullable=False)


def _word(name: str, default: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), server_default=default, nullable=False)


def _created_at() -> sa.Column[object]:
    return sa.Column(
        "created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
    )
