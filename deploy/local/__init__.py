"""The native stack: how Kafka, PostgreSQL and the product's processes run on one machine without containers.

`toolchain` finds Java and Kafka's jars, `kafka` and `postgres` say how one server is prepared and started (the tests
use the same two), `secrets` makes the first secrets, `supervision` runs it all under supervisord, `__main__` is the
command behind `make up`. What a process is told is in `deploy.settings`, not here.
"""
