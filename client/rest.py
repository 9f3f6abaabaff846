"""The typed REST client: one method an endpoint. Each raises what `client.api.Api.call` does.

Commands carry an Idempotency-Key of their own making, so that they are repeated safely when an answer is lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TypeVar
from urllib.parse import quote

from client.api import tokens_of
from client.model import ChannelEvent, MessageEvent, shown_event
from client.records import (
    Changed,
    Channel,
    ChannelReply,
    EventPage,
    Login,
    LoginSession,
    Me,
    Member,
    MembersAdded,
    Page,
    Realtime,
    User,
)
from client.rest_channels import ChannelCalls
from client.rest_messages import MessageCalls
from client.rest_people import PeopleCalls
from client.rest_realtime import RealtimeCalls
from services.contract.ids import new_event_id

T = TypeVar("T")


class RestClient(PeopleCalls, ChannelCalls, MessageCalls, RealtimeCalls):
    """Every endpoint of the REST API, as methods."""

    # --- logging in -------------------------------------------------------------------------------------------

    async def sign_up(
        self,
        *,
        workspace_slug: str,
        workspace_name: str,
        name: str,
        email: str,
        password: str,
        device: str = "",
    ) -> Login:
        """Make a workspace and its owner; the login is kept in `tokens`."""
        body = {
            "workspace_slug": workspace_slug,
            "workspace_name": workspace_name,
            "name": name,
            "email": email,
            "password": password,
            "device": device,
        }
        return self._keep(await self.call("POST", "/v1/workspaces", Login, body=body, public=True))

    async def log_in(self, *, workspace_slug: str, email: str, password: str, device: str = "") -> Login:
        """The login is kept in `tokens`."""
        body = {"workspace_slug": workspace_slug, "email": email, "password": password, "device": device}
        return self._keep(await self.call("POST", "/v1/auth/login", Login, body=body, public=True))

    async def log_out(self) -> None:
        """End this login, on the server and in `tokens`. The tokens are forgotten even if the server says no."""
        try:
            await self.call("POST", "/v1/auth/logout", type(None), repeatable=True)
        finally:
            self.tokens.save(None)

    async def sessions(self) -> AsyncIterator[LoginSession]:
        async for item in self._pages("/v1/sessions", Page[LoginSession]):
            yield item

    async def revoke_session(self, session_id: str) -> None:
        await self.call("DELETE", f"/v1/sessions/{quote(session_id)}", type(None), repeatable=True)

    async def realtime(self, *, patience_s: float | None = None) -> Realtime:
        """A token for the channel servers, and their addresses."""
        return await self.call("POST", "/v1/realtime", Realtime, repeatable=True, patience_s=patience_s)

    # --- people -----------------------------------------------------------------------------------------------

    async def me(self) -> Me:
        return await self.call("GET", "/v1/me", Me)

    async def users(self) -> AsyncIterator[User]:
        """Everybody in the workspace."""
        async for item in self._pages("/v1/users", Page[User]):
            yield item

    async def accept_invite(self, *, token: str, name: str, password: str, device: str = "") -> Login:
        """Become a member with an invitation's token; the login is kept in `tokens`."""
        body = {"token": token, "name": name, "password": password, "device": device}
        return self._keep(await self.call("POST", "/v1/invites/accept", Login, body=body, public=True))

    async def deactivate(self, user_id: str) -> Changed:
        return await self.call("POST", f"/v1/users/{quote(user_id)}/deactivate", Changed, repeatable=True)

    async def reactivate(self, user_id: str) -> Changed:
        return await self.call("POST", f"/v1/users/{quote(user_id)}/reactivate", Changed, repeatable=True)

    # --- channels ---------------------------------------------------------------------------------------------

    async def create_channel(self, name: str, *, private: bool = False, topic: str = "") -> ChannelReply:
        body = {"kind": "private" if private else "public", "name": name, "topic": topic}
        return await self.call("POST", "/v1/channels", ChannelReply, body=body, key=new_event_id())

    async def direct(self, user_ids: Sequence[str]) -> ChannelReply:
        """The one direct (or group) channel of you and these people, made if need be."""
        return await self.call(
            "POST", "/v1/channels/direct", ChannelReply, body={"user_ids": list(user_ids)}, repeatable=True
        )

    async def channels(self, *, member: bool | None = None) -> AsyncIterator[Channel]:
        """Yours and the public ones; `member=True`: only yours."""
        params = {} if member is None else {"member": "true" if member else "false"}
        async for item in self._pages("/v1/channels", Page[Channel], **params):
            yield item

    async def channel(self, channel_id: str) -> Channel:
        return await self.call("GET", f"/v1/channels/{quote(channel_id)}", Channel)

    async def change_channel(
        self, channel_id: str, *, name: str | None = None, topic: str | None = None
    ) -> ChannelReply:
        body = {key: value for key, value in (("name", name), ("topic", topic)) if value is not None}
        return await self.call(
            "PATCH", f"/v1/channels/{quote(channel_id)}", ChannelReply, body=body, key=new_event_id()
        )

    async def archive(self, channel_id: str) -> ChannelReply:
        return await self._act(channel_id, "archive", ChannelReply)

    async def unarchive(self, channel_id: str) -> ChannelReply:
        return await self._act(channel_id, "unarchive", ChannelReply)

    # --- memberships ------------------------------------------------------------------------------------------

    async def join(self, channel_id: str) -> Changed:
        return await self._act(channel_id, "join", Changed)

    async def leave(self, channel_id: str) -> Changed:
        return await self._act(channel_id, "leave", Changed)

    async def members(self, channel_id: str) -> AsyncIterator[Member]:
        async for item in self._pages(f"/v1/channels/{quote(channel_id)}/members", Page[Member]):
            yield item

    async def add_members(self, channel_id: str, user_ids: Sequence[str]) -> MembersAdded:
        """Up to 1,000 people at once."""
        return await self.call(
            "POST",
            f"/v1/channels/{quote(channel_id)}/members",
            MembersAdded,
            body={"user_ids": list(user_ids)},
            key=new_event_id(),
        )

    async def remove_member(self, channel_id: str, user_id: str) -> Changed:
        return await self.call(
            "DELETE",
            f"/v1/channels/{quote(channel_id)}/members/{quote(user_id)}",
            Changed,
            key=new_event_id(),
        )

    # --- history ---------------------------------------------------------------------------------------------

    async def events(
        self,
        channel_id: str,
        *,
        after: int | None = None,
        before: int | None = None,
        around: int | None = None,
        limit: int | None = None,
        at_least: int | None = None,
        patience_s: float | None = None,
    ) -> EventPage:
        """Raw events, ascending by seq; the newest ones when no place is named.

        `at_least`: wait for this seq to be stored, and fail with `not_yet` rather than answer without it.
        """
        return await self.call(
            "GET",
            f"/v1/channels/{quote(channel_id)}/events",
            EventPage,
            params={"after": after, "before": before, "around": around, "limit": limit, "at_least": at_least},
            patience_s=patience_s,
        )

    # --- inside -----------------------------------------------------------------------------------------------

    async def _act(self, channel_id: str, act: str, reply: type[T]) -> T:
        return await self.call("POST", f"/v1/channels/{quote(channel_id)}/{act}", reply, key=new_event_id())

    def _keep(self, login: Login) -> Login:
        self.tokens.save(tokens_of(login.tokens))
        return login


def past_events(page: EventPage) -> list[MessageEvent | ChannelEvent]:
    """A page of history as typed events."""
    return [
        shown_event(
            page.epoch, page.channel, e.seq, e.id, e.sender, e.at, bytes(e.event), "history", e.mentions
        )
        for e in page.events
    ]
