"""Alembic's scripts: `env.py` runs them inside a connection that `services.database.migrate` hands over."""
