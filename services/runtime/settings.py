"""Settings come from the environment (`LOCKSTEP_*`) and secrets from files; each process declares only its own.

A process composes its class from the parts below. Unknown variables are ignored, because one environment serves
all processes; a missing or wrong one ends the start with a sentence that names it. A secret is read from
`$LOCKSTEP_SECRETS_DIR/<name>`, never from the environment, so that it cannot leak through a process listing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, Field, HttpUrl, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=0, le=65535)]

S = TypeVar("S", bound=BaseSettings)


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="LOCKSTEP_", extra="ignore", frozen=True)


class LogSettings(Settings):
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"
    log_format: Annotated[str, Field(pattern="^(json|console)$")] = "json"


class SecretsSettings(Settings):
    """`secrets_dir` holds `database_password`, `service_token` and `signing_keys/*.pem`."""

    secrets_dir: Path

    def secret(self, name: str) -> str:
        """The stripped content of one secret's file. Raises SettingsError when it cannot be read or is empty."""
        path = self.secrets_dir / name
        try:
            value = path.read_text("utf-8").strip()
        except OSError as error:
            raise SettingsError(f"secret {name}: cannot read {path}: {error.strerror}") from error
        if not value:
            raise SettingsError(f"secret {name}: {path} is empty")
        return value


class KafkaSettings(Settings):
    """`kafka`: bootstrap servers, comma separated."""

    kafka: str = "127.0.0.1:9092"


class DatabaseSettings(SecretsSettings):
    """PostgreSQL; the password is the secret `database_password`."""

    database_host: str = "127.0.0.1"
    database_port: Port = 5432
    database_name: str = "lockstep"
    database_user: str = "lockstep"


class AdminSettings(Settings):
    """Where this process serves /health/live, /health/ready and /metrics."""

    admin_host: str = "127.0.0.1"
    admin_port: Port = 0


class NodeAddress(BaseModel):
    """A channel server as others see it: `name`, the clients' WebSocket address, the internal API's base URL."""

    name: str
    websocket: str
    internal: HttpUrl


class SettingsError(Exception):
    """A setting or secret is missing or wrong; the message is one sentence for an operator."""


def load(settings: type[S]) -> S:
    """Read a process's settings. Raises SettingsError naming each variable at fault."""
    try:
        return settings()
    except ValidationError as error:
        faults = "; ".join(
            f"LOCKSTEP_{'_'.join(str(part) for part in fault['loc']).upper()}: {fault['msg']}"
            for fault in error.errors()
        )
        raise SettingsError(faults) from error
