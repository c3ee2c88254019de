"""The charts, as Vega-Lite specifications: one definition, interactive in the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt
from hdrh.histogram import HdrHistogram

from eventmark.measure.results import CorpusResult, OperationResult, Phase, RunResult, Series

POINTS_MAX = 240
NAMED_SHARE = 0.06  # of the run: a shorter phase has no room for its name
_NS_PER_MS = 1e6
_EMPTY_NS = 1e-4
_PALETTE = [
    "#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0",
]  # fmt: skip


def chart_specs(result: RunResult) -> dict[str, dict[str, Any]]:
    """Specifications by the id of their place in the page. What the result does not hold has no chart."""
    specs: dict[str, alt.TopLevelMixin] = {}
    if result.operations:
        specs["quantiles"] = quantile_chart(result.operations)
        specs["distributions"] = slower_chart(result.operations)
    for name, series, title in _groups(result.series):
        specs[name] = series_chart(series, result.phases, title)
    waits = [one for one in result.series if one.name.startswith("waits:")]
    if waits:
        specs["waits"] = waits_chart(waits, result.phases)
    if result.corpus is not None:
        if result.corpus.growth is not None:
            specs["growth"] = growth_chart(result.corpus)
        for number, (name, shares) in enumerate(result.corpus.distributions.items()):
            if shares:
                specs[f"corpus{number}"] = bars_chart(name, shares)
    return {name: _finished(chart) for name, chart in specs.items()}


def quantile_chart(operations: Mapping[str, OperationResult]) -> alt.TopLevelMixin:
    """Every operation on one logarithmic scale: p50 to p99, p95 with its interval, the target."""
    rows = []
    for name, one in operations.items():
        judged = one.interval_ms.get("p95")
        rows.append(
            {
                "operation": name, "p50": _above_zero(one.latency_ms.p50), "p95": _above_zero(one.latency_ms.p95),
                "p99": _above_zero(one.latency_ms.p99), "max": _above_zero(one.latency_ms.max),
                "target": one.target_ms, "verdict": one.verdict.value,
                "low": _above_zero(judged.low) if judged else None,
                "high": judged.high if judged else None,
            }
        )  # fmt: skip
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("operation:N", sort=None, title=None),
        tooltip=[
            alt.Tooltip(f"{field}:{kind}", format="" if kind == "N" else ".3~g")
            for field, kind in (
                ("operation", "N"), ("p50", "Q"), ("p95", "Q"), ("p99", "Q"), ("max", "Q"), ("target", "Q"),
                ("verdict", "N"),
            )
        ],
    )  # fmt: skip
    axis = alt.X("p50:Q", scale=alt.Scale(type="log"), title="latency, ms (logarithmic)")
    whisker = base.mark_rule(opacity=0.35, color=_PALETTE[0]).encode(x=axis, x2="max:Q")
    body = base.mark_bar(height=10, cornerRadius=3, color=_PALETTE[0]).encode(x=axis, x2="p99:Q")
    p95 = base.mark_point(filled=True, size=70, color=_PALETTE[1], opacity=1).encode(x="p95:Q")
    target = base.mark_tick(thickness=3, height=20, color=_PALETTE[2]).encode(x="target:Q")
    return alt.layer(whisker, body, p95, target).properties(width="container", height=alt.Step(26))


def slower_chart(operations: Mapping[str, OperationResult]) -> alt.TopLevelMixin:
    """For each latency, the share of calls that took longer; both scales logarithmic. Click to single out."""
    rows = [
        {"operation": name, "latency": latency_ms, "slower": slower}
        for name, one in operations.items()
        for latency_ms, slower in _slower(one.histogram)
    ]
    picked = alt.selection_point(fields=["operation"], bind="legend")
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X("latency:Q", scale=alt.Scale(type="log"), title="latency, ms (logarithmic)"),
            y=alt.Y(
                "slower:Q", scale=alt.Scale(type="log"), title="share of calls slower (logarithmic)",
                axis=alt.Axis(format="~%"),
            ),
            color=alt.Color(
                "operation:N", sort=None, scale=alt.Scale(range=_PALETTE),
                legend=alt.Legend(orient="bottom", columns=2, title=None, labelLimit=220),
            ),
            opacity=alt.condition(picked, alt.value(1), alt.value(0.12)),
            tooltip=["operation:N", alt.Tooltip("latency:Q", format=".3~g"), alt.Tooltip("slower:Q", format=".2~%")],
        )
        .add_params(picked)
        .properties(width="container", height=300)
    )  # fmt: skip


def series_chart(series: Sequence[Series], phases: Sequence[Phase], title: str) -> alt.TopLevelMixin:
    """Lines over the run's seconds, its phases as bands behind them."""
    lines = (
        alt.Chart(alt.Data(values=_points(series)))
        .mark_line(strokeWidth=1.6)
        .encode(
            x=alt.X("at:Q", title="seconds since the run began"),
            y=alt.Y("value:Q", title=title),
            color=alt.Color(
                "series:N",
                scale=alt.Scale(range=_PALETTE),
                legend=alt.Legend(orient="bottom", columns=2, title=None),
            ),
            tooltip=["series:N", alt.Tooltip("at:Q", format=".1f"), alt.Tooltip("value:Q", format=".3~g")],
        )
    )
    return alt.layer(*_bands(phases), lines).properties(width="container", height=190)


