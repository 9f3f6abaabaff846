"""The native stack as a person uses it: up, twice, killed, down, up again with everything kept, cleaned."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from deploy.local import leftovers, secrets
from deploy.local.health import unready
from deploy.local.ports import free_ports
from deploy.local.toolchain import CLONE
from deploy.settings import DATABASE_NAME, DATABASE_USER, NODE_COUNT, POSTGRES, listeners, services
from tests.stack.waiting import until

NODES = 3
UNSAID = {NODE_COUNT: ""}


class Native:
    """One stack of three nodes in a folder of its own, driven by the command behind `make`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        every = listeners(NODES)
        self.ports = dict(zip((one.setting for one in every), free_ports(len(every)), strict=True))

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LOCKSTEP_")}
        ports = {setting: str(port) for setting, port in self.ports.items()}
        return subprocess.run(
            [sys.executable, "-m", "deploy.local", *arguments],
            cwd=CLONE,
            env={
                **inherited,
                **ports,
                NODE_COUNT: str(NODES),
                "LOCKSTEP_STACK_HOME": str(self.folder),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def up(self) -> str:
        outcome = self.run("up")
        assert outcome.returncode == 0, f"{outcome.stdout}\n{outcome.stderr}"
        return outcome.stdout

    async def query(self, statement: str) -> object:
        connection = await asyncpg.connect(
            host="127.0.0.1",
            port=self.ports[POSTGRES.setting],
            user=DATABASE_USER,
            password=secrets.read(self.folder / "secrets", "database_password"),
            database=DATABASE_NAME,
        )
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    async def ready(self, name: str) -> bool:
        port = next(self.ports[one.health.setting] for one in services(NODES) if one.name == name)
        return await unready(f"http://127.0.0.1:{port}/health/ready") is None

    def supervisor_pid(self) -> int:
        return int((self.folder / "run" / "supervisord.pid").read_text("utf-8"))


@pytest.fixture
def native(folder: Path) -> Iterator[Native]:
    stack = Native(folder / "lockstep home")
    yield stack
    leftovers.end(leftovers.find(stack.folder), patience=20)


@pytest.mark.timeout(900)  # two whole starts
async def test_a_stack_lives_through_its_days(native: Native) -> None:
    first = await asyncio.to_thread(native.up)
    assert "Lockstep is ready." in first
    assert f"http://127.0.0.1:{native.ports['LOCKSTEP_WEB_PORT']}" in first
    await native.query("CREATE TABLE kept AS SELECT 42 AS value")

    assert "already up" in native.up()
    assert native.run("status").returncode == 0
    assert await native.ready("node-3")
    assert "runs already with 3 nodes, not 2" in native.run("up", **UNSAID).stderr
    assert "node-3" in native.run("status", **UNSAID).stdout
    assert "nothing here is called node-4" in native.run("stop", "node-4").stderr

    # What crashes comes back by itself; what was stopped stays stopped until it is started.
    native.run("kill", "web_app")
    await until(lambda: native.ready("web_app"), what="web_app is back")
    native.run("stop", "web_app", "postgres")
    assert not await native.ready("web_app")
    assert "not running" in native.run("status").stdout
    started = native.run("start", "postgres", "web_app")
    assert started.returncode == 0, started.stderr
    assert await native.ready("web_app")

    # The supervisor itself is killed: the next start ends what it left and begins anew, with the same data.
    os.kill(native.supervisor_pid(), signal.SIGKILL)
    again = await asyncio.to_thread(native.up)
    assert "whose supervisor is gone" in again
    assert await native.query("SELECT value FROM kept") == 42

    assert "stopped" in native.run("down", **UNSAID).stdout
    assert leftovers.find(native.folder) == []
    assert "nothing was running" in native.run("down").stdout

    assert "nobody is there to ask" in native.run("clean").stderr
    cleaned = native.run("clean", "--yes")
    assert cleaned.returncode == 0, cleaned.stderr
    assert leftovers.find(native.folder) == []
    assert [path.name for path in native.folder.iterdir()] == ["lock"]


def test_a_port_in_use_is_named_with_the_setting_that_moves_it(native: Native) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", native.ports["LOCKSTEP_NODE_2_WEBSOCKET_PORT"]))
        taken.listen()
        outcome = native.run("up")
    port = native.ports["LOCKSTEP_NODE_2_WEBSOCKET_PORT"]
    assert outcome.returncode == 1
    assert f"port {port} is in use by" in outcome.stderr
    assert f"LOCKSTEP_NODE_2_WEBSOCKET_PORT={port + 1000} make up" in outcome.stderr
    assert leftovers.find(native.folder) == []


def test_a_process_that_cannot_start_stops_everything_and_says_why(native: Native) -> None:
    outcome = native.run("up", LOCKSTEP_LOG_LEVEL="loud")
    assert outcome.returncode == 1
    assert "LOCKSTEP_LOG_LEVEL" in outcome.stderr
    assert leftovers.find(native.folder) == []
    assert "not running" in native.run("status").stderr
