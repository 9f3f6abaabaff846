"""The header `mentions`: the people whom the posting node found behind `<!here>` and groups.

It travels beside the value and not in it, because who is active changes from one copy of a message to the next, and
the value's digest is what tells a copy from another message. Whom the text itself names is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from services.contract.events import UserId

HEADER: Final = "mentions"

MAX_MENTIONS: Final = 1_000

_decoder: msgspec.json.Decoder[tuple[str, ...]] = msgspec.json.Decoder(
    Annotated[tuple[UserId, ...], Meta(max_length=MAX_MENTIONS)]
)


def encode_mentions(user_ids: Sequence[str]) -> tuple[str, bytes]:
    """The Kafka header for one record: a JSON array."""
    return HEADER, msgspec.json.encode(list(user_ids))


def decode_mentions(headers: Iterable[tuple[str, bytes | None]]) -> tuple[str, ...]:
    """Whom a record's headers mention. Nobody, when there is no such header or one that is not well-formed."""
    for key, content in headers:
        if key == HEADER:
            try:
                return _decoder.decode(content or b"")
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return ()
    return ()
