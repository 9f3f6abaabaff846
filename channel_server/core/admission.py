"""Who may connect: a realtime token, checked with what the directory knows, without asking anybody."""

from __future__ import annotations

from typing import NamedTuple

from channel_server.core.directory import Directory, User
from services.contract.tokens import Claims, InvalidToken, UnknownKey, verify_token


class Admitted(NamedTuple):
    claims: Claims
    user: User


class NotYet(NamedTuple):
    """Refused as things stand; `key` of the directory may change that. What to say when it does not comes along."""

    key: str
    denied: Denied


class Denied(NamedTuple):
    """`close` is a name in `contract.codes.CLOSES`."""

    close: str
    message: str


def admit(token: str, directory: Directory, wall_ms: int) -> Admitted | NotYet | Denied:
    """Judge a token. A key, a person or a reactivation may be a moment ahead of the directory: `NotYet`."""
    try:
        claims = verify_token(token, "realtime", directory.keys, now=wall_ms / 1000)
    except UnknownKey as error:
        return NotYet(f"key:{error.kid}", Denied("unauthenticated", str(error)))
    except InvalidToken as error:
        return Denied("unauthenticated", str(error))
    if directory.is_revoked(claims.session_id):
        return Denied("session_revoked", "this session has ended")
    user = directory.users.get(claims.user_id)
    if user is None or user.version == 0:
        return NotYet(f"user:{claims.user_id}", Denied("unauthenticated", "nobody here has this id"))
    if user.workspace_id != claims.workspace_id:
        return Denied("unauthenticated", "the token is for another workspace")
    if not user.active:
        return NotYet(f"user:{claims.user_id}", Denied("deactivated", "this account is deactivated"))
    return Admitted(claims, user)
