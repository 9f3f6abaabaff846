"""The envelope: the few facts about a record that decide its number, kept apart from its body.

It travels in one Kafka header so that numbering never depends on understanding a body: a release that has never
heard of an event's kind numbers it like every other. The layout of version 1 is frozen; a new layout is a new
version, and a reader that meets a version it does not know must stop rather than count differently from others.

    header `lockstep` = b"1 <channel> <sender> <id> <stamped>"

The version comes first, fields are separated by one space, all ASCII; `stamped` is the appending node's clock
in Unix milliseconds, decimal.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

HEADER: Final = "lockstep"
VERSION: Final = b"1"

# One expression judges all fields: a record is either wholly well-formed or skipped by every reader alike.
_v1 = re.compile(
    r"1 (ch_[0-9a-f]{32}) (usr_[0-9a-f]{32})"
    r" (([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}) ([0-9]{1,15})"
).fullmatch


class MalformedEnvelope(ValueError):
    """The record has no envelope, several, or one that breaks the layout of its version: skip and count it."""


class UnknownEnvelopeVersion(ValueError):
    """The envelope's version is not one this release can count by: the reader must stop."""


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What the sequencer reads of a record. `stamped` and `born` are Unix milliseconds."""

    channel: str
    sender: str
    id: str
    stamped: int
    born: int


def encode_envelope(channel: str, sender: str, id: str, stamped: int) -> tuple[str, bytes]:
    """The Kafka header for one record."""
    return HEADER, f"1 {channel} {sender} {id} {stamped}".encode("ascii")


def decode_envelope(headers: Iterable[tuple[str, bytes | None]]) -> Envelope:
    """Read the envelope among a record's headers; other headers are ignored.

    Raises MalformedEnvelope or UnknownEnvelopeVersion.
    """
    value: bytes | None = None
    for key, content in headers:
        if key == HEADER:
            if value is not None:
                raise MalformedEnvelope("more than one envelope")
            value = content or b""
    if value is None:
        raise MalformedEnvelope("no envelope")
    # Latin-1 has a character for every byte; the expression knows none but ASCII's.
    match = _v1(value.decode("latin-1"))
    if match is None:
        version, _, _ = value.partition(b" ")
        if version.isdigit() and version != VERSION:
            raise UnknownEnvelopeVersion(f"envelope version {version.decode('ascii')}")
        raise MalformedEnvelope(f"not an envelope of version 1: {value[:200]!r}")
    channel, sender, id, born, born_rest, stamped = match.groups()
    return Envelope(channel, sender, id, int(stamped), int(born + born_rest, 16))


def partition_of(channel: str, partitions: int) -> int:
    """The one partition that holds a channel's events: CRC-32 of its id modulo the epoch's partition count."""
    return zlib.crc32(channel.encode("ascii")) % partitions


def digest_of(value: bytes | None) -> int:
    """Tells a retry (same body) from a reused id (another body) without keeping bodies: CRC-32 of the value."""
    return zlib.crc32(value or b"")


Headers = Sequence[tuple[str, bytes]]
