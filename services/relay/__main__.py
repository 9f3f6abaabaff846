"""`python -m services.relay [--only directory|events]`: the outbox into the log."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from functools import partial

from services.relay.worker import HALVES, Relay
from services.runtime.admin import serving_admin
from services.runtime.process import run, until_stopped
from services.runtime.settings import AdminSettings, DatabaseSettings, KafkaSettings, LogSettings


class RelaySettings(LogSettings, KafkaSettings, DatabaseSettings, AdminSettings):
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Gives the exit code of runtime.process.run."""
    parser = argparse.ArgumentParser(prog="python -m services.relay", description=__doc__)
    parser.add_argument(
        "--only", choices=sorted(HALVES), help="work on one half and leave the other to another process"
    )
    only = parser.parse_args(arguments).only
    return run("relay", RelaySettings, partial(_main, [only] if only else sorted(HALVES)))


async def _main(halves: Sequence[str], settings: RelaySettings, stop: asyncio.Event) -> None:
    await until_stopped(_relay(halves, settings), stop)


async def _relay(halves: Sequence[str], settings: RelaySettings) -> None:
    relay = Relay(settings, settings.kafka, halves)
    async with serving_admin(relay.ready, settings.admin_host, settings.admin_port):
        await relay.run()


if __name__ == "__main__":
    sys.exit(main())
