"""What may be deleted: nothing that anybody would read again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.eventlog.retention import deletable_below
from services.eventlog.sequencer import Checkpoint, LastRecord

offsets = st.integers(0, 1_000)


@given(offsets, offsets, offsets, st.one_of(st.none(), offsets), st.booleans())
def test_it_is_below_everybodys_progress(
    watermark: int, window: int, persisted: int, young: int | None, known: bool
) -> None:
    start = min(window, watermark)
    last = LastRecord(watermark - 1, 1, "x") if watermark and known else None
    bound = deletable_below(
        Checkpoint(watermark=watermark, now=1, window_start=start, window_now=1, last=last), persisted, young
    )
    assert bound <= start  # a node refills its window from here
    assert last is None or bound <= last.offset  # and compares this record
    assert bound <= persisted - 1  # the persister compares the record before its next offset
    assert young is None or bound <= young
    # and nothing is kept without a reason
    assert bound in {start, watermark - 1, persisted - 1, young}
