"""An event's JSON, brought down to what comparing needs: sources may write the same JSON with other bytes."""

from __future__ import annotations

import re
import zlib
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

UNREADABLE: Final = b'{"type":"unreadable"}'
"""What every reader shows of a value that is no JSON object with a `type`."""

DEEPEST: Final = 64
"""A body nested deeper than this is unreadable, for everybody alike."""

_CACHED: Final = 50_000
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


class Membership(NamedTuple):
    """What a `members.added` or `members.removed` event says. Of two, the higher version holds."""

    added: bool
    users: frozenset[str]
    version: int


class Body(NamedTuple):
    """`digest` of the canonical JSON; `text`: `text_of` a message's text, 0 for every other kind."""

    digest: int
    text: int
    membership: Membership | None


def text_of(text: str) -> int:
    """A message's text as one number, never 0."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) or 1


class Bodies:
    """Reads bodies, remembering the last ones, because every client shows the same."""

    def __init__(self) -> None:
        self._known: dict[bytes, Body] = {}
        self._encoder = msgspec.json.Encoder(order="deterministic")
        self._decoder = msgspec.json.Decoder()

    def read(self, value: bytes | None) -> Body:
        """Never raises: what cannot be read is `unreadable`, as the protocol has it."""
        key = UNREADABLE if value is None else value
        body = self._known.get(key)
        if body is None:
            if len(self._known) >= _CACHED:
                self._known.clear()
            body = self._known[key] = self._read(key)
        return body

    def _read(self, value: bytes) -> Body:
        try:
            value.decode("utf-8")
            content = None if _too_deep(value) else self._decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            content = None
        if not isinstance(content, dict) or not isinstance(content.get("type"), str):
            content = {"type": "unreadable"}
        canonical = self._encoder.encode(content)
        digest = int.from_bytes(blake2b(canonical, digest_size=8).digest(), "little")
        kind, text, users = content["type"], content.get("text"), content.get("user_ids")
        membership = None
        if kind in ("members.added", "members.removed") and isinstance(users, list):
            version = content.get("version")
            membership = Membership(
                kind == "members.added",
                frozenset(user for user in users if isinstance(user, str)),
                version if isinstance(version, int) else 0,
            )
        said = text_of(text) if kind == "message.posted" and isinstance(text, str) else 0
        return Body(digest, said, membership)


def _too_deep(value: bytes) -> bool:
    if value.count(b"[") + value.count(b"{") <= DEEPEST:
        return False
    depth = 0
    for byte in _STRING.sub(b"", value):
        if byte in b"[{":
            depth += 1
            if depth > DEEPEST:
                return True
        elif byte in b"]}":
            depth -= 1
    return False
