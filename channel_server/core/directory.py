"""The read model: who is who, who is in which channel, which keys sign, which sessions have ended.

Fed by directory records and, for memberships, also by the member events of the channels themselves; the higher
version wins, so that neither source can undo the other. Held in memory for the whole cell: lean on purpose.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from services.contract.directory import (
    DEFAULT_TYPING_LIMIT,
    ChannelRecord,
    DirectoryRecord,
    GroupRecord,
    KeyRecord,
    MemberRecord,
    RevokedRecord,
    Role,
    UserRecord,
    WorkspaceRecord,
)
from services.contract.events import MAX_TEXT
from services.contract.notices import notices_channel

Membership = int
"""version * 2 + (1 if a member): one small number, and equal exactly when nothing has changed. 0: unknown."""


class User:
    """A person. `version` 0: only memberships are known so far."""

    __slots__ = ("active", "id", "memberships", "role", "version", "workspace_id")

    def __init__(self, id: str) -> None:
        self.id = id
        self.workspace_id = ""
        self.active = False
        self.role: Role = "member"
        self.version = 0
        self.memberships: dict[str, Membership] = {}


class Workspace:
    """What `WorkspaceRecord` says. `version` 0: nothing has come; then it is one like any other."""

    __slots__ = ("active", "max_text", "typing_limit", "version")

    def __init__(self) -> None:
        self.active = True
        self.max_text = MAX_TEXT
        self.typing_limit = DEFAULT_TYPING_LIMIT
        self.version = 0


class Group(NamedTuple):
    """A user group: whom its mention means; nobody once it was removed."""

    workspace_id: str
    user_ids: tuple[str, ...]
    version: int


class _Channel:
    """`members`: how many there are."""

    __slots__ = ("archived", "for_admins", "id", "members", "version", "workspace_id")

    def __init__(self, id: str) -> None:
        self.id = id
        self.workspace_id = ""
        self.members = 0
        self.archived = False
        self.for_admins = False
        self.version = 0


_UNKNOWN_WORKSPACE = Workspace()


class MembershipChanged(msgspec.Struct, frozen=True, gc=False):
    channel: str
    user_id: str
    before: Membership
    after: Membership


class UserChanged(NamedTuple):
    user_id: str
    active: bool


class SessionRevoked(NamedTuple):
    session_id: str


class WorkspaceChanged(NamedTuple):
    workspace_id: str
    active: bool


Change = MembershipChanged | UserChanged | SessionRevoked | WorkspaceChanged


def member_key(channel: str, user_id: str) -> str:
    """The directory key of a membership, as `MemberRecord.key`."""
    return f"member:{channel}:{user_id}"


class Directory:
    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.streams: dict[str, str] = {}
        """The stream of notices of each workspace that anybody is known of, by the workspace's id."""
        self.stream_names: set[str] = set()
        """Those streams: channels of the log that are no channels to anybody."""
        self.keys: dict[str, Ed25519PublicKey] = {}
        """The active public keys by kid: what tokens are checked with."""
        self.groups: dict[str, Group] = {}
        self._workspaces: dict[str, Workspace] = {}
        self._channels: dict[str, _Channel] = {}
        self._key_versions: dict[str, int] = {}
        self._revoked: dict[str, tuple[int, int]] = {}

    def apply(self, record: DirectoryRecord) -> Change | None:
        """Take one record; None when it is older than what is known or changes nobody's rights."""
        if isinstance(record, MemberRecord):
            return self.set_member(record.channel_id, record.user_id, record.version, record.member)
        if isinstance(record, UserRecord):
            return self._set_user(record)
        if isinstance(record, ChannelRecord):
            channel = self._channels.get(record.id) or self._new_channel(record.id)
            if record.version > channel.version:
                channel.version, channel.archived = record.version, record.archived
                channel.for_admins = record.posting == "admins"
                channel.workspace_id = sys.intern(record.workspace_id)  # one string for all of its channels
        elif isinstance(record, KeyRecord):
            self._set_key(record)
        elif isinstance(record, WorkspaceRecord):
            return self._set_workspace(record)
        elif isinstance(record, GroupRecord):
            known = self.groups.get(record.id)
            if known is None or record.version > known.version:
                people = tuple(record.user_ids) if record.active else ()
                self.groups[record.id] = Group(record.workspace_id, people, record.version)
        elif isinstance(record, RevokedRecord) and record.session_id not in self._revoked:
            self._revoked[record.session_id] = (record.version, record.until_ms)
            return SessionRevoked(record.session_id)
        return None

    def set_member(self, channel: str, user_id: str, version: int, member: bool) -> MembershipChanged | None:
        """One membership's state at `version`, from either source; None when something newer is known."""
        user = self.users.get(user_id) or self._new_user(user_id)
        before = user.memberships.get(channel, 0)
        if version <= before >> 1:
            return None
        after = version << 1 | member
        known = self._channels.get(channel) or self._new_channel(channel)
        known.members += member - (before & 1)
        user.memberships[known.id] = after
        return MembershipChanged(channel, user_id, before, after)

    def membership(self, channel: str, user_id: str) -> Membership:
        user = self.users.get(user_id)
        return 0 if user is None else user.memberships.get(channel, 0)

    def members_in(self, channel: str) -> int:
        """How many members a channel has."""
        known = self._channels.get(channel)
        return 0 if known is None else known.members

    def workspace_id_of(self, channel: str) -> str:
        """The workspace of a channel; empty as long as nothing has come of it."""
        known = self._channels.get(channel)
        return "" if known is None else known.workspace_id

    def is_archived(self, channel: str) -> bool:
        known = self._channels.get(channel)
        return known is not None and known.archived

    def may_post(self, channel: str, user_id: str) -> bool:
        """Whether the channel's setting lets somebody post who is in it."""
        known = self._channels.get(channel)
        if known is None or not known.for_admins:
            return True
        user = self.users.get(user_id)
        return user is not None and user.role in ("owner", "admin")

    def workspace(self, workspace_id: str) -> Workspace:
        """The workspace's settings, those of any other one as long as nothing has come of it."""
        return self._workspaces.get(workspace_id, _UNKNOWN_WORKSPACE)

    def workspace_of(self, user_id: str) -> Workspace:
        user = self.users.get(user_id)
        return _UNKNOWN_WORKSPACE if user is None else self.workspace(user.workspace_id)

    def knows_key(self, kid: str) -> bool:
        """Whether the key has come, active or retired."""
        return kid in self._key_versions

    def is_revoked(self, session_id: str) -> bool:
        return session_id in self._revoked

    def holds(self, key: str, version: int) -> bool:
        """Whether the entity `key` is known at `version` or newer (`contract.directory.directory_at`)."""
        kind, _, rest = key.partition(":")
        held = 0
        if kind == "member":
            channel, _, user_id = rest.partition(":")
            held = self.membership(channel, user_id) >> 1
        elif kind == "user":
            user = self.users.get(rest)
            held = 0 if user is None else user.version
        elif kind == "channel":
            known = self._channels.get(rest)
            held = 0 if known is None else known.version
        elif kind == "workspace":
            held = self.workspace(rest).version
        elif kind == "group":
            group = self.groups.get(rest)
            held = 0 if group is None else group.version
        elif kind == "key":
            held = self._key_versions.get(rest, 0)
        elif kind == "revoked":
            held = self._revoked.get(rest, (0, 0))[0]
        return 0 < version <= held

    def forget_revoked(self, now_ms: int) -> None:
        """Drop revocations that no unexpired token can need any more."""
        for session_id in [s for s, (_, until) in self._revoked.items() if until < now_ms]:
            del self._revoked[session_id]

    def sizes(self) -> dict[str, int]:
        """How many entities of each kind are held, for the metrics."""
        return {
            "workspaces": len(self._workspaces),
            "users": len(self.users),
            "channels": len(self._channels),
            "groups": len(self.groups),
            "revoked": len(self._revoked),
        }

    def _set_workspace(self, record: WorkspaceRecord) -> WorkspaceChanged | None:
        known = self._workspaces.get(record.id)
        if known is None:
            known = self._workspaces[record.id] = Workspace()
        if record.version <= known.version:
            return None
        known.version, known.active = record.version, record.active
        known.max_text, known.typing_limit = record.max_text, record.typing_limit
        return WorkspaceChanged(record.id, record.active)

    def _set_user(self, record: UserRecord) -> UserChanged | None:
        user = self.users.get(record.id) or self._new_user(record.id)
        if record.version <= user.version:
            return None
        user.version, user.active, user.workspace_id = record.version, record.active, record.workspace_id
        user.role = record.role
        if record.workspace_id not in self.streams and record.workspace_id.startswith("ws_"):
            stream = self.streams[record.workspace_id] = notices_channel(record.workspace_id)
            self.stream_names.add(stream)
        return UserChanged(record.id, record.active)

    def _set_key(self, record: KeyRecord) -> None:
        if record.version <= self._key_versions.get(record.kid, 0):
            return
        self._key_versions[record.kid] = record.version
        self.keys.pop(record.kid, None)
        if record.active:
            try:
                key = load_pem_public_key(record.public_key.encode())
            except ValueError:
                return  # unreadable: tokens signed with it are refused
            if isinstance(key, Ed25519PublicKey):
                self.keys[record.kid] = key

    def _new_user(self, user_id: str) -> User:
        user = self.users[user_id] = User(user_id)
        return user

    def _new_channel(self, channel: str) -> _Channel:
        # Its id is the one string object that all memberships of the channel share.
        known = self._channels[channel] = _Channel(channel)
        return known
