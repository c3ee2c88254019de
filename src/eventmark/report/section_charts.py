"""The charts of any experiment's sections, by what they show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import msgspec

from eventmark.report.palette import INK, chart_of, colour, colours, digits
from eventmark.report.sections import chart_id
from eventmark.report.time_charts import SHORT
from eventmark.results.results import Chart, Point, Section
from eventmark.text import one_line

LINE_HEIGHT, BAR_HEIGHT, CELL_HEIGHT = 260, 24, 22  # pixels
SYMBOLS_MAX = 60  # points in a line that are marked one by one


def section_charts(sections: Sequence[Section]) -> dict[str, alt.TopLevelMixin]:
    """Every chart of the sections by its place in the page; one without points is left out."""
    return {
        chart_id(number, index): drawn_chart(chart)
        for number, section in enumerate(sections)
        for index, chart in enumerate(section.charts)
        if chart.points
    }


def drawn_chart(chart: Chart) -> alt.TopLevelMixin:
    """The chart as the page's library draws it. Raises ``ValueError`` for a mark that is none."""
    makers = {"line": _lines, "point": _lines, "area": _lines, "bar": _bars, "heat": _heat}
    if chart.mark not in makers:
        raise ValueError(f"no chart is called {chart.mark!r}")
    titled = msgspec.structs.replace(chart, x=one_line(chart.x), y=one_line(chart.y))
    return makers[chart.mark](titled)


def _lines(chart: Chart) -> alt.TopLevelMixin:
    """Lines, points or areas over a number or over names, with intervals where points have them."""
    series = list(dict.fromkeys(one_line(point.series) for point in chart.points))
    dots = [one_line(name) for name in chart.dots]
    names = chart.mark == "point" and all(isinstance(point.x, str) for point in chart.points)
    side_by_side: dict[str, Any] = (
        {"xOffset": alt.XOffset("series:N", sort=series)} if names and len(series) > 1 else {}
    )
    base = chart_of([_row(point) for point in chart.points]).encode(
        **side_by_side,
        x=_axis("x", chart.x, chart.x_log, chart.points),
        y=_axis("y", chart.y, chart.y_log, chart.points),
        color=_tone(series),
        tooltip=_tooltips(chart, many=len(series) > 1),
    )
    layers: list[alt.Chart] = []
    if any(point.low is not None for point in chart.points):
        bounds = base.transform_filter("isValid(datum.low) && isValid(datum.high)")
        layers.append(
            bounds.mark_rule(strokeWidth=1.5, opacity=0.6).encode(y=alt.Y("low:Q"), y2=alt.Y2("high:Q"))
        )
    if chart.mark == "area":
        layers.append(base.mark_area(opacity=0.25, line=True))
    elif chart.mark == "line":
        joined = base.transform_filter(
            alt.FieldOneOfPredicate("series", [name for name in series if name not in dots])
        )
        layers.append(joined.mark_line(strokeWidth=2))
    if dots:
        marked = base.transform_filter(alt.FieldOneOfPredicate("series", dots))
        layers.append(marked.mark_point(filled=True, size=60, opacity=0.9))
    elif chart.mark == "point" or len(chart.points) <= SYMBOLS_MAX:
        layers.append(base.mark_point(filled=True, size=40, opacity=0.9))
    return alt.layer(*layers).properties(width="container", height=LINE_HEIGHT)


def _bars(chart: Chart) -> alt.TopLevelMixin:
    """Bars that lie, a name each; with series, side by side."""
    series = list(dict.fromkeys(point.series for point in chart.points))
    names = list(dict.fromkeys(str(point.x) for point in chart.points))
    encoding: dict[str, Any] = {
        "y": alt.Y("x:N", sort=None, title=None, axis=alt.Axis(labelLimit=220)),
        "x": _value_axis("y", chart.y, chart.y_log),
        "color": _tone(series),
        "tooltip": _tooltips(chart, many=len(series) > 1),
    }
    if len(series) > 1:
        encoding["yOffset"] = alt.YOffset("series:N", sort=series)
    base = chart_of([_row(point) for point in chart.points]).encode(**encoding)
    layers = [base.mark_bar(cornerRadiusEnd=3)]
    if any(point.low is not None for point in chart.points):
        layers.append(
            base.mark_rule(color=INK, strokeWidth=1.5).encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"))
        )
    height = BAR_HEIGHT * len(names) * max(1, 0.7 * len(series)) + 40
    return alt.layer(*layers).properties(width="container", height=height)


