"""REST for what a person's devices share: notices, and what has been read."""

from __future__ import annotations

from collections.abc import Sequence

from client.api import Api
from client.records import Announced, NoticePage
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
