"""The promises of docs/architecture.md, each tried against real processes that are stopped, killed and restarted.

Every test lets a crowd of recorded clients talk, does its damage, and leaves the verdict to `verify`, which knows
what the clients were shown, what PostgreSQL and REST history hold, and what stands in the log.
"""
