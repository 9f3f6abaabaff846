"""One hand on a running stack, however it runs: addresses, and stop, start, kill by name.

For what works from outside on purpose: the demo, the fault tests, the benchmarks. Names are those of `make status`:
kafka, postgres, web_app, node-1, node-2 (and on), persister, relay, checkpointer.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from deploy.local import place as places
from deploy.local import secrets
from deploy.local.errors import StackError
from deploy.local.place import Place
from deploy.local.stack import Stack
from deploy.local.toolchain import CLONE
from deploy.settings import DATABASE_NAME, DATABASE_USER, KAFKA, POSTGRES

NATIVE = "native"
COMPOSE = "compose"

_NOTICED_S = 10.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """What a client on this machine uses. `websockets` by node; `health` (base URL) by service, where it is reachable
    from outside; `dsn` is PostgreSQL's, with the password."""

    web: str
    websockets: dict[str, str]
    health: dict[str, str]
    kafka: str
    dsn: str


class Control(Protocol):
    """What a running stack lets one do. Every method raises StackError with a sentence for a person."""

    kind: str

    async def addresses(self) -> Addresses: ...

    async def stop(self, *names: str) -> None:
        """Stop in an orderly way and wait until it has ended; stays stopped."""

    async def start(self, *names: str) -> None:
        """Start and wait until it is ready."""

    async def kill(self, *names: str) -> None:
        """kill -9. Whether it comes back by itself depends on the way; `start` makes sure of it."""


class Native:
    """The native stack of this clone (or of LOCKSTEP_STACK_HOME)."""

    kind = NATIVE

    def __init__(self, place: Place) -> None:
        self._stack = Stack(place, lambda line: None)

    async def addresses(self) -> Addresses:
        place = self._stack.place
        password = await asyncio.to_thread(secrets.read, place.secrets, "database_password")
        return _addresses(place, password, list(self._stack.services))

    async def stop(self, *names: str) -> None:
        await self._stack.stop(list(names))

    async def start(self, *names: str) -> None:
        await self._stack.start(list(names))

    async def kill(self, *names: str) -> None:
        before = self._stack.supervisor.states()
        self._stack.kill(list(names))
        # Until the supervisor has noticed, it says that they run, and `start` would wait for the dead.
        deadline = time.monotonic() + _NOTICED_S
        while still := [
            name for name in names if self._stack.supervisor.states()[name].pid == before[name].pid
        ]:
            if time.monotonic() > deadline:
                raise StackError(f"{', '.join(still)} did not end within {_NOTICED_S:g} s of kill -9.")
            await asyncio.sleep(0.05)


class Compose:
    """The stack of compose.yaml."""

    kind = COMPOSE

    async def addresses(self) -> Addresses:
        password = await self._docker("exec", "-T", "postgres", "cat", "/run/secrets/database_password")
        services = (await self._docker("config", "--services")).split()
        nodes = sum(name.startswith("node-") for name in services)
        return _addresses(places.requested(nodes), password.strip(), ["web_app"])

    async def stop(self, *names: str) -> None:
        await self._docker("stop", *names)

    async def start(self, *names: str) -> None:
        await self._docker("up", "--detach", "--wait", "--no-recreate", "--no-deps", *names)

    async def kill(self, *names: str) -> None:
        await self._docker("kill", "--signal", "SIGKILL", *names)

    async def _docker(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            "docker", "compose", *arguments,
            cwd=CLONE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        output, error = await process.communicate()
        if process.returncode != 0:
            lines = error.decode("utf-8", "replace").strip().splitlines()
            raise StackError(f"docker compose {' '.join(arguments)}: {lines[-1] if lines else 'failed'}")
        return output.decode("utf-8", "replace")


def current() -> Control:
    """The stack that runs now: the native one if it does, else compose's. Raises StackError when neither does."""
    wish = os.environ.get("LOCKSTEP_STACK")
    if wish not in (None, "", NATIVE, COMPOSE):
        raise StackError(f"LOCKSTEP_STACK={wish} is unknown: it is {NATIVE} or {COMPOSE}.")
    if wish != COMPOSE:
        place = places.remembered()
        if place is not None and Stack(place, lambda line: None).supervisor.running():
            return Native(place)
    if wish != NATIVE and _compose_runs():
        return Compose()
    raise StackError("no stack is running here: `make up` starts one.")


def _compose_runs() -> bool:
    if shutil.which("docker") is None:
        return False
    outcome = subprocess.run(
        ["docker", "compose", "ps", "--quiet", "web_app"],
        cwd=CLONE, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return outcome.returncode == 0 and bool(outcome.stdout.strip())


def _addresses(place: Place, password: str, reachable: Sequence[str]) -> Addresses:
    ports = place.ports
    services = {service.name: service for service in place.site().services}
    return Addresses(
        web=f"http://127.0.0.1:{ports[services['web_app'].health.setting]}",
        websockets={
            node.name: f"ws://127.0.0.1:{ports[node.listeners[0].setting]}/v1/websocket"
            for node in services.values()
            if node.is_node
        },
        health={
            service.name: f"http://127.0.0.1:{ports[service.health.setting]}"
            for service in services.values()
            if service.name in reachable
        },
        kafka=f"127.0.0.1:{ports[KAFKA.setting]}",
        dsn=f"postgresql://{DATABASE_USER}:{password}@127.0.0.1:{ports[POSTGRES.setting]}/{DATABASE_NAME}",
    )
