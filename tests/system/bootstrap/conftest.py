"""Running `python -m services.bootstrap` as the process it is."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.stack.process import Process
from tests.stack.servers import Database

_numbers = itertools.count(1)

Bootstrap = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def bootstrap(folder: Path, secrets_dir: Path) -> Bootstrap:
    """`await bootstrap(kafka, database, *arguments, **environment)` gives (exit code, what it said)."""

    async def run(kafka: str, database: Database, *arguments: str, **environment: str) -> tuple[int, str]:
        process = Process(
            "bootstrap",
            [sys.executable, "-m", "services.bootstrap", *arguments],
            folder / f"bootstrap-{next(_numbers)}.log",
            environment={
                "LOCKSTEP_KAFKA": kafka,
                "LOCKSTEP_DATABASE_HOST": database.host,
                "LOCKSTEP_DATABASE_PORT": str(database.port),
                "LOCKSTEP_DATABASE_NAME": database.name,
                "LOCKSTEP_DATABASE_USER": database.user,
                "LOCKSTEP_SECRETS_DIR": str(secrets_dir),
                **{f"LOCKSTEP_{name.upper()}": value for name, value in environment.items()},
            },
        )
        process.spawn()
        try:
            return await process.wait(90), process.tail(100_000)
        finally:
            await process.destroy()

    return run
