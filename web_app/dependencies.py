"""What endpoints ask for: the parts, a transaction, who is asking."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from fastapi.security.base import SecurityBase
from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.tokens import Claims
from web_app.auth.repository import Viewer, find_viewer
from web_app.parts import Parts
from web_app.problems import ApiError

_bearer = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    scheme_name="access_token",
    description="The access token of a log-in.",
)


# Dependencies are coroutines even where they wait for nothing: FastAPI would run a plain function in a thread.
async def parts_of(request: Request) -> Parts:
    parts = request.app.state.parts
    assert isinstance(parts, Parts)
    return parts


PartsOfApp = Annotated[Parts, Depends(parts_of)]


class _AccessToken(SecurityBase):
    """What the access token says; whether its session still lives, the database says.

    One dependency, not three that need each other: every single one costs every request. Raises ApiError unauthenticated.
    """

    def __init__(self) -> None:
        self.model, self.scheme_name = _bearer.model, _bearer.scheme_name

    async def __call__(self, request: Request) -> Claims:
        credentials = await _bearer(request)
        if credentials is None:
            raise ApiError("unauthenticated", "Send `Authorization: Bearer` and an access token.")
        parts = await parts_of(request)
        return parts.keys.verify(credentials.credentials, "access", now=time.time())


AccessClaims = Annotated[Claims, Depends(_AccessToken())]


async def transaction(parts: PartsOfApp) -> AsyncIterator[AsyncConnection]:
    async with parts.database.transaction() as db:
        yield db


async def reading(parts: PartsOfApp) -> AsyncIterator[AsyncConnection]:
    async with parts.database.reading() as db:
        yield db


# Scope "function": the end of the block, which commits, comes before the reply is sent.
Transaction = Annotated[AsyncConnection, Depends(transaction, scope="function")]
Reading = Annotated[AsyncConnection, Depends(reading, scope="function")]


async def writing_viewer(db: Transaction, claims: AccessClaims) -> Viewer:
    return await find_viewer(db, claims)


async def reading_viewer(db: Reading, claims: AccessClaims) -> Viewer:
    return await find_viewer(db, claims)


WritingViewer = Annotated[Viewer, Depends(writing_viewer)]
"""Who asks, found in the request's transaction."""
ReadingViewer = Annotated[Viewer, Depends(reading_viewer)]


async def acting_in_channels(claims: AccessClaims, parts: PartsOfApp) -> None:
    """Raises ApiError slow_down for who does so too often; a repeat counts like the first time."""
    parts.attempts.message(claims.user_id)


async def marking(claims: AccessClaims, parts: PartsOfApp) -> None:
    """As `acting_in_channels`, of what concerns only oneself."""
    parts.attempts.marker(claims.user_id)


ACTING: Final = [Depends(acting_in_channels)]
"""For the `dependencies` of a route: what one person does in channels is limited, before the database is asked."""
MARKING: Final = [Depends(marking)]


async def client_address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


ClientAddress = Annotated[str, Depends(client_address)]
