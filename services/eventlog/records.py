"""A record of `events.<epoch>`, as folding readers see it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from services.contract.envelope import (
    Envelope,
    MalformedEnvelope,
    decode_envelope,
    digest_of,
    partition_of,
)
from services.contract.mentions import decode_mentions


class LogRecord(msgspec.Struct, frozen=True, gc=False):
    """One record of a partition.

    appended    the broker's append time, Unix milliseconds
    envelope    None when it is malformed or stands in a partition that is not its channel's: every reader skips
                and counts the record
    digest      `contract.envelope.digest_of` the value
    mentions    the people that the header `mentions` names
    """

    partition: int
    offset: int
    appended: int
    envelope: Envelope | None
    value: bytes | None
    digest: int
    mentions: tuple[str, ...] = ()


def read_record(
    partition: int,
    partitions: int,
    offset: int,
    appended: int,
    headers: Sequence[tuple[str, bytes | None]],
    value: bytes | None,
) -> LogRecord:
    """Decode what Kafka gave for one record of a topic of `partitions` partitions.

    Raises `contract.envelope.UnknownEnvelopeVersion`: the process must end with `runtime.process.Fatal`, because
    going on would count differently from a newer release.
    """
    envelope: Envelope | None
    try:
        envelope = decode_envelope(headers)
    except MalformedEnvelope:
        envelope = None
    else:
        if partition_of(envelope.channel, partitions) != partition:
            envelope = None
    mentions = decode_mentions(headers) if len(headers) > 1 else ()
    return LogRecord(partition, offset, appended, envelope, value, digest_of(value), mentions)
