"""REST for how a channel is set up: the directory, settings, and what one wants to hear of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

from client.api import Api
from client.records import Channel, ChannelReply, Page
from client.records_people import ChannelPreferences
from services.contract.events import WhoMay
from services.contract.ids import new_event_id


class ChannelCalls(Api):
    """Part of `client.rest.RestClient`."""

    async def browse_channels(self, prefix: str = "") -> AsyncIterator[Channel]:
        """The public channels in the order of their names; `prefix`: how the name begins, in any case."""
        async for channel in self._pages("/v1/channels/directory", Page[Channel], prefix=prefix):
            yield channel

    async def change_channel_settings(
        self,
        channel_id: str,
        *,
        posting: WhoMay | None = None,
        adding: WhoMay | None = None,
        default: bool | None = None,
    ) -> ChannelReply:
        """Who may post, who may add people, whether new people are put into it: what is given changes."""
        given = {"posting": posting, "adding": adding, "default": default}
        body = {name: value for name, value in given.items() if value is not None}
        return await self.call(
            "PATCH",
            f"/v1/channels/{quote(channel_id)}/settings",
            ChannelReply,
            body=body,
            key=new_event_id(),
        )

    async def make_private(self, channel_id: str) -> ChannelReply:
        """There is no way back."""
        path = f"/v1/channels/{quote(channel_id)}/make-private"
        return await self.call("POST", path, ChannelReply, key=new_event_id())

    async def channel_preferences(self, channel_id: str) -> ChannelPreferences:
        return await self.call("GET", f"/v1/channels/{quote(channel_id)}/preferences", ChannelPreferences)

    async def set_channel_preferences(
        self, channel_id: str, *, muted: bool | None = None, level: str | None = None
    ) -> ChannelPreferences:
        """`level`: `all`, `mentions` or `nothing`. What is given changes."""
        given = {"muted": muted, "level": level}
        return await self.call(
            "PATCH",
            f"/v1/channels/{quote(channel_id)}/preferences",
            ChannelPreferences,
            body={name: value for name, value in given.items() if value is not None},
            repeatable=True,
        )
