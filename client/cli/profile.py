"""What the command remembers between two calls: one folder a profile, readable by its owner alone.

`$XDG_CONFIG_HOME/lockstep/<profile>/` (by default under ~/.config) holds `login.json` (address, tokens, who one is),
`realtime.json` (the token for the channel servers) and `names.json` (names of channels and people as last seen). With
the latter two `chat`, `tail` and `send` work while the web app is away.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from client.cli.errors import CommandFailed
from client.realtime import Realtime
from client.records import User, Workspace
from client.tokens import Tokens

T = TypeVar("T", bound=msgspec.Struct)

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """A login."""

    url: str
    tokens: Tokens
    user: User
    workspace: Workspace


class Names(msgspec.Struct, kw_only=True):
    """`channels`: name as typed, without `#`, to id. `people`: user id to name."""

    channels: dict[str, str] = {}
    people: dict[str, str] = {}


class Profile:
    """One profile's files. Also the `TokenStore` of its login, safe between several commands at the same time.

    Raises CommandFailed when the folder cannot be read or written.
    """

    def __init__(self, name: str, root: Path | None = None) -> None:
        if not _NAME.fullmatch(name):
            raise CommandFailed(f"{name!r} is no name for a profile: letters, digits, `-`, `_` and `.` only.")
        self.name = name
        self.folder = (root or _root()) / name

    def saved(self) -> Saved | None:
        return self._read("login.json", Saved)

    def log_in(self, saved: Saved) -> None:
        """Keep a new login, and forget all that belonged to the one before."""
        self.log_out()
        self._write("login.json", saved)

    def log_out(self) -> None:
        try:
            shutil.rmtree(self.folder, ignore_errors=False)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise CommandFailed(f"Cannot remove {self.folder}: {error.strerror}.") from error

    @property
    def names(self) -> Names:
        return self._read("names.json", Names) or Names()

    @names.setter
    def names(self, names: Names) -> None:
        self._write("names.json", names)

    @property
    def realtime(self) -> Realtime | None:
        return self._read("realtime.json", Realtime)

    def keep_realtime(self, realtime: Realtime) -> None:
        self._write("realtime.json", realtime)

    # --- client.tokens.TokenStore -----------------------------------------------------------------------------

    def load(self) -> Tokens | None:
        saved = self.saved()
        return None if saved is None else saved.tokens

    def save(self, tokens: Tokens | None) -> None:
        saved = self.saved()
        if tokens is None:
            self.log_out()
        elif saved is not None:
            self._write("login.json", msgspec.structs.replace(saved, tokens=tokens))

    @contextlib.asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """A file lock: a refresh token works once, and another command may be about to use it too."""
        self._make_folder()
        with (self.folder / "lock").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await asyncio.sleep(0.05)
            yield

    # --- files ------------------------------------------------------------------------------------------------

    def _read(self, name: str, kind: type[T]) -> T | None:
        path = self.folder / name
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CommandFailed(f"Cannot read {path}: {error.strerror}.") from error
        except msgspec.DecodeError as error:
            raise CommandFailed(f"{path} is damaged ({error}); `lockstep login` makes a new one.") from error

    def _write(self, name: str, content: msgspec.Struct) -> None:
        self._make_folder()
        try:
            # Made with 0600 and moved into place, so that nobody ever reads half a file, or somebody else's.
            handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=f".{name}-")
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(content))
            os.replace(temporary, self.folder / name)
        except OSError as error:
            raise CommandFailed(f"Cannot write to {self.folder}: {error.strerror}.") from error

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CommandFailed(f"Cannot make {self.folder}: {error.strerror}.") from error


def _root() -> Path:
    configured = os.environ.get("XDG_CONFIG_HOME")
    return (Path(configured) if configured else Path.home() / ".config") / "lockstep"
