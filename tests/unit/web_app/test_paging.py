"""Cursors: what a page gave leads on, anything else is refused; and spans of history."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract.ids import new_entity_id
from web_app.fields import MAX_SEQ, Reply
from web_app.messages.repository import Span
from web_app.messages.schemas import HistoryQuery
from web_app.messages.service import span_of
from web_app.paging import Page, decode_cursor, encode_cursor, listing
from web_app.problems import ApiError


class Item(Reply):
    id: str


def test_a_cursor_leads_behind_the_last_item() -> None:
    last = new_entity_id("usr")
    page = Page(cursor=encode_cursor(last))
    assert page.after("usr") == last
    assert Page().after("usr") == ""


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(ApiError) as refused:
        Page(cursor=encode_cursor(new_entity_id("ch"))).after("usr")
    assert refused.value.code == "invalid_request"


@given(st.text(max_size=100))
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        decode_cursor(text, "usr")
    assert refused.value.code == "invalid_request"


@given(st.integers(0, 60), st.integers(1, 20))
def test_walking_a_list_meets_everything_once(count: int, limit: int) -> None:
    ids = [f"usr_{n:032x}" for n in range(count)]
    seen: list[str] = []
    page = Page(limit=limit)
    while True:
        after = page.after("usr")
        rows = [each for each in ids if each > after][: limit + 1]
        got = listing(rows, limit, lambda row: row, lambda row: Item(id=row))
        assert len(got.items) <= limit
        seen += [each.id for each in got.items]
        if got.next_cursor is None:
            break
        page = Page(limit=limit, cursor=got.next_cursor)
    assert seen == ids


@given(st.integers(0, MAX_SEQ), st.integers(1, 200))
def test_spans(seq: int, limit: int) -> None:
    assert span_of(HistoryQuery(after=seq, limit=limit)) == Span(seq + 1, 0, limit)
    assert span_of(HistoryQuery(before=seq, limit=limit)) == Span(seq, limit, 0)
    around = span_of(HistoryQuery(around=seq, limit=limit))
    assert around.pivot == seq
    assert around.below + around.above == limit
    assert around.above >= 1, "the seq itself is among them"
    assert span_of(HistoryQuery(limit=limit)) == Span(MAX_SEQ + 1, limit, 0)
