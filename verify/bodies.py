"""An event's JSON, brought down to what comparing needs: sources may write the same JSON with other bytes."""

from __future__ import annotations

import re
import zlib
from hashlib import blake2b
from typing import Any, Final, NamedTuple

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
    """What comparing needs of a body.

    digest      of the canonical JSON; its upper bits (`outline`) are of what a redaction leaves
    text        `text_of` a message's text, 0 for every other kind
    redacts     of `message.redacted`: the number of the message that was deleted, 0 for the event's own; None for others
    deletes     of `message.deleted`: the number of the message; 0 for others
    """

    digest: int
    text: int
    membership: Membership | None
    redacts: int | None = None
    deletes: int = 0


_OUTLINE_BITS: Final = 24
_CONTENT_BITS: Final = 40


def outline(digest: int) -> int:
    """Equal for a message or an edit and for what its redaction leaves of it."""
    return digest >> _CONTENT_BITS


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
        left = self._encoder.encode(_left_by_redaction(content))
        digest = _hash(left, _OUTLINE_BITS) << _CONTENT_BITS | _hash(canonical, _CONTENT_BITS)
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
        target = content.get("target")
        number = target if isinstance(target, int) and target > 0 else 0
        return Body(
            digest,
            said,
            membership,
            number if kind == "message.redacted" else None,
            number if kind == "message.deleted" else 0,
        )


def _left_by_redaction(content: dict[str, Any]) -> dict[str, Any]:
    """docs/messages.md: where a message was or which one was edited, and nothing of what was said."""
    kind = content["type"]
    left: dict[str, Any] = content
    if kind == "message.redacted":
        left = {key: content[key] for key in ("was", "thread", "also_to_channel", "target") if key in content}
    elif kind == "message.posted":
        left = {"was": kind} | {
            key: content[key] for key in ("thread", "also_to_channel") if content.get(key)
        }
    elif kind == "message.edited":
        left = {"was": kind, "target": content.get("target")}
    return left


def _hash(value: bytes, bits: int) -> int:
    return int.from_bytes(blake2b(value, digest_size=bits // 8).digest(), "little")


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
