"""What a channel server is told by its environment."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from channel_server.core.limits import Limits
from services.runtime.settings import KafkaSettings, LogSettings, NodeAddress, Port, SecretsSettings


class ChannelServerSettings(LogSettings, SecretsSettings, KafkaSettings):
    """`LOCKSTEP_<NAME>` for each.

    node_name               this node's name among `nodes`
    websocket_host/port     where clients connect, path /v1/websocket
    internal_host/port      the internal API, health and metrics
    nodes                   all nodes, this one included: what clients are told to reconnect to
    ring_bytes              memory for recent events
    max_connections         of this node; more are answered 503
    connections_per_user    on this node
    connection_rate, user_rate   messages a second taken from one connection, from one person; bursts are 4 times that
    heartbeat_seconds       the pace dictated to clients
    behind_seconds          how long a client may not read before it is disconnected
    drain_seconds           from SIGTERM to the end of the process, at most
    allowed_origins         values of `Origin` that browsers may come with; none named: all
    """

    node_name: Annotated[str, Field(min_length=1, max_length=100)]
    websocket_host: str = "127.0.0.1"
    websocket_port: Port = 8101
    internal_host: str = "127.0.0.1"
    internal_port: Port = 8201
    nodes: tuple[NodeAddress, ...] = ()
    ring_bytes: Annotated[int, Field(ge=1024)] = 128 * 1024 * 1024
    max_connections: Annotated[int, Field(ge=1)] = 20_000
    connections_per_user: Annotated[int, Field(ge=1)] = 50
    connection_rate: Annotated[float, Field(gt=0)] = 50.0
    user_rate: Annotated[float, Field(gt=0)] = 100.0
    heartbeat_seconds: Annotated[float, Field(gt=0)] = 25.0
    behind_seconds: Annotated[float, Field(gt=0)] = 30.0
    drain_seconds: Annotated[float, Field(gt=0)] = 10.0
    allowed_origins: tuple[str, ...] = ()

    def limits(self) -> Limits:
        return Limits(
            heartbeat=self.heartbeat_seconds,
            connections_per_user=self.connections_per_user,
            connection_rate=self.connection_rate,
            connection_burst=4 * self.connection_rate,
            user_rate=self.user_rate,
            user_burst=4 * self.user_rate,
            behind_timeout=self.behind_seconds,
        )

    def other_nodes(self) -> list[str]:
        """The other nodes' WebSocket addresses."""
        return [node.websocket for node in self.nodes if node.name != self.node_name]
