"""One Kafka broker (KRaft, broker and controller in one process): how it is prepared, started and asked."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from deploy.local.errors import StackError
from deploy.local.ports import accepts
from deploy.local.toolchain import CLONE, Toolchain
from deploy.settings import KAFKA_CLUSTER_ID, KAFKA_JVM, KAFKA_SETTINGS

LOG4J = CLONE / "deploy" / "kafka" / "log4j2.yaml"


@dataclass(frozen=True, slots=True)
class KafkaServer:
    """A broker on the loopback whose files all lie in `folder`. `advertised` is the port that clients are sent to
    (another one than `port` when a proxy stands between)."""

    toolchain: Toolchain
    folder: Path
    port: int
    controller_port: int
    advertised: int | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.advertised or self.port}"

    def prepare(self) -> None:
        """Write the settings and format the data folder on first use. Raises StackError."""
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        settings = {
            **KAFKA_SETTINGS,
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "listeners": f"BROKER://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"BROKER://{self.bootstrap}",
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
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
            jvm=(*KAFKA_JVM, self._log4j, f"-XX:ErrorFile={self.folder}/jvm-%p.log"),
        )

    async def ready(self) -> bool:
        """Whether the broker answers clients: it hands out metadata that names itself."""
        if not await accepts(self.port):  # aiokafka logs an error for each refused connection
            return False
        client = AIOKafkaClient(bootstrap_servers=self.bootstrap, request_timeout_ms=2000, client_id="ready")
        try:
            await client.bootstrap()
            return bool(client.cluster.brokers())
        except (KafkaError, OSError):
            return False
        finally:
            await client.close()

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _log4j(self) -> str:
        return f"-Dlog4j2.configurationFile={LOG4J}"
