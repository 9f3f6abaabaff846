"""REST for what a person's devices share: notices, and what has been read."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from client.api import Api
from client.records import (
    Announced,
    Followed,
    Marker,
    MySessions,
    Nodes,
    NoticePage,
    OpenConnections,
    Sync,
)
from services.contract.ids import new_event_id


class RealtimeCalls(Api):
    """Part of `client.rest.RestClient`."""

    async def notices(
        self, *, after: int, limit: int | None = None, at_least: int | None = None
    ) -> NoticePage:
        """Your notices after a number: a page of the stream is looked at, and `position` says how far."""
        params = {"after": after, "limit": limit, "at_least": at_least}
        return await self.call("GET", "/v1/me/notices", NoticePage, params=params)

    async def announce(self, text: str, user_ids: Sequence[str] | None = None) -> Announced:
        """Tell something to these people (1,000 at most), or to everybody in the workspace. For owners and admins."""
        to: dict[str, object] = {"all": True} if user_ids is None else {"user_ids": list(user_ids)}
        return await self.call(
            "POST", "/v1/announcements", Announced, body={"text": text, **to}, key=new_event_id()
        )

    async def sync(self, *, at_least: int | None = None) -> Sync:
        """Everything that a client starts with; `at_least`: with the notices up to this number in it."""
        return await self.call("GET", "/v1/me/sync", Sync, params={"at_least": at_least})

    async def mark_read(self, channel_id: str, seq: int, *, root: int | None = None, head: int = 0) -> Marker:
        """You have read a channel, or the thread of `root`, up to `seq`. `head`: the last number that you have seen."""
        return await self._mark("read", channel_id, seq, root, head)

    async def mark_unread(
        self, channel_id: str, seq: int, *, root: int | None = None, head: int = 0
    ) -> Marker:
        """Message `seq` and what follows is unread."""
        return await self._mark("unread", channel_id, seq, root, head)

    async def follow_thread(self, channel_id: str, root: int, following: bool = True) -> Followed:
        path = f"/v1/channels/{quote(channel_id)}/threads/{root}/follow"
        return await self.call("PUT", path, Followed, body={"following": following}, repeatable=True)

    async def _mark(self, how: str, channel_id: str, seq: int, root: int | None, head: int) -> Marker:
        place = f"/v1/channels/{quote(channel_id)}" + (f"/threads/{root}" if root is not None else "")
        return await self.call(
            "PUT", f"{place}/{how}", Marker, body={"seq": seq, "head": head}, repeatable=True
        )

    async def live_sessions(self) -> MySessions:
        """Your log-ins, and where each is connected now."""
        return await self.call("GET", "/v1/me/sessions", MySessions)

    async def set_away(self, away: bool) -> None:
        """You are away on all devices, or no longer say so."""
        await self.call("PUT", "/v1/me/presence", type(None), body={"away": away}, repeatable=True)

    async def nodes(self) -> Nodes:
        """The living channel servers. For owners and admins."""
        return await self.call("GET", "/v1/nodes", Nodes)

    async def connections(
        self,
        node: str,
        *,
        user: str | None = None,
        state: str | None = None,
        limit: int | None = None,
        cursor: int | None = None,
    ) -> OpenConnections:
        """A page of the workspace's connections at one channel server. For owners and admins."""
        params = {"node": node, "user": user, "state": state, "limit": limit, "cursor": cursor}
        return await self.call("GET", "/v1/connections", OpenConnections, params=params)
