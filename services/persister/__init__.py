"""The persister: folds the log and stores what it says in PostgreSQL, exactly once.

`fold` turns records into what is to be written (pure), `store` reads and writes PostgreSQL, with `messages` for the
states of messages, `read_state`, `mentions` and `audit` for what else follows, `worker` joins them and begins anew after
every failure. What an event means to a message's state is `services.projection`'s.
"""
