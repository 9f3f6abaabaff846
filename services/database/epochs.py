"""Whether PostgreSQL and the log are of one installation, and in the same epoch."""

from __future__ import annotations

from typing import Final

import asyncpg
import msgspec

from services.contract.generation import Generation

_NEWEST: Final = "select epoch, record from generations order by epoch desc limit 1"

_decoder = msgspec.json.Decoder(Generation)


class WrongEpoch(Exception):
    """What is stored now, or written to the log, would belong to another epoch, or to another installation."""


async def check_epoch(connection: asyncpg.Connection, generation: Generation) -> None:
    """Raises WrongEpoch unless `generation`, which the log says, is PostgreSQL's newest."""
    newest = await connection.fetchrow(_NEWEST)
    if newest is None or newest["epoch"] != generation.epoch:
        raise WrongEpoch(
            f"the log is at epoch {generation.epoch}, PostgreSQL at {newest['epoch'] if newest else 'none'}:"
            " run `python -m services.bootstrap`, which says what to do"
        )
    try:
        stored = _decoder.decode(newest["record"])
    except msgspec.DecodeError as error:
        raise WrongEpoch(
            f"PostgreSQL's record of epoch {generation.epoch} cannot be read: {error}"
        ) from error
    if stored != generation:
        raise WrongEpoch(
            f"epoch {generation.epoch} of the log was made at {generation.created_ms}, that of PostgreSQL at "
            f"{stored.created_ms}: they are of two installations"
        )
