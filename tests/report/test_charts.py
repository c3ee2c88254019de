"""What the charts are drawn from: histograms, series and plans, reduced without losing what matters."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest

from eventmark.report.charts import BARS_MAX, bars_chart, chart_specs
from eventmark.report.histogram import decode, density, slower_share
from eventmark.report.plan_tree import plan_tree
from eventmark.report.time_charts import POINTS_MAX, gridded, growth_chart, panels_of, timeline_chart
from eventmark.results.results import Phase, RunResult, Series
from eventmark.stats.histogram import LatencyHistogram


def series(name: str, values: list[float], *, unit: str = "x", every_s: float = 0.5) -> Series:
    return Series(name=name, unit=unit, at_s=[n * every_s for n in range(len(values))], values=values)


def encoded(*samples_ms: float) -> str:
    histogram = LatencyHistogram()
    histogram.record_all([round(one * 1e6) for one in samples_ms])
    return histogram.encode()


def rows_of(spec: dict[str, Any], view: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that a view of the specification draws."""
    rows: list[dict[str, Any]] = spec["datasets"][view["data"]["name"]]
    return rows


def numbers_in(spec: Any) -> list[float]:
    if isinstance(spec, dict):
        return [one for value in spec.values() for one in numbers_in(value)]
    if isinstance(spec, list):
        return [one for value in spec for one in numbers_in(value)]
    return [spec] if isinstance(spec, float) else []


def test_a_decoded_histogram_has_the_samples_quantiles() -> None:
    found = decode(encoded(*range(1, 101)))
    assert found is not None
    assert found.samples == 100
    assert [found.percentile_ms(p) for p in (0, 50, 95, 100)] == pytest.approx([1, 50, 95, 100], rel=0.002)
    assert found.mean_ms == pytest.approx(50.5, rel=0.002)
    assert found.deviation_ms == pytest.approx(29.01, rel=0.002)


@pytest.mark.parametrize(
    "text", ["", "x", "AAAA", "SElTVA==" * 5, encoded(1.0)[:-9], LatencyHistogram().encode()]
)
def test_a_damaged_or_empty_histogram_is_none(text: str) -> None:
    assert decode(text) is None


def test_density_holds_every_call_and_slower_falls_to_half_a_call() -> None:
    found = decode(encoded(*[1.0] * 90, *[2.0] * 9, 500.0))
    assert found is not None
    assert sum(share for _, _, share in density(found)) == pytest.approx(1)
    shares = [share for _, share in slower_share(found)]
    assert shares == pytest.approx([0.10, 0.01, 0.005])


def test_a_histogram_of_one_value_has_a_density() -> None:
    found = decode(encoded(3.0, 3.0))
    assert found is not None
    assert [share for _, _, share in density(found) if share] == [1.0]


def test_a_peak_survives_the_thinning_and_stacks_are_averaged() -> None:
    values = [0.0] * 10_000
    values[4321] = 99.0
    one = series("server_cpu", values)
    step_s = 5000 / POINTS_MAX
    assert max(gridded(one, step_s, stacked=False).values()) == 99.0
    assert sum(gridded(one, step_s, stacked=True).values()) < 99.0
    assert len(gridded(one, step_s, stacked=False)) <= POINTS_MAX + 1


def test_every_series_has_a_panel_and_waits_share_one() -> None:
    names = [
        "server_cpu",
        "client_cpu",
        "wal_rate",
        "waits:CPU",
        "waits:WALWrite",
        "checkpoints",
        "of my own",
    ]
    panels = panels_of([series(name, [1.0, 2.0]) for name in names])
    assert sorted(one.name for panel in panels for one in panel.series) == sorted(names)
    assert [len(panel.series) for panel in panels if panel.stacked] == [2]


