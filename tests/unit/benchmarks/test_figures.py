"""What benchmarks print is what they measured: medians, ratios round by round, percentiles, and a page nobody typed."""

from __future__ import annotations

import msgspec
import pytest

from benchmarks.core.figures import Figure, Latencies, spell
from benchmarks.core.results import KEPT, Result, Row, Target, load
from benchmarks.core.rounds import Spoiled, interleaved, patiently
from benchmarks.document import PAGE, table, written
from benchmarks.rows.catalogue import BENCHMARKS


def test_a_ratio_is_taken_within_each_round() -> None:
    slow_day = Figure("ms", (1.0, 10.0, 2.0))
    floor = Figure("ms", (0.5, 5.0, 1.0))
    assert slow_day.per(floor) == Figure("x", (2.0, 2.0, 2.0))
    assert (slow_day.median, slow_day.low, slow_day.high) == (2.0, 1.0, 10.0)


def test_percentiles_of_counted_latencies() -> None:
    latencies = Latencies([(1_000, 98), (50_000, 1), (90_000, 1)])
    assert [latencies.ms(percent) for percent in (50, 98, 99, 100)] == [1.0, 1.0, 50.0, 90.0]
    assert Latencies([]).ms(99) == 0.0


@pytest.mark.parametrize(
    ("value", "spelled"), [(1234567.8, "1,234,568"), (12.345, "12.3"), (0.00123, "0.00123"), (-54.0, "-54")]
)
def test_numbers_are_spelled_with_three_digits(value: float, spelled: str) -> None:
    assert spell(value) == spelled


async def test_rounds_alternate_and_what_is_spoiled_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.core.rounds._PAUSE_S", 0.0)
    order: list[str] = []

    async def ours() -> int:
        order.append("ours")
        if len(order) == 1:
            raise Spoiled("something was refused")
        return len(order)

    async def floor() -> int:
        order.append("floor")
        return len(order)

    samples = await interleaved(2, {"ours": ours, "floor": floor})
    assert order == ["ours", "ours", "floor", "floor", "ours"]
    assert samples == {"ours": [2, 5], "floor": [3, 4]}


async def test_what_is_spoiled_again_and_again_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.core.rounds._PAUSE_S", 0.0)

    async def never() -> None:
        raise Spoiled("lost")

    with pytest.raises(Spoiled):
        await patiently(never)


def test_the_table_says_what_was_met_and_what_was_missed() -> None:
    ratio = Figure("x", (1.0, 1.2, 1.1))
    targets = (Target("ratio", "<=", 1.3, "<= 1.3x"), Target("p99", "<=", 5.0, "p99 <= 5 ms"))
    row = Row(
        what="something", subject=ratio, ratio=ratio, also={"p99": Figure("ms", (9.0,))}, targets=targets
    )
    name = next(iter(BENCHMARKS))
    result = Result(benchmark=name, title="t", rows=(row,))
    assert msgspec.json.decode(msgspec.json.encode(result), type=Result) == result
    lines = [line for line in table({name: result}).splitlines() if "something" in line or "p99" in line]
    assert lines[0].endswith("| <= 1.3x | met |")
    assert lines[1].endswith("| p99 <= 5 ms | **missed** |")


def test_what_was_skipped_of_a_benchmark_stands_beside_what_was_measured() -> None:
    row = Row(what="something", subject=Figure("ms", (1.0,)))
    name = next(iter(BENCHMARKS))
    shown = table(
        {name: Result(benchmark=name, title="t", rows=(row,), skipped="another: it does not start")}
    )
    assert "| skipped: another: it does not start |" in shown
    assert "| something | 1 ms" in shown


def test_the_page_shows_what_the_kept_results_say() -> None:
    """`python -m benchmarks.document` writes it."""
    assert written(PAGE.read_text("utf-8"), load(KEPT)) == PAGE.read_text("utf-8")
