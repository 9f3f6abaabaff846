"""Directory records: the read model with which a channel server works while web_app and PostgreSQL are away.

The compacted topic `directory.<epoch>` (one partition) holds, by key, each entity's full current state with its
row version. Readers ignore a version older than the one they hold, so that a late writer cannot bring a removed
member back. Nothing is ever deleted by tombstone: a state such as `member=False` is what keeps an old write out.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from services.contract.events import MAX_TEXT, ChannelKind, WhoMay

Role = Literal["owner", "admin", "member", "guest"]

DEFAULT_TYPING_LIMIT: int = 200


class _Record(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    version: int


class WorkspaceRecord(_Record, frozen=True, tag="workspace"):
    """A workspace. `active=False`: it was deleted; its sessions end and nothing is taken for it.

    max_text      characters that a message may have
    typing_limit  members from which on a channel does not show who is typing
    """

    id: str
    active: bool = True
    max_text: int = MAX_TEXT
    typing_limit: int = DEFAULT_TYPING_LIMIT

    @property
    def key(self) -> str:
        return f"workspace:{self.id}"


class UserRecord(_Record, frozen=True, tag="user"):
    """A person. `active=False` ends every live session of theirs."""

    id: str
    workspace_id: str
    name: str
    active: bool
    role: Role = "member"

    @property
    def key(self) -> str:
        return f"user:{self.id}"


class ChannelRecord(_Record, frozen=True, tag="channel"):
    """A channel. Sends to an archived one are refused; `posting` `admins`: also those of members and guests."""

    id: str
    workspace_id: str
    kind: ChannelKind
    archived: bool
    posting: WhoMay = "everyone"

    @property
    def key(self) -> str:
        return f"channel:{self.id}"


class MemberRecord(_Record, frozen=True, tag="member"):
    """Whether one person is a member of one channel."""

    channel_id: str
    user_id: str
    member: bool

    @property
    def key(self) -> str:
        return f"member:{self.channel_id}:{self.user_id}"


class GroupRecord(_Record, frozen=True, tag="group"):
    """A user group: who is meant by `<!group:grp_...>`. `user_ids` sorted, at most 1,000."""

    id: str
    workspace_id: str
    handle: str
    user_ids: list[str] = []
    active: bool = True

    @property
    def key(self) -> str:
        return f"group:{self.id}"


class KeyRecord(_Record, frozen=True, tag="key"):
    """A public key that realtime tokens are checked with. `public_key` is PEM (SubjectPublicKeyInfo, Ed25519)."""

    kid: str
    public_key: str
    active: bool

    @property
    def key(self) -> str:
        return f"key:{self.kid}"


class RevokedRecord(_Record, frozen=True, tag="revoked"):
    """A session that has ended before its tokens have. `until_ms`: after this time no token can name it."""

    session_id: str
    until_ms: int

    @property
    def key(self) -> str:
        return f"revoked:{self.session_id}"


DirectoryRecord = (
    WorkspaceRecord | UserRecord | ChannelRecord | MemberRecord | GroupRecord | KeyRecord | RevokedRecord
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[DirectoryRecord] = msgspec.json.Decoder(DirectoryRecord)


def encode_record(record: DirectoryRecord) -> bytes:
    return _encoder.encode(record)


def decode_record(value: bytes) -> DirectoryRecord:
    """Raises msgspec.DecodeError for what is no record of a known kind."""
    try:
        return _decoder.decode(value)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


def directory_at(key: str, version: int) -> str:
    """The token in REST replies that change what is allowed: `key@version`, opaque to clients.

    A channel server that holds `key` at `version` or newer has seen the change.
    """
    return f"{key}@{version}"


def parse_directory_at(token: str) -> tuple[str, int]:
    """(key, version). Raises ValueError for what `directory_at` never made."""
    key, at, version = token.rpartition("@")
    if not at or not version.isascii() or not version.isdigit() or len(version) > 18 or len(token) > 200:
        raise ValueError(f"{token[:60]!r} is not a directory position")
    return key, int(version)
