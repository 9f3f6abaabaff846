"""The relay: what web_app's transactions left in the outbox, into the log.

Two halves that share nothing but the process: `directory` publishes entities' current state, `events` appends events
to their channels (its decisions are in `schedule`, pure). Each half has one active copy at a time (`active`).
"""
