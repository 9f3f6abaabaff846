"""REST for what a person's devices share: notices, and what has been read."""

from __future__ import annotations

from client.api import Api
from client.records import NoticePage


class RealtimeCalls(Api):
    """Part of `client.rest.RestClient`."""

    async def notices(
        self, *, after: int, limit: int | None = None, at_least: int | None = None
    ) -> NoticePage:
        """Your notices after a number: a page of the stream is looked at, and `position` says how far."""
        params = {"after": after, "limit": limit, "at_least": at_least}
        return await self.call("GET", "/v1/me/notices", NoticePage, params=params)