def test_more_waits_than_colours_keep_their_sum() -> None:
    waits = [series(f"waits:event {number}", [float(number)] * 4) for number in range(20)]
    chart = timeline_chart(waits, [], 2.0)
    assert chart is not None
    spec = chart.to_dict()
    layers = spec["vconcat"][1]["layer"]
    rows = rows_of(spec, next(layer for layer in layers if layer["mark"]["type"] == "area"))
    assert len({row["series"] for row in rows}) == 10
    assert sum(row["value"] for row in rows if row["at"] == 0) == sum(range(20))


def test_series_that_cannot_be_drawn_are_left_out() -> None:
    empty = Series(name="empty", unit="x", at_s=[], values=[])
    uneven = Series(name="uneven", unit="x", at_s=[1.0, 2.0], values=[1.0])
    assert timeline_chart([empty, uneven], [], 1.0) is None
    assert growth_chart(None) is None
    assert growth_chart(uneven) is None
    assert growth_chart(empty) is None
    assert (
        timeline_chart([series("server_cpu", [1.0])], [Phase(name="p", start_s=0, end_s=0)], 0.0) is not None
    )


def test_the_last_point_of_growth_is_the_whole_corpus() -> None:
    chart = growth_chart(series("events", [float(n) for n in range(5001)]))
    assert chart is not None
    rows = rows_of(chart.to_dict(), chart.to_dict())
    assert rows[-1]["events"] == 5000
    assert len(rows) <= POINTS_MAX + 1


def test_bars_beyond_the_limit_are_one_together() -> None:
    chart = bars_chart({f"tenant-{n}": 10.0 for n in range(100)})
    assert chart is not None
    rows = rows_of(chart.to_dict(), chart.to_dict())
    assert len(rows) == BARS_MAX + 1
    assert sum(row["value"] for row in rows) == 1000
    assert bars_chart({}) is None


def test_specifications_load_nothing_and_hold_no_number_that_is_none(
    result: RunResult, hunted: RunResult, shown: RunResult
) -> None:
    """As the library has them: this is where they are checked against its schema."""
    found = msgspec.structs.replace(result, orderings=hunted.orderings, sections=shown.sections)
    specs = chart_specs(found, checked=True)
    assert {"quantiles", "density0", "section0-0", "timeline", "growth", "corpus1"} < specs.keys()
    assert '"url"' not in json.dumps(specs)
    assert all(math.isfinite(number) for number in numbers_in(specs))


def test_a_plan_shows_totals_over_loops_and_marks_what_wastes() -> None:
    tree = plan_tree({
        "Node Type": "Nested Loop", "Actual Rows": 2.0, "Actual Loops": 1, "Shared Hit Blocks": 100,
        "Plans": [
            {"Node Type": "Index Scan", "Index Name": "i", "Relation Name": "t", "Actual Rows": 3.0, "Actual Loops": 4,
             "Shared Hit Blocks": 10, "Index Cond": "(a = 1)"},
            {"Node Type": "Seq Scan", "Relation Name": "u", "Actual Rows": 0.0, "Actual Loops": 2,
             "Shared Hit Blocks": 80, "Rows Removed by Filter": 50, "Filter": "(b = 2)"},
            {"Node Type": "Result", "Actual Rows": 0, "Actual Loops": 0},
        ],
    })  # fmt: skip
    assert tree is not None
    index, scan, never = tree.children
    assert (tree.heat, scan.heat) == (0.1, 0.8)
    assert ("rows", "12") in index.facts
    assert index.target == "using i on t"
    assert index.conditions == [("Index Cond", "(a = 1)")]
    assert ("rows removed", "100") in scan.facts
    assert (index.suspect, scan.suspect) == (False, True)
    assert never.facts == [("", "never executed")]
    assert plan_tree({}) is None


def test_a_plan_nested_beyond_reason_is_cut_and_not_a_crash() -> None:
    node: dict[str, Any] = {"Node Type": "Result"}
    for _ in range(500):
        node = {"Node Type": "Limit", "Plans": [node]}
    assert plan_tree(node) is not None
