"""Charts of latency: quantiles against targets, the tail of every operation, and each one's shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from eventmark.report.histogram import LEAST_MS, Decoded, decode, density, slower_share
from eventmark.report.numbers import limit, milliseconds
from eventmark.report.palette import INK, SOFT, TARGET, chart_of, colour, colours, digits, verdict_colour
from eventmark.results.results import OperationResult

POINTS_MAX = 160
_LOG = alt.Scale(type="log", nice=False)


def quantile_chart(operations: Mapping[str, OperationResult]) -> alt.TopLevelMixin:
    """Every operation on one logarithmic scale: p50 to p99, on to max, p95 with its interval, the target."""
    rows = [
        _quantiles(name, operation)
        for name, operation in operations.items()
        if operation.latency_ms is not None
    ]
    shown = ("operation", "verdict", "50th", "95th", "interval", "99th", "longest", "limit")
    base = chart_of(rows).encode(
        y=alt.Y("operation:N", sort=None, title=None, axis=alt.Axis(labelLimit=150, labelFontWeight=600)),
        tooltip=[alt.Tooltip(field, type="nominal") for field in shown],
    )
    axis = alt.X("p50:Q", scale=_LOG, title="milliseconds, logarithmic", axis=_decades())
    verdicts = sorted({row["verdict"] for row in rows})
    tone = alt.Color(
        "verdict:N",
        scale=alt.Scale(domain=verdicts, range=[verdict_colour(verdict) for verdict in verdicts]),
        legend=None,
    )
    whisker = base.mark_rule(color=SOFT, opacity=0.6).encode(x=axis, x2=alt.X2("max:Q"))
    body = base.mark_bar(height=9, cornerRadius=4, color=colour(0), opacity=0.45).encode(
        x=axis, x2=alt.X2("p99:Q")
    )
    interval = base.mark_rule(strokeWidth=4, color=INK).encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"))
    dot = base.mark_point(filled=True, size=64, color=INK, opacity=1).encode(x=alt.X("p95:Q"))
    target = base.mark_tick(thickness=3, height=18, opacity=1).encode(x=alt.X("target:Q"), color=tone)
    return alt.layer(whisker, body, interval, dot, target).properties(
        width="container", height=28 * len(rows) + 50
    )


def slower_chart(operations: Mapping[str, OperationResult]) -> alt.TopLevelMixin | None:
    """For each latency, the share of calls that took longer, down to the rarest. The legend singles out."""
    decoded = {name: read for name, operation in operations.items() if (read := decode(operation.histogram))}
    if not decoded:
        return None
    rows = [
        {"operation": name, "latency": digits(latency_ms), "slower": digits(slower)}
        for name, histogram in decoded.items()
        for latency_ms, slower in _thinned(slower_share(histogram))
    ]
    targets = [
        {"operation": name, "target": operation.target_ms}
        for name, operation in operations.items()
        if name in decoded and operation.target_ms
    ]
    picked = alt.selection_point(fields=["operation"], bind="legend", name="picked")
    tone = alt.Color(
        "operation:N", sort=None, scale=alt.Scale(domain=list(decoded), range=colours(len(decoded))),
        legend=alt.Legend(orient="bottom", columns=alt.ExprRef("width < 420 ? 2 : 4"), title=None, labelLimit=150),
    )  # fmt: skip
    lines = (
        chart_of(rows)
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X("latency:Q", scale=_LOG, title="milliseconds, logarithmic", axis=_decades()),
            y=alt.Y(
                "slower:Q",
                scale=alt.Scale(type="log", nice=False),
                title="calls that took longer",
                axis=alt.Axis(values=[1, 0.5, 0.1, 0.05, 0.01, 0.001, 0.0001, 0.00001], format="~%"),
            ),
            color=tone,
            opacity=alt.condition(picked, alt.value(1), alt.value(0.1)),
            tooltip=[
                alt.Tooltip("operation:N"),
                alt.Tooltip("latency:Q", title="ms", format=".3~g"),
                alt.Tooltip("slower:Q", title="slower", format=".2~%"),
            ],
        )
        .add_params(picked)
    )
    goals = (
        chart_of(targets)
        .mark_rule(strokeDash=[5, 4], strokeWidth=2)
        .encode(
            x=alt.X("target:Q"),
            color=tone,
            opacity=alt.condition(picked, alt.value(1), alt.value(0), empty=False),
            tooltip=[alt.Tooltip("operation:N"), alt.Tooltip("target:Q", title="target, ms")],
        )
    )
    return alt.layer(lines, goals).properties(width="container", height=330)


def density_chart(name: str, operation: OperationResult) -> alt.TopLevelMixin | None:
    """The shape of one operation's latency, with its quantiles and its target."""
    histogram = decode(operation.histogram)
    if histogram is None:
        return None
    rows = [
        {"from": digits(low), "to": digits(high), "share": digits(share)}
        for low, high, share in density(histogram)
        if share
    ]
    axis = alt.X(
        "from:Q",
        scale=alt.Scale(type="log", nice=False, padding=4),
        title=None,
        axis=alt.Axis(format="~g", tickCount=4, labelOverlap=True, grid=False),
    )
    bars = (
        chart_of(rows, title=alt.Title(name, anchor="start", fontSize=12, fontWeight=600))
        .mark_rect(color=colour(0), opacity=0.75)
        .encode(
            x=axis,
            x2=alt.X2("to:Q"),
            y=alt.Y("share:Q", axis=None, scale=alt.Scale(zero=True)),
            y2=alt.datum(0),
            tooltip=[
                alt.Tooltip("from:Q", title="from, ms", format=".3~g"),
                alt.Tooltip("to:Q", title="to, ms", format=".3~g"),
                alt.Tooltip("share:Q", title="calls", format=".1%"),
            ],
        )
    )
    marks = chart_of(_marks(operation, histogram)).encode(
        x=alt.X("at:Q"), tooltip=[alt.Tooltip("name:N", title="what"), alt.Tooltip("said:N", title="latency")]
    )
    goal = "datum.name == 'target'"
    rules = marks.transform_filter(f"!({goal})").mark_rule(strokeWidth=1, color=INK, opacity=0.75)
    labels = marks.transform_filter("datum.name == 'p95'").mark_text(
        align="left", baseline="top", dx=3, color=INK, fontSize=10
    )
    target = marks.transform_filter(goal).mark_rule(strokeWidth=2, strokeDash=[5, 3], color=TARGET)
    return alt.layer(
        bars, rules, labels.encode(y=alt.value(0), text=alt.Text("name:N")), target
    ).properties(width="container", height=84)  # fmt: skip


