"""Who may connect: a realtime token, checked with what the directory knows, without asking anybody."""

from __future__ import annotations

from typing import NamedTuple

from channel_server.core.directory import Directory, User
from services.contract.tokens import Claims, InvalidToken, UnknownKey, verify_token


class Admitted(NamedTuple):
    claims: Claims
    user: User


class NotYet(NamedTuple):
    """The token is good as far as it can be judged, but builds on what this node has not heard; `key` of the directory
    may change that. Nothing final: the relay may be down for longer than anybody waits here."""

    key: str
    message: str


class Denied(NamedTuple):
    """`close` is a name in `contract.codes.CLOSES`."""

    close: str
    message: str


def admit(token: str, directory: Directory, wall_ms: int) -> Admitted | NotYet | Denied:
    """Judge a token. A key, a person or a reactivation may be ahead of the directory: `NotYet`.

    Final is only what no news can mend: a bad, expired or foreign token, a retired key, a session that has ended. An
    account's deactivation ends its sessions, so a token of a deactivated person whose session has not ended was made
    after a reactivation.
    """
    try:
        claims = verify_token(token, "realtime", directory.keys, now=wall_ms / 1000)
    except UnknownKey as error:
        if directory.knows_key(error.kid):
            return Denied("unauthenticated", "signed with a key that was retired")
        return NotYet(f"key:{error.kid}", "the key that signed the token has not arrived here yet")
    except InvalidToken as error:
        return Denied("unauthenticated", str(error))
    if directory.is_revoked(claims.session_id):
        return Denied("session_revoked", "this session has ended")
    if not directory.workspace(claims.workspace_id).active:
        return Denied("workspace_deleted", "this workspace was deleted")
    user = directory.users.get(claims.user_id)
    if user is None or user.version == 0:
        return NotYet(f"user:{claims.user_id}", "this person has not arrived here yet")
    if user.workspace_id != claims.workspace_id:
        return Denied("unauthenticated", "the token is for another workspace")
    if not user.active:
        return NotYet(f"user:{claims.user_id}", "this account is deactivated, as far as is known here")
    return Admitted(claims, user)
