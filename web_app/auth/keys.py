"""The keys that sign tokens: private halves in files, public halves in PostgreSQL and from there in the directory.

`<kid>.pem` in the secrets folder holds an Ed25519 key (PKCS 8). What is in a file and not yet in PostgreSQL is
registered there; what is inactive in PostgreSQL neither signs nor verifies, whatever lies in files. So rotation is
two acts of an operator (`python -m web_app keys`): add a key, and later retire the old one. No process restarts.

The order is: the new key is published, everybody learns it, it signs, and only then may the old one be withdrawn. While
the relay is down nothing is published, and the old key goes on signing.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Final, NamedTuple

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from sqlalchemy import and_, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.tokens import Audience, Claims, InvalidToken, sign_token, verify_token
from services.database.outbox import enqueue_directory
from services.database.tables import OutboxRow, SigningKey, row_version
from services.runtime.settings import SettingsError
from web_app.database import AnyRow, Database
from web_app.problems import ApiError

KID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

SETTLING_S: Final = 10.0
"""How long a key that the relay has published waits, while there is an older one, for every reader to have it."""

TAKEOVER_S: Final = 5.0
"""How long after that every web app has looked, and signs with it: only now may the one before it be withdrawn."""

# The row is written with the key itself, and removed once the directory holds it.
_UNNOTED: Final = and_(
    SigningKey.active,
    SigningKey.published_at.is_(None),
    ~exists().where(OutboxRow.topic == "directory", OutboxRow.key == func.concat("key:", SigningKey.kid)),
)

log = structlog.get_logger()


class RegisteredKey(NamedTuple):
    """A row of signing_keys.

    `published_s`: for how long the directory has been known to hold it, by PostgreSQL's clock; None: not yet.
    `unnoted`: its outbox row is gone, and nobody has noted so far since when.
    """

    kid: str
    public: Ed25519PublicKey
    active: bool
    version: int
    created_at: dt.datetime
    published_s: float | None
    unnoted: bool


def load_private_keys(folder: Path) -> dict[str, Ed25519PrivateKey]:
    """By kid. Raises SettingsError naming the file that is no key of ours."""
    return {path.stem: _load(path) for path in sorted(folder.glob("*.pem"))}


def _load(path: Path) -> Ed25519PrivateKey:
    if not KID.fullmatch(path.stem):
        raise SettingsError(
            f"signing key {path}: the name must be letters, digits, '.', '_' or '-', at most 64"
        )
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise SettingsError(f"signing key {path}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"signing key {path}: not an unencrypted private key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"signing key {path}: not an Ed25519 key")
    return key


def public_pem(key: Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


class KeyRing:
    """What signs and what verifies, as of the last `refresh`; its owner calls that every few seconds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._registered: dict[str, RegisteredKey] = {}
        self._verifying: dict[str, Ed25519PublicKey] = {}
        self._signing: tuple[RegisteredKey, Ed25519PrivateKey] | None = None

    async def refresh(self, database: Database) -> None:
        """Register what is new in the folder, learn what is active.

        Raises ApiError database_unavailable, SettingsError for a broken file.
        """
        private = load_private_keys(self._folder)
        async with database.reading() as db:
            registered = await registered_keys(db)
        if missing := {kid: key for kid, key in private.items() if kid not in registered}:
            async with database.transaction() as db:
                await register(db, {kid: key.public_key() for kid, key in missing.items()})
                registered = await registered_keys(db)
        if any(key.unnoted for key in registered.values()):
            async with database.transaction() as db:
                await note_published(db)
                registered = await registered_keys(db)
        self._adopt(registered, private)

    def _adopt(self, registered: dict[str, RegisteredKey], private: dict[str, Ed25519PrivateKey]) -> None:
        self._registered = registered
        self._verifying = {kid: key.public for kid, key in registered.items() if key.active}
        usable = [
            key
            for kid, key in registered.items()
            if key.active
            and kid in private
            and public_pem(private[kid].public_key()) == public_pem(key.public)
        ]
        chosen = _chosen(usable)
        before = self._signing[0].kid if self._signing else None
        self._signing = (chosen, private[chosen.kid]) if chosen else None
        if before != (chosen.kid if chosen else None):
            log.info("signing key chosen", kid=chosen.kid if chosen else None, before=before)

    @property
    def signs_with(self) -> RegisteredKey:
        """Raises ApiError database_unavailable while no key is known, so that nobody takes it for their fault."""
        if self._signing is None:
            raise ApiError(
                "database_unavailable", "No active signing key is known at present.", retry_after_ms=1000
            )
        return self._signing[0]

    @property
    def can_sign(self) -> bool:
        return self._signing is not None

    def sign(self, audience: Audience, claims: Claims, *, now: int) -> str:
        """`now` in Unix seconds. Raises ApiError database_unavailable while no key is known."""
        key = self.signs_with
        assert self._signing is not None
        return sign_token(self._signing[1], key.kid, audience, claims, now=now)

    def verify(self, token: str, audience: Audience, *, now: float) -> Claims:
        """Raises ApiError unauthenticated."""
        try:
            return verify_token(token, audience, self._verifying, now=now)
        except InvalidToken as error:
            raise ApiError("unauthenticated", f"The token is not valid: {error}.") from error


