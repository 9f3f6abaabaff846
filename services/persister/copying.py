"""COPY of rows, most of which say nothing in most of their columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import asyncpg


async def copy_rows(
    connection: asyncpg.Connection,
    table: str,
    rows: Iterable[tuple[object, ...]],
    columns: Sequence[str],
    defaults: tuple[object, ...],
) -> None:
    """COPY the rows into the table. `defaults`: what the table itself puts into the last of these columns.

    Rows with nothing else there are copied without them: an empty array alone costs the persister as much as the rest of
    an event's row, and PostgreSQL a third as much.
    """
    given = len(columns) - len(defaults)
    short: list[tuple[object, ...]] = []
    whole: list[tuple[object, ...]] = []
    for row in rows:
        if row[given:] == defaults:
            short.append(row[:given])
        else:
            whole.append(row)
    if short:
        await connection.copy_records_to_table(table, records=short, columns=columns[:given])
    if whole:
        await connection.copy_records_to_table(table, records=whole, columns=columns)
