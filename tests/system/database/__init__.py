"""The schema, its migrations, and the outbox, on a real PostgreSQL."""