def _chosen(usable: list[RegisteredKey]) -> RegisteredKey | None:
    """The newest that everybody knows; while there is none, the one that most will have heard of."""
    settled = [key for key in usable if key.published_s is not None and key.published_s >= SETTLING_S]
    if settled:
        return max(settled, key=lambda key: (key.created_at, key.kid))
    return min(usable, key=lambda key: (-(key.published_s or 0.0), key.created_at, key.kid), default=None)


async def registered_keys(db: AsyncConnection) -> dict[str, RegisteredKey]:
    rows = await db.execute(
        select(
            SigningKey.kid,
            SigningKey.public_key,
            SigningKey.active,
            SigningKey.version,
            SigningKey.created_at,
            func.extract("epoch", func.now() - SigningKey.published_at).label("published_s"),
            _UNNOTED.label("unnoted"),
        )
    )
    return {row.kid: _registered(row) for row in rows}


def _registered(row: AnyRow) -> RegisteredKey:
    public = load_pem_public_key(row.public_key.encode("ascii"))
    if not isinstance(public, Ed25519PublicKey):
        raise ValueError(f"the table signing_keys holds something else than an Ed25519 key under {row.kid!r}")
    published_s = None if row.published_s is None else float(row.published_s)
    return RegisteredKey(
        row.kid, public, row.active, row.version, row.created_at, published_s, bool(row.unnoted)
    )


async def note_published(db: AsyncConnection) -> None:
    """Give every key whose outbox row the relay has removed its time of publication."""
    await db.execute(update(SigningKey).where(_UNNOTED).values(published_at=func.now()))


async def has_other_in_use(db: AsyncConnection, kid: str) -> bool:
    """Whether another active key is known to everybody who verifies, and to everybody who signs."""
    known_s = func.extract("epoch", func.now() - SigningKey.published_at)
    others = select(SigningKey.kid).where(
        SigningKey.active, SigningKey.kid != kid, known_s >= SETTLING_S + TAKEOVER_S
    )
    return bool(await db.scalar(select(exists(others))))


async def register(db: AsyncConnection, keys: dict[str, Ed25519PublicKey]) -> list[str]:
    """Add public halves that are not there yet, and have them published; gives the kids that were new."""
    added = await db.execute(
        insert(SigningKey)
        .values(
            [
                {"kid": kid, "public_key": public_pem(key), "version": row_version.next_value()}
                for kid, key in keys.items()
            ]
        )
        .on_conflict_do_nothing()
        .returning(SigningKey.kid)
    )
    kids = sorted(row.kid for row in added)
    await enqueue_directory(db, [f"key:{kid}" for kid in kids])
    return kids


async def retire(db: AsyncConnection, kid: str) -> bool:
    """Mark a key inactive and have that published; False when there is no such active key.

    That its successor is known first is the caller's care (`has_other_in_use`): the outbox keeps the order, so that
    readers never lose the one before they have the other, but whoever signs with the old one until then does so in
    vain.
    """
    locked = await db.execute(select(SigningKey.active).where(SigningKey.kid == kid).with_for_update())
    row = locked.one_or_none()
    if row is None or not row.active:
        return False
    version = await db.scalar(select(row_version.next_value()))
    await db.execute(update(SigningKey).where(SigningKey.kid == kid).values(active=False, version=version))
    await enqueue_directory(db, [f"key:{kid}"])
    return True
