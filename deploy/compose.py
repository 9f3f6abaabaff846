"""compose.yaml, made from `deploy.settings`: the same processes with the same settings, in containers.

`python -m deploy.compose` (`make compose`) writes it, `--check` says whether the one in the clone is current. Nothing
of this is needed to run it: a machine with Docker alone uses the file as it is.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import yaml

from deploy.local.place import given
from deploy.local.toolchain import CLONE
from deploy.settings import (
    BOOTSTRAP,
    DATABASE_NAME,
    DATABASE_USER,
    DEFAULT_NODES,
    KAFKA,
    KAFKA_CLUSTER_ID,
    KAFKA_IMAGE,
    KAFKA_JVM,
    KAFKA_SETTINGS,
    NODE_COUNT,
    POSTGRES,
    POSTGRES_IMAGE,
    POSTGRES_INITDB,
    POSTGRES_SETTINGS,
    PYTHON_VERSION,
    Listener,
    Service,
    Site,
    listeners,
    node_count,
    services,
)

FILE = CLONE / "compose.yaml"
IMAGE = "lockstep:local"
SECRETS = "/run/lockstep"
KAFKA_INSIDE = 9092
POSTGRES_INSIDE = 5432

HEAD = """\
# Generated from deploy/settings.py by `make compose`; do not edit. A test compares the two.
#
#   docker compose up --build --detach --wait        (or: make up)
#
# Ports are moved by variables, in the environment or in a file .env: LOCKSTEP_WEB_PORT=8080
"""

Yaml = dict[str, Any]


def published(listener: Listener) -> str:
    """A port on this machine as compose reads it: the operator's, or the default."""
    return f"${{{listener.setting}:-{listener.port}}}"


def site(nodes: int = DEFAULT_NODES) -> Site:
    """The containers' view: each service by its name, clients on this machine through published ports."""
    every = listeners(nodes)
    return Site(
        bind="0.0.0.0",  # noqa: S104 - inside a container; what is published binds to 127.0.0.1
        client_host="127.0.0.1",
        hosts={service.name: service.name for service in services(nodes)},
        ports={listener.setting: listener.port for listener in every},
        client_ports={listener.setting: published(listener) for listener in every},
        kafka=f"kafka:{KAFKA_INSIDE}",
        database_host="postgres",
        database_port=POSTGRES_INSIDE,
        database_name=DATABASE_NAME,
        secrets_dir=SECRETS,
    )


def document(nodes: int = DEFAULT_NODES) -> Yaml:
    """The whole file as data, for so many channel servers."""
    where = site(nodes)
    return {
        "name": "lockstep",
        "services": {
            "secrets": _secrets(),
            "kafka": _kafka(),
            "postgres": _postgres(),
            "bootstrap": _bootstrap(where),
            **{service.name: _service(service, where) for service in where.services},
            "client": _client(),
        },
        "volumes": {"kafka": {}, "postgres": {}, "secrets": {}, "client": {}},
    }


def render(nodes: int = DEFAULT_NODES) -> str:
    """The text of compose.yaml, for so many channel servers."""
    return f"{HEAD}\n{yaml.safe_dump(document(nodes), sort_keys=False, width=110, allow_unicode=True)}"


def kafka_variable(setting: str) -> str:
    """A broker setting's name as the official image reads it from the environment."""
    return "KAFKA_" + setting.replace("-", "___").replace("_", "__").replace(".", "_").upper()


def _product(command: list[str]) -> Yaml:
    """What every container of our own image has in common: no root, no writable files, no privileges."""
    return {
        "image": IMAGE,
        "build": {
            "context": ".",
            "dockerfile": "deploy/Dockerfile",
            "args": {"PYTHON_VERSION": PYTHON_VERSION},
        },
        "command": command,
        "init": True,
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108 - in the container
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "volumes": [f"secrets:{SECRETS}:ro"],
    }


def _secrets() -> Yaml:
    """Makes the secrets on the first start, in a volume: nothing else than Docker is needed for it."""
    return {
        **_product(["python", "-m", "deploy.local.secrets", SECRETS]),
        "volumes": [f"secrets:{SECRETS}"],
        "network_mode": "none",
        "restart": "no",
    }


