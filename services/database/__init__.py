"""PostgreSQL: tables, migrations (Alembic), engine and sessions, the outbox.

Every table has one writer, named beside it in `tables`. Queries belong to whoever needs them, not here.
"""
