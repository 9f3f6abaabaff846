"""Alembic's entry point. The caller (services.database.migrate) owns the connection, the transaction and the lock."""

from __future__ import annotations

from alembic import context

from services.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
