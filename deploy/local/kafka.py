"""A Kafka broker (KRaft, broker and controller in one process), alone or one of a cluster: how it is prepared,
started and asked."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from deploy.local.errors import StackError
from deploy.local.ports import accepts
from deploy.local.toolchain import CLONE, Toolchain
from deploy.settings import KAFKA_CLUSTER_ID, KAFKA_CLUSTER_SETTINGS, KAFKA_JVM, KAFKA_SETTINGS

LOG4J = CLONE / "deploy" / "kafka" / "log4j2.yaml"


@dataclass(frozen=True, slots=True)
class KafkaServer:
    """A broker on the loopback whose files all lie in `folder`.

    Clients connect to `port`. With a proxy between, `advertised` is the proxy's port, to which clients are sent, and
    `inner_port` is where brokers talk to each other past the proxy. `voters`: id -> controller port of every broker
    of its cluster, empty when it is alone. `jvm`: more options for its Java machine.
    """

    toolchain: Toolchain
    folder: Path
    port: int
    controller_port: int
    advertised: int | None = None
    inner_port: int | None = None
    node_id: int = 1
    voters: Mapping[int, int] = field(default_factory=dict)
    jvm: tuple[str, ...] = ()

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.advertised or self.port}"

    def prepare(self) -> None:
        """Write the settings and format the data folder on first use. Raises StackError."""
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        voters = self.voters or {self.node_id: self.controller_port}
        settings = {
            **KAFKA_SETTINGS,
            **(KAFKA_CLUSTER_SETTINGS if len(voters) > 1 else {}),
            "node.id": str(self.node_id),
            "controller.quorum.voters": ",".join(f"{id}@127.0.0.1:{port}" for id, port in voters.items()),
            **self._listeners(),
            "log.dirs": str(data),
        }
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), "utf-8")
        if (data / "meta.properties").exists():
            return
        outcome = subprocess.run(
            self.toolchain.command(
                "kafka.tools.StorageTool", "format",
                "--cluster-id", KAFKA_CLUSTER_ID, "--config", str(self._properties),
                jvm=("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", self._log4j),
            ),
            capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if outcome.returncode != 0:
            raise StackError(
                f"Kafka's storage in {data} could not be formatted: {outcome.stderr.strip()[-400:]}"
            )

    def command(self) -> list[str]:
        """What runs the broker in the foreground; SIGTERM stops it in an orderly way."""
        return self.toolchain.command(
            "kafka.Kafka",
            str(self._properties),
            jvm=(*KAFKA_JVM, *self.jvm, self._log4j, f"-XX:ErrorFile={self.folder}/jvm-%p.log"),
        )

    async def ready(self) -> bool:
        """Whether the broker answers clients, and the metadata that it hands out names itself."""
        if not await accepts(self.port):  # aiokafka logs an error for each refused connection
            return False
        client = AIOKafkaClient(bootstrap_servers=self.bootstrap, request_timeout_ms=2000, client_id="ready")
        try:
            await client.bootstrap()
            return self.node_id in {broker.nodeId for broker in client.cluster.brokers()}
        except (KafkaError, OSError):
            return False
        finally:
            await client.close()

    def _listeners(self) -> dict[str, str]:
        names: Sequence[str] = ("BROKER",)
        ports: Sequence[int] = (self.port,)
        advertised: Sequence[int] = ports
        if self.advertised is not None:
            if self.inner_port is None:
                raise ValueError("a broker behind a proxy needs a port of its own for brokers")
            names = ("CLIENT", "BROKER")
            ports = (self.port, self.inner_port)
            advertised = (self.advertised, self.inner_port)
        all_names, all_ports = (*names, "CONTROLLER"), (*ports, self.controller_port)

        def listed(listeners: Sequence[str], where: Sequence[int]) -> str:
            return ",".join(f"{name}://127.0.0.1:{port}" for name, port in zip(listeners, where, strict=True))

        return {
            "listeners": listed(all_names, all_ports),
            "advertised.listeners": listed(names, advertised),
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in all_names),
        }

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _log4j(self) -> str:
        return f"-Dlog4j2.configurationFile={LOG4J}"
