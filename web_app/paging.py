"""Lists in pages: a bounded `limit`, and a cursor that is opaque to clients and checked when it comes back."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Final, TypeVar

from fastapi import Query
from pydantic import ConfigDict, Field

from services.contract.ids import Prefix
from web_app.fields import Body, Listing, Reply
from web_app.problems import invalid_field

MAX_LIMIT: Final = 200
DEFAULT_LIMIT: Final = 50

_CURSOR: Final = re.compile(r"(ws|usr|ch|ses|inv|grp|aud|sch)_[0-9a-f]{32}")

Row = TypeVar("Row")
Item = TypeVar("Item", bound=Reply)


class Page(Body):
    """`cursor`: the `next_cursor` of the page before."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="How many items at most.")] = DEFAULT_LIMIT
    cursor: Annotated[
        str | None, Field(max_length=100, description="The `next_cursor` of the page before.")
    ] = None

    model_config = ConfigDict(extra="forbid")

    def after(self, prefix: Prefix) -> str:
        """The id that this page starts behind; the empty string (less than every id) for the first page.

        Raises ApiError invalid_request for a cursor that no page of this list gave.
        """
        return "" if self.cursor is None else decode_cursor(self.cursor, prefix)


PageQuery = Annotated[Page, Query()]


def encode_cursor(last_id: str) -> str:
    return base64.urlsafe_b64encode(last_id.encode("ascii")).decode("ascii").rstrip("=")


def decode_cursor(cursor: str, prefix: Prefix) -> str:
    """Raises ApiError invalid_request."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        last_id = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, UnicodeError) as error:
        raise invalid_field("query.cursor", "not a cursor of this list") from error
    if not _CURSOR.fullmatch(last_id) or not last_id.startswith(prefix + "_"):
        raise invalid_field("query.cursor", "not a cursor of this list")
    return last_id


def encode_name(name: str) -> str:
    """A cursor of a list in the order of names."""
    return base64.urlsafe_b64encode(name.encode()).decode("ascii").rstrip("=")


def decode_name(cursor: str) -> str:
    """Raises ApiError invalid_request."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        name = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise invalid_field("query.cursor", "not a cursor of this list") from error
    if "\0" in name:
        raise invalid_field("query.cursor", "not a cursor of this list")
    return name


def listing(
    rows: Sequence[Row], limit: int, id_of: Callable[[Row], str], item_of: Callable[[Row], Item]
) -> Listing[Item]:
    """A page from up to `limit` + 1 rows in the order of their ids: the one too many says that there is more."""
    shown = rows[:limit]
    more = len(rows) > limit
    return Listing(
        items=[item_of(row) for row in shown], next_cursor=encode_cursor(id_of(shown[-1])) if more else None
    )
