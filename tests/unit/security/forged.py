"""Tokens that must not be taken, made by somebody who knows everything but the private key, or who has a real token."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any, Final, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.contract.tokens import Audience, Claims

STRANGE_KIDS: Final = (
    "", "../key-1", "../../../../../../dev/null", "/dev/null", "/etc/passwd", "key-1.pem", "KEY-1", "key-1\x00",
    "key-1/../key-1", "signing_keys/key-1", "file:///dev/null", "' or '1'='1", "key:key-1", "*", "k" * 2000,
)  # fmt: skip
"""Names of keys that lead somewhere else where a key is looked up by a path, a query or a pattern."""


class Real(NamedTuple):
    """What a good token is made of."""

    key: Ed25519PrivateKey
    kid: str
    audience: Audience
    claims: Claims
    now: int

    @property
    def payload(self) -> dict[str, Any]:
        user, workspace, session, expires = self.claims
        return {
            "iss": "lockstep", "aud": self.audience, "sub": user, "ws": workspace, "sid": session,
            "iat": self.now, "exp": expires,
        }  # fmt: skip

    def signed(self, **changes: object) -> str:
        """With our own key, these claims changed; those that are None left out."""
        payload = {name: value for name, value in (self.payload | changes).items() if value is not None}
        return jwt.encode(payload, self.key, algorithm="EdDSA", headers={"kid": self.kid})


def forged(real: Real) -> dict[str, str]:
    """By a name for each: tampered, confused, and signed by others."""
    good = real.signed()
    head, body, signature = good.split(".")
    other = Ed25519PrivateKey.generate()
    richer = part(real.payload | {"sub": "usr_" + "0" * 32})
    tokens = {
        "claims changed": f"{head}.{richer}.{signature}",
        "lives longer": f"{head}.{part(real.payload | {'exp': real.claims.expires + 1})}.{signature}",
        "signature left out": f"{head}.{body}.",
        "two parts": f"{head}.{body}",
        "four parts": f"{good}.{signature}",
        "signature cut": f"{head}.{body}.{signature[:-8]}",
        "signature of zeros": f"{head}.{body}.{'A' * 86}",
        "signature of nothing's order": f"{head}.{body}.{encoded(bytes([1]) + bytes(63))}",
        "another key under our name": encode(real, other, real.kid),
        "with a key of its own": encode(real, other, real.kid, jwk=_jwk(other)),
        "with an address of keys": encode(real, other, real.kid, jku="http://127.0.0.1/keys.json"),
        "with a certificate's address": encode(real, other, real.kid, x5u="http://127.0.0.1/x.pem"),
        "no key named": jwt.encode(real.payload, other, algorithm="EdDSA"),
        "a number for a key's name": f"{part({'alg': 'EdDSA', 'kid': 1})}.{body}.{signature}",
        "a list for a key's name": f"{part({'alg': 'EdDSA', 'kid': [real.kid]})}.{body}.{signature}",
        "no algorithm": f"{part({'kid': real.kid})}.{body}.{signature}",
        "several algorithms": f"{part({'alg': ['EdDSA', 'none'], 'kid': real.kid})}.{body}.{signature}",
        "what is no object": f"{encoded(b'[]')}.{body}.{signature}",
        "nested deeply": f"{encoded(b'[' * 2000)}.{body}.{signature}",
        "header given twice": f"{encoded(_twice(real.kid))}.{body}.",
        "expired": real.signed(exp=real.now - 3600),
        "never expires": real.signed(exp=None),
        "expires in words": real.signed(exp="never"),
        "for the other audience": real.signed(aud="access" if real.audience == "realtime" else "realtime"),
        "for no audience": real.signed(aud=None),
        "by another issuer": real.signed(iss="lockstep.example"),
        "by no issuer": real.signed(iss=None),
    }
    for name in ("none", "None", "NONE", "nOnE", ""):
        for tail in ("", signature):
            unsigned = part({"alg": name, "typ": "JWT", "kid": real.kid})
            tokens[f"algorithm {name!r}, {'signed' if tail else 'bare'}"] = f"{unsigned}.{body}.{tail}"
    for name, secret in _public_forms(real.key).items():
        for algorithm in ("HS256", "HS384", "HS512"):
            tokens[f"{algorithm} with the public key as {name}"] = hmac_signed(
                real, real.kid, algorithm, secret
            )
    return tokens


def strangely_named(real: Real) -> dict[str, str]:
    """Signed by a key of the forger's, or by an empty secret, under names that lead elsewhere."""
    other = Ed25519PrivateKey.generate()
    return {
        **{f"EdDSA, {kid[:40]!r}": encode(real, other, kid) for kid in STRANGE_KIDS},
        **{f"HS256, {kid[:40]!r}": hmac_signed(real, kid, "HS256", b"") for kid in STRANGE_KIDS},
    }


def encode(real: Real, key: Ed25519PrivateKey, kid: str, **header: object) -> str:
    return jwt.encode(real.payload, key, algorithm="EdDSA", headers={"kid": kid, **header})


def hmac_signed(real: Real, kid: str, algorithm: str, secret: bytes) -> str:
    """By hand: PyJWT itself refuses to sign so."""
    signed = f"{part({'alg': algorithm, 'typ': 'JWT', 'kid': kid})}.{part(real.payload)}"
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[algorithm]
    return f"{signed}.{encoded(hmac.new(secret, signed.encode(), digest).digest())}"


def part(content: dict[str, Any]) -> str:
    return encoded(json.dumps(content).encode())


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _public_forms(key: Ed25519PrivateKey) -> dict[str, bytes]:
    public = key.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {
        "PEM": pem,
        "PEM without its last line break": pem.strip(),
        "DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "bytes": public.public_bytes_raw(),
    }


def _jwk(key: Ed25519PrivateKey) -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "x": encoded(key.public_key().public_bytes_raw())}


def _twice(kid: str) -> bytes:
    return f'{{"alg":"none","kid":"{kid}","alg":"EdDSA"}}'.encode()