def _marks(operation: OperationResult, decoded: Decoded) -> list[dict[str, Any]]:
    """The quantiles as judged, and the target."""
    quantiles = {name: operation.quantile_ms(name) or 0.0 for name in ("p50", "p95", "p99")}
    rows = [
        {"name": name, "at": max(value, LEAST_MS), "said": milliseconds(value)}
        for name, value in quantiles.items()
    ]
    if operation.target_ms:
        rows.append(
            {
                "name": "target",
                "at": operation.target_ms,
                "said": f"{operation.target_quantile} < {limit(operation.target_ms)}",
            }
        )
    return rows


def _quantiles(name: str, operation: OperationResult) -> dict[str, Any]:
    latency, judged = operation.latency_ms, operation.interval_ms.get("p95")
    assert latency is not None, "operations without a call that succeeded are not drawn"
    row: dict[str, Any] = {
        "operation": name, "verdict": operation.verdict.value,
        "50th": milliseconds(latency.p50), "95th": milliseconds(latency.p95),
        "99th": milliseconds(latency.p99), "longest": milliseconds(latency.max),
        "limit": f"{operation.target_quantile} < {limit(operation.target_ms)}" if operation.target_ms else "none",
        "interval": f"{milliseconds(judged.low)} to {milliseconds(judged.high)}" if judged else "none",
    }  # fmt: skip
    marks = {"p50": latency.p50, "p95": latency.p95, "p99": latency.p99, "max": latency.max}
    if judged is not None:
        marks |= {"low": judged.low, "high": judged.high if judged.high is not None else latency.max}
    if operation.target_ms:
        marks["target"] = operation.target_ms
    return row | {field: max(digits(value), LEAST_MS) for field, value in marks.items()}


def _decades() -> alt.Axis:
    """Powers of ten: every tick between them would be a wall of lines."""
    return alt.Axis(values=[10.0**power for power in range(-4, 7)], format="~g", labelOverlap=True)


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """At most about ``POINTS_MAX``, the rare long calls at the end whole: they are what the chart is for."""
    head, tail = points[: -POINTS_MAX // 2], points[-POINTS_MAX // 2 :]
    step = max(1, -(-len(head) // (POINTS_MAX // 2)))
    return [*head[::step], *tail]