def _heat(chart: Chart) -> alt.TopLevelMixin:
    """A cell for each pair of names, coloured by its value on a logarithmic scale where ``y_log``."""
    scale = alt.Scale(
        type="log" if chart.y_log else "linear", range=[0.06, 1.0], nice=False, **_heat_domain(chart)
    )
    heat = (
        chart_of([_row(point) for point in chart.points])
        .mark_rect(color=colour(0), stroke="var(--line)", strokeWidth=0.5)
        .encode(
            x=alt.X("x:N", sort=None, title=chart.x, axis=alt.Axis(labelAngle=-40, labelLimit=140)),
            y=alt.Y("y:N", sort=None, title=chart.y, axis=alt.Axis(labelLimit=180)),
            # A page's colours are variables, which a scale cannot mix; their opacity it can
            opacity=alt.Opacity("value:Q", scale=scale, legend=None),
            tooltip=[alt.Tooltip("x:N"), alt.Tooltip("y:N"), alt.Tooltip("value:Q", format=",.4~r")],
        )
    )
    names = list(dict.fromkeys(str(point.y) for point in chart.points))
    shown: alt.Chart = heat.properties(width="container", height=CELL_HEIGHT * len(names) + 60)
    return shown


def _heat_domain(chart: Chart) -> dict[str, Any]:
    """A logarithmic scale spans a decade at least: a difference of a hundredth is not to look like one of a hundred."""
    values = [point.value for point in chart.points if point.value is not None]
    if not chart.y_log or not values:
        return {}
    least = min(values)
    return {"domain": [least, max(*values, 10 * least)]}


def _row(point: Point) -> dict[str, Any]:
    row: dict[str, Any] = {"x": _shown(point.x), "y": _shown(point.y), "series": one_line(point.series)}
    for name in ("low", "high", "value"):
        value = getattr(point, name)
        if value is not None:
            row[name] = digits(value)
    return row


def _shown(value: float | str) -> float | str:
    return one_line(value) if isinstance(value, str) else digits(value)


def _axis(side: str, title: str, log: bool, points: Sequence[Point]) -> Any:
    channel = alt.X if side == "x" else alt.Y
    if any(isinstance(getattr(point, side), str) for point in points):
        names = alt.Axis(labelLimit=140, labelAngle=-40 if side == "x" else 0)
        return channel(f"{side}:N", sort=None, title=title, axis=names)
    return _value_axis(side, title, log, channel)


def _value_axis(name: str, title: str, log: bool, channel: Any = alt.X) -> Any:
    """An axis of numbers. What lies along bars or rises begins at nought, unless it is logarithmic."""
    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(zero=name == "y")
    return channel(
        f"{name}:Q", title=title, scale=scale, axis=alt.Axis(labelExpr=SHORT, tickCount=6), stack=None
    )


def _tone(series: Sequence[str]) -> alt.Color:
    names = [one_line(name) for name in series]
    legend = alt.Legend(orient="top", title=None, labelLimit=200, columns=3) if len(names) > 1 else None
    return alt.Color(
        "series:N", sort=None, scale=alt.Scale(domain=names, range=colours(len(names))), legend=legend
    )


def _tooltips(chart: Chart, *, many: bool) -> list[alt.Tooltip]:
    tips = []
    for side, title in (("x", chart.x), ("y", chart.y)):
        named = any(isinstance(getattr(point, side), str) for point in chart.points)
        tips.append(
            alt.Tooltip(f"{side}:N", title=title)
            if named
            else alt.Tooltip(f"{side}:Q", title=title, format=",.4~r")
        )
    return tips + ([alt.Tooltip("series:N", title="series")] if many else [])
