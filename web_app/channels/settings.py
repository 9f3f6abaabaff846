"""Settings of a channel: who may post and add, whether new people are put into it, whether it is public."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.contract.directory import directory_at
from services.contract.events import ChannelMadePrivate, ChannelSettingsChanged
from services.database.outbox import enqueue_directory
from web_app.audit import repository as audit
from web_app.auth.repository import Viewer
from web_app.channels import repository
from web_app.channels.schemas import ChannelChanged, ChannelSettings
from web_app.channels.service import (
    channel_key,
    locked,
    publish,
    require_action,
    require_named,
    require_not_archived,
    shown,
)
from web_app.problems import ApiError


async def change_settings(
    db: AsyncConnection, viewer: Viewer, channel_id: str, wanted: ChannelSettings
) -> ChannelChanged:
    """Raises ApiError not_found, forbidden, conflict, archived. What already is so causes no event."""
    row = await locked(db, viewer, channel_id)
    require_action("channel.manage", viewer, row)
    if wanted.default is not None:
        require_action("channel.set_default", viewer, row)
    require_named(row)
    require_not_archived(row)
    if wanted.default and row.kind != "public":
        raise ApiError("conflict", "Only public channels can be default ones.")
    before = {"posting": row.posting, "adding": row.adding, "default": row.is_default}
    changed = {
        name: value for name, value in wanted.model_dump(exclude_none=True).items() if value != before[name]
    }
    if not changed:
        return _changed(channel_id, row.version, shown(row))
    version = await repository.draw_version(db)
    columns = {"is_default" if name == "default" else name: value for name, value in changed.items()}
    await repository.change_channel(db, channel_id, **columns, version=version)
    await enqueue_directory(db, [channel_key(channel_id)])
    await publish(db, channel_id, viewer.user_id, ChannelSettingsChanged(**changed))
    await audit.record(db, viewer, "channel.settings_changed", channel_id, **changed)
    return _changed(channel_id, version, shown(row, **changed))


async def make_private(db: AsyncConnection, viewer: Viewer, channel_id: str) -> ChannelChanged:
    """Raises ApiError not_found, forbidden, conflict for a default channel, archived."""
    row = await locked(db, viewer, channel_id)
    require_action("channel.manage", viewer, row)
    require_named(row)
    if row.kind == "private":
        return _changed(channel_id, row.version, shown(row))
    require_not_archived(row)
    if row.is_default:
        raise ApiError(
            "conflict", "New people are put into this channel: let it be no default channel first."
        )
    version = await repository.draw_version(db)
    await repository.change_channel(db, channel_id, kind="private", version=version)
    await enqueue_directory(db, [channel_key(channel_id)])
    await publish(db, channel_id, viewer.user_id, ChannelMadePrivate())
    await audit.record(db, viewer, "channel.made_private", channel_id)
    return _changed(channel_id, version, shown(row, kind="private"))


def _changed(channel_id: str, version: int, channel: Any) -> ChannelChanged:
    return ChannelChanged(channel=channel, directory_at=directory_at(channel_key(channel_id), version))
