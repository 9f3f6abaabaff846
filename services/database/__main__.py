"""`python -m services.database upgrade|downgrade|current|revision`: the schema, from the command line."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from services.database.engine import is_unavailable
from services.database.migrate import current_revision, downgrade, migrate, write_revision
from services.runtime import logs
from services.runtime.process import EXIT_SETTINGS
from services.runtime.settings import DatabaseSettings, LogSettings, SettingsError, load

EXIT_UNAVAILABLE = 69
"""sysexits' EX_UNAVAILABLE: the database cannot be reached; trying again may help."""


class SchemaSettings(LogSettings, DatabaseSettings):
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Gives the exit code: 0, 69 (database not reachable) or 78 (settings)."""
    parser = argparse.ArgumentParser(prog="python -m services.database", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("upgrade", help="bring the schema up to a revision")
    up.add_argument("revision", nargs="?", default="head")
    down = commands.add_parser("downgrade", help="bring the schema down to a revision; newer data is lost")
    down.add_argument("revision", help="a revision, '-1' for one step back, or 'base'")
    commands.add_parser("current", help="print the schema's revision")
    new = commands.add_parser(
        "revision", help="write a new revision: services.database.tables against this database"
    )
    new.add_argument("message")
    chosen = parser.parse_args(arguments)
    try:
        settings = load(SchemaSettings)
        logs.configure("database", settings)
        asyncio.run(_run(chosen, settings))
    except SettingsError as error:
        print(f"database: {error}", file=sys.stderr)
        return EXIT_SETTINGS
    except Exception as error:
        if not is_unavailable(error):
            raise
        print(f"database: cannot be reached: {error}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    return 0


async def _run(chosen: argparse.Namespace, settings: SchemaSettings) -> None:
    match chosen.command:
        case "upgrade":
            await migrate(settings, chosen.revision)
        case "downgrade":
            await downgrade(settings, chosen.revision)
        case "revision":
            await write_revision(settings, chosen.message)
        case _:
            print(await current_revision(settings) or "none")


if __name__ == "__main__":
    sys.exit(main())
