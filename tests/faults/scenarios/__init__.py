"""One module a kind of fault. Importing this package registers every scenario, in the order of the table."""

from tests.faults.scenarios import (  # noqa: F401 - for their registration
    crowds,
    databases,
    directory,
    kafka,
    network,
    node_killed,
    workers,
)
