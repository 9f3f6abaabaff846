"""What a channel server is told by its environment."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from channel_server.core.limits import Limits
from channel_server.websocket.addresses import AddressLimits
from services.runtime.settings import KafkaSettings, LogSettings, NodeAddress, Port, SecretsSettings

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Seconds = Annotated[float, Field(ge=0.1, le=3600)]
Rate = Annotated[float, Field(ge=0.1, le=1_000_000)]
BufferBytes = Annotated[int, Field(ge=4096, le=64 * 1024 * 1024)]


class ChannelServerSettings(LogSettings, SecretsSettings, KafkaSettings):
    """`LOCKSTEP_<NAME>` for each; what each limit does, and which metric counts it, is in docs/operations.md.

    node_name               this node's name among `nodes`
    websocket_host/port     where clients connect, path /v1/websocket
    internal_host/port      the internal API, health and metrics
    nodes                   all nodes, this one included: what clients are told to reconnect to
    ring_bytes              memory for recent events
    allowed_origins         values of `Origin` that browsers may come with; none named: all

    At the door: connections at once (more are answered 503), sockets in the handshake, connections without a
    `welcome`, how long each may take; of one address (0: no limit): connections, new ones a second.
    """

    node_name: Annotated[str, Field(min_length=1, max_length=100)]
    websocket_host: str = "127.0.0.1"
    websocket_port: Port = 8101
    internal_host: str = "127.0.0.1"
    internal_port: Port = 8201
    nodes: tuple[NodeAddress, ...] = ()
    ring_bytes: Annotated[int, Field(ge=1024)] = 128 * 1024 * 1024
    allowed_origins: tuple[str, ...] = ()

    # at the door
    max_connections: Count = 20_000
    connections_per_user: Count = 50
    max_handshakes: Count = 2_000
    max_unadmitted: Count = 2_000
    handshake_seconds: Seconds = 5.0
    connect_seconds: Seconds = 10.0
    address_connections: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    address_rate: Annotated[float, Field(ge=0, le=1_000_000)] = 0.0

    # what comes in
    connection_rate: Rate = 50.0
    user_rate: Rate = 100.0
    burst_seconds: Seconds = 4.0
    flooding_refusals: Count = 500
    frames_per_second: Count = 5_000
    receive_buffer_bytes: BufferBytes = 32 * 1024
    sends_per_connection: Count = 64
    sends_per_node: Count = 5_000
    heartbeat_seconds: Seconds = 25.0

    # what goes out
    send_buffer_bytes: BufferBytes = 128 * 1024
    high_water_bytes: BufferBytes = 64 * 1024
    catch_up_bytes: BufferBytes = 64 * 1024
    behind_bytes: BufferBytes = 2 * 1024 * 1024
    behind_seconds: Seconds = 30.0
    close_seconds: Seconds = 5.0
    drain_seconds: Seconds = 10.0

    @field_validator("behind_bytes")
    @classmethod
    def _above_high_water(cls, value: int, known: ValidationInfo) -> int:
        if value < known.data.get("high_water_bytes", 0):
            raise ValueError("must not be below LOCKSTEP_HIGH_WATER_BYTES")
        return value

    def limits(self) -> Limits:
        """Of the core."""
        return Limits(
            connect_timeout=self.connect_seconds,
            heartbeat=self.heartbeat_seconds,
            connections_per_user=self.connections_per_user,
            unadmitted=self.max_unadmitted,
            connection_rate=self.connection_rate,
            connection_burst=max(1.0, self.burst_seconds * self.connection_rate),
            user_rate=self.user_rate,
            user_burst=max(1.0, self.burst_seconds * self.user_rate),
            flooding_burst=float(self.flooding_refusals),
            sends_per_connection=self.sends_per_connection,
            sends_per_node=self.sends_per_node,
            high_water=self.high_water_bytes,
            chunk=self.catch_up_bytes,
            hard_limit=self.behind_bytes,
            behind_timeout=self.behind_seconds,
        )

    def address_limits(self) -> AddressLimits:
        """Of the listener."""
        return AddressLimits(self.address_connections, self.address_rate)

    def other_nodes(self) -> list[str]:
        """The other nodes' WebSocket addresses."""
        return [node.websocket for node in self.nodes if node.name != self.node_name]
