"""Rows that say nothing in their last columns are copied without these; no other is."""

from __future__ import annotations

from typing import Any

import pytest

from services.persister.copying import copy_rows
from services.persister.fold import EVENT_DEFAULTS, EventRow

COLUMNS = ("id", "mentions", "target")


class Copies:
    """A connection that notes what is copied: columns and rows of each statement."""

    def __init__(self) -> None:
        self.made: list[tuple[tuple[str, ...], list[tuple[object, ...]]]] = []

    async def copy_records_to_table(
        self, table: str, *, records: list[tuple[object, ...]], columns: tuple[str, ...]
    ) -> None:
        assert table == "events"
        self.made.append((columns, records))


@pytest.mark.parametrize(
    ("rows", "made"),
    [
        ([], []),
        ([(1, (), None), (2, (), None)], [(("id",), [(1,), (2,)])]),
        ([(1, ("usr",), None)], [(COLUMNS, [(1, ("usr",), None)])]),
        (
            [(1, (), 7), (2, (), None), (3, ("usr",), None)],
            [(("id",), [(2,)]), (COLUMNS, [(1, (), 7), (3, ("usr",), None)])],
        ),
    ],
)
async def test_rows_with_nothing_in_the_last_columns_are_copied_without_them(rows: Any, made: Any) -> None:
    copies: Any = Copies()
    await copy_rows(copies, "events", rows, COLUMNS, EVENT_DEFAULTS)
    assert copies.made == made


def test_the_defaults_are_those_of_the_last_columns() -> None:
    assert tuple(EventRow._field_defaults.values()) == EVENT_DEFAULTS
    assert tuple(EventRow._field_defaults) == EventRow._fields[-len(EVENT_DEFAULTS) :]
