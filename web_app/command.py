"""`python -m web_app [run | openapi | permissions | keys list | keys add [KID] | keys retire [--at-once] KID]`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.ids import uuid7
from services.runtime import logs
from services.runtime.process import EXIT_SETTINGS, run
from services.runtime.settings import DatabaseSettings, LogSettings, SettingsError, load
from web_app import permissions
from web_app.auth import keys
from web_app.database import Database
from web_app.main import build_api, serve
from web_app.problems import ApiError
from web_app.settings import WebSettings

EXIT_REFUSED = 1


class KeySettings(LogSettings, DatabaseSettings):
    """What the commands about keys need."""

    @property
    def signing_keys(self) -> Path:
        return self.secrets_dir / "signing_keys"


def main(arguments: Sequence[str] | None = None) -> int:
    """Gives the exit code: 0; 1 when a command could not be done; 78 for wrong settings."""
    parser = argparse.ArgumentParser(prog="python -m web_app", description="Lockstep's web app.")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("run", help="serve (the default)")
    commands.add_parser("openapi", help="print the description of the REST API")
    commands.add_parser("permissions", help="print who may do what, as docs/permissions.md has it")
    key_commands = commands.add_parser("keys", help="the keys that sign tokens").add_subparsers(
        dest="key_command", required=True
    )
    key_commands.add_parser("list", help="what is registered, and what lies in the secrets folder")
    add = key_commands.add_parser("add", help="make a new key; it signs once everybody has heard of it")
    add.add_argument("kid", nargs="?", help="its name; made up when not given")
    retire = key_commands.add_parser("retire", help="make a key worthless: tokens that it signed end with it")
    retire.add_argument("kid")
    retire.add_argument(
        "--at-once",
        action="store_true",
        help="also while no other key is in use everywhere: for a key that somebody else has",
    )
    chosen = parser.parse_args(arguments)
    if chosen.command == "openapi":
        print(json.dumps(build_api().openapi(), indent=2, ensure_ascii=False))
        return 0
    if chosen.command == "permissions":
        print(permissions.page(), end="")
        return 0
    if chosen.command == "keys":
        return _keys(chosen)
    return run("web_app", WebSettings, serve)


def _keys(chosen: argparse.Namespace) -> int:
    try:
        settings = load(KeySettings)
        logs.configure("web_app", settings)
        if chosen.key_command == "list":
            return asyncio.run(_in_transaction(settings, lambda db: _list(settings, db)))
        if chosen.key_command == "add":
            return _add(settings, chosen.kid or f"key-{uuid7().hex[:12]}")
        return asyncio.run(_in_transaction(settings, lambda db: _retire(db, chosen.kid, chosen.at_once)))
    except SettingsError as error:
        print(f"web_app keys: {error}", file=sys.stderr)
        return EXIT_SETTINGS
    except ApiError as error:
        print(f"web_app keys: {error.detail}", file=sys.stderr)
        return EXIT_REFUSED


async def _in_transaction(settings: KeySettings, command: Callable[[AsyncConnection], Awaitable[int]]) -> int:
    database = Database(settings, "web_app keys", pool_size=1)
    try:
        async with database.transaction() as db:
            return await command(db)
    finally:
        await database.close()


async def _list(settings: KeySettings, db: AsyncConnection) -> int:
    private = keys.load_private_keys(settings.signing_keys)
    registered = await keys.registered_keys(db)
    for kid in sorted(registered.keys() | private.keys()):
        row = registered.get(kid)
        state = _state(row)
        since = "" if row is None else row.created_at.isoformat(timespec="seconds")
        print(f"{kid:40} {state:20} {'private half here' if kid in private else '':20} {since}")
    return 0


def _state(row: keys.RegisteredKey | None) -> str:
    if row is None:
        return "not registered yet"
    if not row.active:
        return "retired"
    return "active" if row.published_s is not None else "active, unpublished"


def _add(settings: KeySettings, kid: str) -> int:
    if not keys.KID.fullmatch(kid):
        raise SettingsError(f"{kid!r}: a key's name is letters, digits, '.', '_' or '-', at most 64")
    path = settings.signing_keys / f"{kid}.pem"
    private = Ed25519PrivateKey.generate()
    try:
        settings.signing_keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    except FileExistsError as error:
        raise SettingsError(f"{path} is there already") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from error
    print(f"{path}: made. Every web_app that finds this file takes the key over by itself.")
    return 0


async def _retire(db: AsyncConnection, kid: str, at_once: bool) -> int:
    registered = (await keys.registered_keys(db)).get(kid)
    if registered is None or not registered.active:
        print(f"web_app keys: there is no active key {kid!r}", file=sys.stderr)
        return EXIT_REFUSED
    if not at_once and not await keys.has_other_in_use(db, kid):
        print(
            f"web_app keys: no other key has been published and in use for {keys.SETTLING_S + keys.TAKEOVER_S:.0f} s:"
            f" add one, or wait (`keys list`); --at-once if {kid!r} must not be trusted any longer",
            file=sys.stderr,
        )
        return EXIT_REFUSED
    await keys.retire(db, kid)  # False: another command was faster
    print(f"{kid}: retired. Tokens that it signed are refused from now on; {kid}.pem can be deleted.")
    return 0