def waits_chart(waits: Sequence[Series], phases: Sequence[Phase]) -> alt.TopLevelMixin:
    """What the server's sessions were waiting for, stacked."""
    area = (
        alt.Chart(alt.Data(values=_points(waits, strip="waits:")))
        .mark_area()
        .encode(
            x=alt.X("at:Q", title="seconds since the run began"),
            y=alt.Y("value:Q", stack="zero", title="active sessions"),
            color=alt.Color(
                "series:N",
                scale=alt.Scale(range=_PALETTE),
                legend=alt.Legend(orient="bottom", columns=2, title=None),
            ),
            tooltip=["series:N", alt.Tooltip("at:Q", format=".1f"), alt.Tooltip("value:Q", format=".3~g")],
        )
    )
    return alt.layer(*_bands(phases), area).properties(width="container", height=190)


def growth_chart(corpus: CorpusResult) -> alt.TopLevelMixin:
    """Events in the table while it was loaded."""
    assert corpus.growth is not None
    return (
        alt.Chart(alt.Data(values=_points([corpus.growth])))
        .mark_area(line={"color": _PALETTE[0]}, color=_PALETTE[0], opacity=0.25)
        .encode(
            x=alt.X("at:Q", title="seconds of loading"),
            y=alt.Y("value:Q", title="events", axis=alt.Axis(format="~s")),
            tooltip=[alt.Tooltip("at:Q", format=".1f"), alt.Tooltip("value:Q", format=",")],
        )
        .properties(width="container", height=190)
    )


def bars_chart(name: str, shares: Mapping[str, float]) -> alt.TopLevelMixin:
    """One distribution of the corpus."""
    rows = [{"label": label, "value": value} for label, value in shares.items()]
    unit = "~%" if max(shares.values()) <= 1 else "~s"
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(color=_PALETTE[0], cornerRadiusEnd=2)
        .encode(
            x=alt.X("label:N", sort=None, title=None, axis=alt.Axis(labelAngle=-60 if len(rows) > 8 else 0)),
            y=alt.Y("value:Q", title=None, axis=alt.Axis(format=unit)),
            tooltip=["label:N", alt.Tooltip("value:Q", format=",.4~g")],
        )
        .properties(width="container", height=150)
    )


def _groups(series: Sequence[Series]) -> Iterator[tuple[str, list[Series], str]]:
    """Series that share a chart: its id, the series, the axis' title."""
    named = {one.name: one for one in series}
    for name, members, title in (
        ("cpu", ("client_cpu", "server_cpu"), "CPU, cores"),
        ("memory", ("client_rss", "server_rss"), "memory, MiB"),
        ("disk", ("wal_rate", "server_write_rate", "server_read_rate", "client_write_rate"), "MiB/s"),
        ("buffers", ("buffers_hit_rate", "buffers_read_rate"), "buffer pages/s"),
    ):
        found = [named[member] for member in members if member in named]
        if found:
            yield name, found, title


def _bands(phases: Sequence[Phase]) -> list[alt.Chart]:
    if not phases:
        return []
    rows = [{"phase": phase.name, "start": phase.start_s, "end": phase.end_s} for phase in phases]
    base = alt.Chart(alt.Data(values=rows))
    bands = base.mark_rect(opacity=0.09, color=_PALETTE[9]).encode(x="start:Q", x2="end:Q", tooltip="phase:N")
    length_s = max(phase.end_s for phase in phases)
    named = [
        row
        for row, phase in zip(rows, phases, strict=True)
        if phase.end_s - phase.start_s > NAMED_SHARE * length_s
    ]
    starts = base.mark_rule(opacity=0.5, strokeDash=[3, 3], color=_PALETTE[9]).encode(x="start:Q")
    names = (
        alt.Chart(alt.Data(values=named))
        .mark_text(align="left", baseline="top", dx=3, dy=3, fontSize=10, color=_PALETTE[9])
        .encode(x="start:Q", y=alt.value(0), text="phase:N")
    )
    return [bands, starts, names]


def _points(series: Sequence[Series], strip: str = "") -> list[dict[str, Any]]:
    """At most ``POINTS_MAX`` points a series, each the highest of its neighbours: peaks must not vanish."""
    rows = []
    for one in series:
        step = -(-len(one.at_s) // POINTS_MAX) or 1
        for begin in range(0, len(one.at_s), step):
            values = one.values[begin : begin + step]
            rows.append(
                {
                    "series": one.name.removeprefix(strip).replace("_", " "),
                    "at": one.at_s[begin],
                    "value": max(values),
                }
            )
    return rows


def _slower(encoded: str) -> list[tuple[float, float]]:
    histogram = HdrHistogram.decode(encoded)
    total = histogram.get_total_count()
    points, seen = [], 0
    for item in histogram.get_recorded_iterator():
        seen += item.count_added_in_this_iter_step
        latency_ms = max(item.value_iterated_to / _NS_PER_MS, _EMPTY_NS)
        points.append((latency_ms, max((total - seen) / total, 0.5 / total)))
    step = -(-len(points) // POINTS_MAX) or 1
    return points[::step] + points[-1:]


def _above_zero(value: float) -> float:
    """A logarithmic scale has no nought."""
    return max(value, _EMPTY_NS)


def _finished(chart: alt.TopLevelMixin) -> dict[str, Any]:
    spec: dict[str, Any] = chart.to_dict()
    spec.pop("config", None)
    spec.pop("$schema", None)  # names a remote place, and nothing looks at it
    spec["background"] = None
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return spec