def _kafka() -> Yaml:
    settings = {
        **KAFKA_SETTINGS,
        "controller.quorum.voters": "1@localhost:9093",
        "listeners": f"BROKER://:{KAFKA_INSIDE},HOST://:{KAFKA.port},CONTROLLER://localhost:9093",
        "advertised.listeners": f"BROKER://kafka:{KAFKA_INSIDE},HOST://127.0.0.1:{published(KAFKA)}",
        "listener.security.protocol.map": "BROKER:PLAINTEXT,HOST:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": "/var/lib/kafka/data",
    }
    return {
        "image": KAFKA_IMAGE,
        "environment": {
            "CLUSTER_ID": KAFKA_CLUSTER_ID,
            "KAFKA_HEAP_OPTS": " ".join(option for option in KAFKA_JVM if option.startswith("-Xm")),
            "KAFKA_JVM_PERFORMANCE_OPTS": " ".join(option for option in KAFKA_JVM if "-Xm" not in option),
            "KAFKA_LOG4J_ROOT_LOGLEVEL": "WARN",
            **{kafka_variable(name): value for name, value in settings.items()},
        },
        "ports": [f"127.0.0.1:{published(KAFKA)}:{KAFKA.port}"],
        "volumes": ["kafka:/var/lib/kafka/data"],
        "healthcheck": {
            "test": [
                "CMD",
                "/opt/kafka/bin/kafka-broker-api-versions.sh",
                "--bootstrap-server",
                f"localhost:{KAFKA_INSIDE}",
            ],
            "interval": "30s",
            "timeout": "20s",
            "retries": 5,
            "start_period": "60s",
            "start_interval": "3s",
        },
        "restart": "unless-stopped",
        "stop_grace_period": "40s",
    }


def _postgres() -> Yaml:
    return {
        "image": POSTGRES_IMAGE,
        "environment": {
            "POSTGRES_USER": DATABASE_USER,
            "POSTGRES_DB": DATABASE_NAME,
            "POSTGRES_PASSWORD_FILE": f"{SECRETS}/database_password",
            "POSTGRES_INITDB_ARGS": " ".join(POSTGRES_INITDB),
        },
        "command": [
            "postgres",
            *(option for name, value in POSTGRES_SETTINGS.items() for option in ("-c", f"{name}={value}")),
        ],
        "ports": [f"127.0.0.1:{published(POSTGRES)}:{POSTGRES_INSIDE}"],
        "volumes": ["postgres:/var/lib/postgresql", f"secrets:{SECRETS}:ro"],
        "shm_size": "256mb",
        "healthcheck": {
            # By TCP: the server that the image runs while it sets up listens on a socket file only.
            "test": ["CMD", "pg_isready", "-h", "127.0.0.1", "-U", DATABASE_USER, "-d", DATABASE_NAME],
            "interval": "10s",
            "timeout": "5s",
            "retries": 5,
            "start_period": "60s",
            "start_interval": "1s",
        },
        "depends_on": {"secrets": {"condition": "service_completed_successfully"}},
        "restart": "unless-stopped",
        "stop_signal": "SIGINT",
        "stop_grace_period": "40s",
    }


def _bootstrap(where: Site) -> Yaml:
    return {
        **_product(["python", "-m", BOOTSTRAP]),
        "environment": where.common(),
        "depends_on": {
            "kafka": {"condition": "service_healthy"},
            "postgres": {"condition": "service_healthy"},
        },
        "restart": "no",
    }


def _service(service: Service, where: Site) -> Yaml:
    probe = f"http://127.0.0.1:{service.health.port}/health/ready"
    public = service.listeners[0] if service.is_node or service.name == "web_app" else None
    return {
        **_product(["python", "-m", service.module]),
        "environment": where.environment(service),
        # The product's own variables that an operator puts there; compose's `environment` wins over it.
        "env_file": [{"path": ".env", "required": False}],
        **({"ports": [f"127.0.0.1:{published(public)}:{public.port}"]} if public else {}),
        "depends_on": {"bootstrap": {"condition": "service_completed_successfully"}},
        "healthcheck": {
            "test": [
                "CMD",
                "python",
                "-c",
                f"import urllib.request as u; u.urlopen('{probe}', timeout=3)",
            ],
            "interval": "10s",
            "timeout": "5s",
            "retries": 3,
            "start_period": "30s",
            "start_interval": "1s",
        },
        # Comes back after a crash; one that cannot work (exit 70, 78) gives up after some tries.
        "restart": "on-failure:8",
        "stop_grace_period": "20s",
    }


def _client() -> Yaml:
    """`docker compose run --rm client chat general`, for a machine without Python; on the host's own network, because
    the addresses that the stack hands out are this machine's."""
    return {
        **_product([]),
        "entrypoint": ["lockstep"],
        "profiles": ["client"],
        "network_mode": "host",
        "environment": {"HOME": "/home/lockstep"},
        "volumes": ["client:/home/lockstep"],
        "stdin_open": True,
        "tty": True,
    }


def main(arguments: list[str] | None = None) -> int:
    """Write compose.yaml, or (`--check`) say by the exit status whether it is current."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.compose",
        description=__doc__,
        epilog=f"{NODE_COUNT}: how many channel servers.",
    )
    parser.add_argument("--check", action="store_true", help="only compare")
    options = parser.parse_args(arguments)
    try:
        # The one that is committed is for the number that a stack has when nobody asks for another.
        text = render(DEFAULT_NODES if options.check else node_count(given()))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not options.check:
        FILE.write_text(text, "utf-8")
        return 0
    if not FILE.exists() or FILE.read_text("utf-8") != text:
        print("compose.yaml is not what deploy/settings.py says: run `make compose`.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
