"""REST about messages: what is done to them, threads, what one keeps, what is to be posted later."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

from client.api import PAGE, Api
from client.records import Page, Posted
from client.records_messages import (
    FollowedThread,
    MessagePage,
    MessageVersion,
    OneMessage,
    SavedMessage,
    Scheduled,
    ThreadPage,
    VersionPage,
)
from services.contract.ids import new_event_id


def _messages(channel_id: str, seq: int | None = None) -> str:
    return f"/v1/channels/{quote(channel_id)}/messages" + (f"/{seq}" if seq is not None else "")


class MessageCalls(Api):
    """Part of `client.rest.RestClient`. Commands give the number of the event that they caused."""

    async def post_message(
        self,
        channel_id: str,
        text: str,
        *,
        thread: int | None = None,
        also_to_channel: bool = False,
        client_msg_id: str | None = None,
    ) -> Posted:
        """Post by REST; repeated under the same id until it is stored or refused for good. `thread`: a reply to that."""
        body: dict[str, object] = {"text": text, "client_msg_id": client_msg_id or new_event_id()}
        if thread is not None:
            body |= {"thread": thread, "also_to_channel": also_to_channel}
        return await self.call("POST", _messages(channel_id), Posted, body=body, repeatable=True)

    async def edit_message(self, channel_id: str, seq: int, text: str) -> Posted:
        path = _messages(channel_id, seq)
        return await self.call("PATCH", path, Posted, body={"text": text}, key=new_event_id())

    async def delete_message(self, channel_id: str, seq: int) -> Posted:
        """Nobody can read any more what it said."""
        return await self.call("DELETE", _messages(channel_id, seq), Posted, key=new_event_id())

    async def react(self, channel_id: str, seq: int, emoji: str) -> Posted:
        return await self._change("PUT", channel_id, seq, f"reactions/{quote(emoji, safe='')}")

    async def unreact(self, channel_id: str, seq: int, emoji: str) -> Posted:
        return await self._change("DELETE", channel_id, seq, f"reactions/{quote(emoji, safe='')}")

    async def pin(self, channel_id: str, seq: int) -> Posted:
        return await self._change("PUT", channel_id, seq, "pin")

    async def unpin(self, channel_id: str, seq: int) -> Posted:
        return await self._change("DELETE", channel_id, seq, "pin")

    async def pins(
        self, channel_id: str, *, before: int | None = None, limit: int | None = None
    ) -> MessagePage:
        """The pinned messages, ascending; the newest ones when no place is named."""
        params = {"before": before, "limit": limit}
        return await self.call("GET", f"/v1/channels/{quote(channel_id)}/pins", MessagePage, params=params)

    async def messages(
        self,
        channel_id: str,
        *,
        after: int | None = None,
        before: int | None = None,
        around: int | None = None,
        limit: int | None = None,
        at_least: int | None = None,
        top_level: bool = False,
        structured: bool = False,
    ) -> MessagePage:
        """Messages as they stand now, ascending by seq; the newest ones when no place is named.

        `top_level`: without replies that are only in threads, and without tombstones. `structured`: with `content`.
        """
        params: dict[str, object] = {
            "after": after,
            "before": before,
            "around": around,
            "limit": limit,
            "at_least": at_least,
            "top_level": "true" if top_level else None,
            "structured": "true" if structured else None,
        }
        return await self.call("GET", _messages(channel_id), MessagePage, params=params)

    async def message(self, channel_id: str, seq: int) -> OneMessage:
        return await self.call("GET", _messages(channel_id, seq), OneMessage)

    async def permalink(self, permalink: str) -> OneMessage:
        """The message that a permalink names."""
        return await self.call("GET", f"/v1/permalinks/{quote(permalink)}", OneMessage)

    async def versions(self, channel_id: str, seq: int) -> AsyncIterator[MessageVersion]:
        """What a message has said, the first text first. For its author, owners and admins."""
        after = 0
        while True:
            params = {"after": after, "limit": PAGE}
            page = await self.call(
                "GET", _messages(channel_id, seq) + "/versions", VersionPage, params=params
            )
            for version in page.versions:
                after = version.seq
                yield version
            if not page.has_more_after or not page.versions:
                return

    async def thread(
        self,
        channel_id: str,
        root: int,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int | None = None,
        at_least: int | None = None,
    ) -> ThreadPage:
        """A message and a page of the replies to it."""
        params = {"after": after, "before": before, "limit": limit, "at_least": at_least}
        path = f"/v1/channels/{quote(channel_id)}/threads/{root}"
        return await self.call("GET", path, ThreadPage, params=params)

    async def threads(self, *, unread: bool = True) -> AsyncIterator[FollowedThread]:
        """The threads that you follow, the one with the newest reply first."""
        params = {"unread": "true" if unread else "false"}
        async for item in self._pages("/v1/me/threads", Page[FollowedThread], **params):
            yield item

    # --- for oneself --------------------------------------------------------------------------------------------

    async def save_message(self, channel_id: str, seq: int, note: str = "") -> None:
        path = f"/v1/me/saved/{quote(channel_id)}/{seq}"
        await self.call("PUT", path, type(None), body={"note": note}, repeatable=True)

    async def unsave_message(self, channel_id: str, seq: int) -> None:
        path = f"/v1/me/saved/{quote(channel_id)}/{seq}"
        await self.call("DELETE", path, type(None), repeatable=True)

    async def saved(self) -> AsyncIterator[SavedMessage]:
        """The messages that you keep, the last saved first."""
        async for item in self._pages("/v1/me/saved", Page[SavedMessage]):
            yield item

    async def schedule(
        self,
        channel_id: str,
        text: str,
        send_at: int,
        *,
        thread: int | None = None,
        also_to_channel: bool = False,
    ) -> Scheduled:
        """Have a message posted at `send_at` (Unix ms)."""
        body: dict[str, object] = {"text": text, "send_at": send_at}
        if thread is not None:
            body |= {"thread": thread, "also_to_channel": also_to_channel}
        path = f"/v1/channels/{quote(channel_id)}/scheduled"
        return await self.call("POST", path, Scheduled, body=body, key=new_event_id())

    async def scheduled(self) -> AsyncIterator[Scheduled]:
        """Those that wait, and those that could not be posted."""
        async for item in self._pages("/v1/me/scheduled", Page[Scheduled]):
            yield item

    async def change_scheduled(
        self, scheduled_id: str, *, text: str | None = None, send_at: int | None = None
    ) -> Scheduled:
        body = {key: value for key, value in (("text", text), ("send_at", send_at)) if value is not None}
        path = f"/v1/me/scheduled/{quote(scheduled_id)}"
        return await self.call("PATCH", path, Scheduled, body=body, key=new_event_id())

    async def delete_scheduled(self, scheduled_id: str) -> None:
        path = f"/v1/me/scheduled/{quote(scheduled_id)}"
        await self.call("DELETE", path, type(None), key=new_event_id())

    async def _change(self, method: str, channel_id: str, seq: int, what: str) -> Posted:
        return await self.call(method, f"{_messages(channel_id, seq)}/{what}", Posted, key=new_event_id())
