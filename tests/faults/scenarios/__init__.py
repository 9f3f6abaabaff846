"""One module a kind of fault. Importing this package registers every scenario, in the order of the table."""

from tests.faults.scenarios import (  # noqa: F401 - for their registration
    crowds,
    databases,
    directory,
    disk_full,
    edge,
    kafka,
    late_clients,
    log_lost,
    network,
    network_web,
    node_killed,
    signing_keys,
    upgrade,
    workers,
)
