"""The start of a client as it travels. It is written by msgspec; the models here describe it."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import Field

from services.contract.events import ChannelKind
from web_app.fields import Body, Reply, Seq, examples
from web_app.users.schemas import USER_EXAMPLE, Me
from web_app.workspaces.schemas import WORKSPACE_EXAMPLE

_ME: Final[dict[str, Any]] = {
    "user": USER_EXAMPLE,
    "workspace": WORKSPACE_EXAMPLE,
    "session_id": "ses_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
}
_CHANNEL: Final[dict[str, Any]] = {
    "id": "ch_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b",
    "kind": "public",
    "name": "general",
    "topic": "",
    "archived": False,
    "user_ids": None,
    "head": 44,
    "marker": 42,
    "unread": 2,
    "mentions": 1,
    "muted": False,
    "level": "all",
}


class SyncQuery(Body):
    at_least: Annotated[
        Seq | None,
        Field(description="Wait, for five seconds at most, until your notices up to this number are in it."),
    ] = None


class SyncedChannel(Reply):
    """A channel that you are in. Counting ends at 1,000: so many means more than 999.

    `unread`: messages by others after `marker`, in the channel itself, that are still there. `mentions`: messages after
    it, threads included, that mention you or everybody.
    """

    model_config = examples(_CHANNEL)

    id: str
    kind: ChannelKind
    name: str = Field(description="Empty for direct and group channels.")
    topic: str
    archived: bool
    user_ids: list[str] | None = Field(
        None, description="Who is in a direct or group channel; null for others."
    )
    head: int
    marker: int
    unread: int
    mentions: int
    muted: bool
    level: Literal["all", "mentions", "nothing"]


class Sync(Reply):
    """Connect with `resume` of this epoch, these heads and these notices: the stream begins right behind.

    `threads_unread`: threads that you follow in which others have replied since you read; counting ends at 100.
    """

    model_config = examples(
        {"me": _ME, "epoch": 1, "notices": 317, "channels": [_CHANNEL], "threads_unread": 0}
    )

    me: Me
    epoch: int
    notices: int
    channels: list[SyncedChannel]
    threads_unread: int


class WrittenChannel(msgspec.Struct, frozen=True, gc=False):
    id: str
    kind: str
    name: str
    topic: str
    archived: bool
    user_ids: list[str] | None
    head: int
    marker: int
    unread: int
    mentions: int
    muted: bool
    level: str


class WrittenSync(msgspec.Struct, frozen=True):
    """`me`: a `Me`."""

    me: msgspec.Raw
    epoch: int
    notices: int
    channels: list[WrittenChannel]
    threads_unread: int
