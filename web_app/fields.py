"""The kinds of fields that requests and replies are made of."""

from __future__ import annotations

import datetime as dt
import functools
import zoneinfo
from typing import Annotated, Any, Final, Generic, TypeVar
from urllib.parse import urlsplit

from email_validator import EmailNotValidError, validate_email
from fastapi import Path
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, SecretStr

MAX_SEQ: Final = (1 << 53) - 1
"""The largest integer that every JSON reader keeps exact (RFC 8259, section 6)."""

# PostgreSQL's text cannot hold U+0000; lone surrogates are refused by pydantic's str itself.
STORABLE: Final = r"^[^\x00]*$"
PRINTABLE: Final = r"^[^\x00-\x1f\x7f\u0085\u2028\u2029]*$"


def _trimmed(text: str) -> str:
    stripped = text.strip()
    if not stripped:
        raise ValueError("must hold something that can be seen")
    return stripped


def _unicode(secret: SecretStr) -> SecretStr:
    # Unlike str, SecretStr lets halves of surrogate pairs through, which have no bytes to be hashed.
    if any("\ud800" <= character <= "\udfff" for character in secret.get_secret_value()):
        raise ValueError("must be Unicode text, without halves of surrogate pairs")
    return secret


def _email(text: str) -> str:
    # `test_environment`: addresses under `.test`, which is reserved for try-outs (RFC 6761), are taken.
    try:
        return validate_email(text, check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError as error:
        raise ValueError(str(error)) from error


def _avatar(text: str) -> str:
    if not text:
        return text
    try:
        parsed = urlsplit(text)
        odd = parsed.port == 0 or parsed.username is not None or parsed.password is not None
    except ValueError as error:
        raise ValueError("is not an address") from error
    if parsed.scheme != "https" or not parsed.hostname or odd:
        raise ValueError("must be an https address without a user name")
    return text


def _time_zone(text: str) -> str:
    if text not in available_time_zones():
        raise ValueError("is no name of the IANA time zone database, such as Europe/London")
    return text


@functools.cache
def available_time_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _moment(moment: dt.datetime) -> dt.datetime:
    if not 2000 <= moment.year <= 2999:
        raise ValueError("must lie between the years 2000 and 2999")
    return moment.astimezone(dt.UTC)


Name = Annotated[str, Field(min_length=1, max_length=80, pattern=PRINTABLE), AfterValidator(_trimmed)]
Topic = Annotated[str, Field(max_length=500, pattern=STORABLE)]
AvatarUrl = Annotated[str, Field(max_length=500, pattern=r"^[\x21-\x7e]*$"), AfterValidator(_avatar)]
"""An https address, or empty; nobody but clients ever fetches it."""
TimeZone = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$"), AfterValidator(_time_zone)]
Moment = Annotated[AwareDatetime, AfterValidator(_moment), Field(json_schema_extra={"maxLength": 40})]
Device = Annotated[str, Field(max_length=100, pattern=PRINTABLE)]
Email = Annotated[
    str, Field(min_length=3, max_length=254, json_schema_extra={"format": "email"}), AfterValidator(_email)
]
Slug = Annotated[str, Field(min_length=3, max_length=40, pattern=r"^[a-z0-9][a-z0-9-]*[a-z0-9]$")]
Password = Annotated[SecretStr, Field(min_length=10, max_length=200), AfterValidator(_unicode)]
GivenPassword = Annotated[SecretStr, Field(min_length=1, max_length=200), AfterValidator(_unicode)]
"""What somebody says their password is: no more is asked of it than of any text."""
OpaqueToken = Annotated[SecretStr, Field(min_length=20, max_length=200), AfterValidator(_unicode)]
ChannelId = Annotated[str, Field(pattern=r"^ch_[0-9a-f]{32}$")]
UserId = Annotated[str, Field(pattern=r"^usr_[0-9a-f]{32}$")]
EventId = Annotated[
    str, Field(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
]
Seq = Annotated[int, Field(ge=0, le=MAX_SEQ)]

ChannelPath = Annotated[
    str, Path(pattern=r"^ch_[0-9a-f]{32}$", examples=["ch_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b"])
]
SeqPath = Annotated[int, Path(ge=1, le=MAX_SEQ, description="The number of the message.", examples=[17])]
EmojiPath = Annotated[
    str,
    Path(
        min_length=1,
        max_length=64,
        pattern=r"^[^\x00-\x20\x7f-\xa0/]+$",
        description="An emoji or a `:name:`, percent-encoded.",
        examples=["👍"],
    ),
]
UserPath = Annotated[
    str, Path(pattern=r"^usr_[0-9a-f]{32}$", examples=["usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b"])
]
SessionPath = Annotated[
    str, Path(pattern=r"^ses_[0-9a-f]{32}$", examples=["ses_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b"])
]
GroupPath = Annotated[
    str, Path(pattern=r"^grp_[0-9a-f]{32}$", examples=["grp_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b"])
]
InvitePath = Annotated[
    str, Path(pattern=r"^inv_[0-9a-f]{32}$", examples=["inv_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b"])
]


class Body(BaseModel):
    """What a client sends: unknown fields are refused, so that a misspelt one is not silently nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Reply(BaseModel):
    model_config = ConfigDict(frozen=True)


T = TypeVar("T")


class Listing(Reply, Generic[T]):
    """One page of a list. `next_cursor` is null on the last page."""

    items: list[T]
    next_cursor: str | None = None


def examples(*values: dict[str, Any]) -> ConfigDict:
    """A model's configuration with examples for OpenAPI; merged with what the base class says."""
    return ConfigDict(json_schema_extra={"examples": list(values)})
