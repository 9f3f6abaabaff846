"""The secrets of a stack, made on its first start and kept: files that only their owner can read."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


def make(folder: Path, key_id: str = "key-1") -> None:
    """Write what is missing of `database_password`, `service_token` and `signing_keys/<key_id>.pem` (Ed25519, PKCS 8).

    What is there already stays as it is.
    """
    keys = folder / "signing_keys"
    keys.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    keys.chmod(0o700)
    for name in ("database_password", "service_token"):
        _write_once(folder / name, secrets.token_urlsafe(32).encode() + b"\n")
    if not list(keys.glob("*.pem")):
        key = Ed25519PrivateKey.generate()
        _write_once(
            keys / f"{key_id}.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )


def read(folder: Path, name: str) -> str:
    """The stripped content of one secret. Raises OSError."""
    return (folder / name).read_text("utf-8").strip()


def _write_once(path: Path, content: bytes) -> None:
    if path.exists():
        return
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    unfinished.rename(path)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
