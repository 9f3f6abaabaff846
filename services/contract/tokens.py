"""Tokens: EdDSA (Ed25519) JWTs, checked offline. What they claim, and the one way to make and to read them.

Two audiences that never stand in for each other: `access` (REST, minutes) and `realtime` (channel servers, 24 h,
so that clients reconnect while web_app is away). The algorithm is pinned, never taken from the token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

Audience = Literal["access", "realtime"]

ISSUER: Final = "lockstep"
ALGORITHM: Final = "EdDSA"
LEEWAY_S: Final = 5

MAX_LIFETIME_S: Final = 24 * 3600
"""No token of either audience is ever valid for longer; a session's revocation is remembered for as long."""


class InvalidToken(ValueError):
    """The token is malformed, not ours, for another audience, expired, or signed with an unknown key."""


class UnknownKey(InvalidToken):
    """The token names a key, `kid`, that is not among those given: they may be behind. But for that it may be good."""

    def __init__(self, kid: str) -> None:
        super().__init__("signed with an unknown key")
        self.kid = kid


class Claims(NamedTuple):
    """Who a token speaks for. `expires` in Unix seconds."""

    user_id: str
    workspace_id: str
    session_id: str
    expires: int


def sign_token(key: Ed25519PrivateKey, kid: str, audience: Audience, claims: Claims, *, now: int) -> str:
    """`now` in Unix seconds."""
    payload = {
        "iss": ISSUER,
        "aud": audience,
        "sub": claims.user_id,
        "ws": claims.workspace_id,
        "sid": claims.session_id,
        "iat": now,
        "exp": claims.expires,
    }
    return jwt.encode(payload, key, algorithm=ALGORITHM, headers={"kid": kid})


def verify_token(
    token: str, audience: Audience, keys: Mapping[str, Ed25519PublicKey], *, now: float
) -> Claims:
    """Check signature, audience, issuer and time. `now` in Unix seconds.

    Raises InvalidToken, saying why: UnknownKey when nothing but the key is lacking.
    """
    try:
        header = jwt.get_unverified_header(token)
        kid = header.get("kid")
        if not isinstance(kid, str):
            raise InvalidToken("names no key")
        if header.get("alg") != ALGORITHM:
            raise InvalidToken("signed with another algorithm")
        key = keys.get(kid)
        payload = jwt.decode(
            token,
            key or "",
            algorithms=[ALGORITHM],
            audience=audience,
            issuer=ISSUER,
            options={
                "verify_signature": key is not None,
                "verify_aud": True,
                "verify_iss": True,
                "require": ["exp", "iat", "sub", "aud", "iss"],
                # judged below, by the clock that was passed in
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
        claims = Claims(payload["sub"], payload["ws"], payload["sid"], payload["exp"])
    except (jwt.PyJWTError, KeyError, UnicodeError) as error:
        raise InvalidToken(str(error) or type(error).__name__) from error
    if not (
        isinstance(claims.expires, int)
        and all(isinstance(field, str) for field in (claims.user_id, claims.workspace_id, claims.session_id))
    ):
        raise InvalidToken("claims of the wrong type")
    if claims.expires + LEEWAY_S < now:
        raise InvalidToken("expired")
    if key is None:
        raise UnknownKey(kid)
    return claims
