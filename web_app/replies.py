"""Replies, and commands that are done once however often they are sent."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import msgspec
from fastapi import Depends, Header, Request
from pydantic import BaseModel
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from services.contract.ids import EVENT_ID_PATTERN
from services.database.tables import IdempotencyKey
from web_app.auth.repository import Viewer
from web_app.database import AnyRow
from web_app.dependencies import Transaction, WritingViewer
from web_app.problems import ApiError

JSON: Final = "application/json"

IdempotencyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=EVENT_ID_PATTERN,
        description="A UUIDv7 of the client's choosing, the same on every retry.",
        examples=["0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"],
    ),
]


def reply(model: BaseModel, status: int = 200) -> Response:
    """The model as the answer, encoded once; what it holds was checked when it was made."""
    return Response(model.model_dump_json(), status_code=status, media_type=JSON)


def written(answer: msgspec.Struct, status: int = 200) -> Response:
    """As `reply`, for what is many or long."""
    return Response(msgspec.json.encode(answer), status_code=status, media_type=JSON)


class Once:
    """Runs a command at most once for a person's Idempotency-Key, and gives every repeat the first answer.

    The key and the answer are written in the command's own transaction: a command that failed leaves no key, and
    of two at the same time one waits for the other. The ids of the events that commands cause are fresh all the
    same: an id that a client chose could be one that it has already sent a message under, and would then hold up
    the channel's outbox until it expires.
    """

    def __init__(self, db: AsyncConnection, viewer: Viewer, key: uuid.UUID | None, digest: bytes) -> None:
        self._db = db
        self._viewer = viewer
        self._key = key
        self._digest = digest

    async def __call__(self, command: Callable[[], Awaitable[BaseModel]], status: int = 200) -> Response:
        """`command` gives the answer. Raises ApiError id_reused when the key came with another request."""

        async def with_status() -> tuple[int, BaseModel]:
            return status, await command()

        return await self.answer(with_status)

    async def answer(self, command: Callable[[], Awaitable[tuple[int, BaseModel]]]) -> Response:
        """For a command whose status depends on what it finds: it gives status and answer. Raises as a call does."""
        if (done := await self._claim()) is not None:
            return Response(done.reply, status_code=done.status, media_type=JSON)
        status, model = await command()
        content = model.model_dump_json().encode()
        await self._keep(status, content)
        return Response(content, status_code=status, media_type=JSON)

    async def nothing(self, command: Callable[[], Awaitable[None]]) -> Response:
        """For a command that has no answer but that it is done (204). Raises as a call does."""
        if await self._claim() is None:
            await command()
            await self._keep(204, b"")
        return Response(status_code=204)

    async def secret(
        self,
        command: Callable[[], Awaitable[tuple[str, BaseModel]]],
        again: Callable[[str], Awaitable[BaseModel]],
        status: int,
    ) -> Response:
        """For an answer that must not be kept: `command` gives a name of what it did, too, which `again` answers a
        repeat by. Raises as a call does.
        """
        if (done := await self._claim()) is not None:
            return reply(await again(done.reply.decode()), status)
        name, model = await command()
        await self._keep(status, name.encode())
        return reply(model, status)

    async def _keep(self, status: int, content: bytes) -> None:
        if self._key is not None:
            await self._db.execute(
                update(IdempotencyKey)
                .where(IdempotencyKey.user_id == self._viewer.user_id, IdempotencyKey.key == self._key)
                .values(status=status, reply=content)
            )

    async def _claim(self) -> AnyRow | None:
        """What was kept of the first time (status, reply); None: this is the first time, or there is no key."""
        key = self._key
        if key is None:
            return None
        claimed = await self._db.execute(
            insert(IdempotencyKey)
            .values(user_id=self._viewer.user_id, key=key, request_digest=self._digest)
            .on_conflict_do_nothing()
            .returning(IdempotencyKey.key)
        )
        if claimed.one_or_none() is not None:
            return None
        found = await self._db.execute(
            select(IdempotencyKey.request_digest, IdempotencyKey.status, IdempotencyKey.reply).where(
                IdempotencyKey.user_id == self._viewer.user_id, IdempotencyKey.key == key
            )
        )
        row = found.one()
        if row.request_digest != self._digest:
            raise ApiError("id_reused", "This Idempotency-Key came with another request before.")
        return row


async def once(
    request: Request, db: Transaction, viewer: WritingViewer, key: IdempotencyHeader = None
) -> Once:
    body = await request.body()
    digest = hashlib.sha256(b"\n".join((request.method.encode(), request.url.path.encode(), body))).digest()
    return Once(db, viewer, uuid.UUID(key) if key else None, digest)


DoneOnce = Annotated[Once, Depends(once)]
