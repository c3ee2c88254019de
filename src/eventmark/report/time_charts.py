"""Charts over time: what client and server did while the run went through its phases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from eventmark.report.palette import BAND, INK, SOFT, chart_of, colour, colours, digits
from eventmark.results.results import Phase, Series
from eventmark.text import one_line

POINTS_MAX = 240
NAMED_SHARE = 0.08  # of the run: a shorter phase has no room for its name
STRIP_HEIGHT, PANEL_HEIGHT = 26, 110  # pixels
AXIS_WIDTH = 50  # pixels, the same for every panel, so that they stand exactly above each other
EXTRA_PANELS_MAX = 6
STACKED_MAX = 10  # no more than there are colours; the smallest beyond are one together
WAITS = "waits:"
SHORT = (  # 1500 as 1.5k, a half as 0.5 and not as 500m, nought as 0
    "datum.value == 0 ? '0' : abs(datum.value) < 1 ? format(datum.value, '.2~g') : format(datum.value, '.3~s')"
)

# title of the panel -> its series; what is named nowhere gets panels by unit
_PANELS = (
    ("CPU, cores", ("server_cpu", "client_cpu")),
    ("memory, MiB", ("server_rss", "client_rss")),
    (
        "WAL and disk, MiB/s",
        ("wal_rate", "disk_write_rate", "disk_read_rate"),
    ),
    (
        "files, cached or not, MiB/s",
        ("server_write_rate", "server_read_rate", "client_write_rate", "client_read_rate"),
    ),
    ("transactions/s", ("commit_rate",)),
    ("shared buffers, pages/s", ("buffers_hit_rate", "buffers_read_rate")),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Panel:
    """Series on one scale. ``stacked`` ones are averaged, others keep their peaks."""

    title: str
    series: tuple[Series, ...]
    stacked: bool = False


def timeline_chart(
    series: Sequence[Series], phases: Sequence[Phase], seconds: float
) -> alt.TopLevelMixin | None:
    """Panels above each other over the run's seconds; the strip of phases on top chooses the stretch shown.

    The page sets the panels' widths: Vega-Lite fits a single view into its place, but not a stack of them.
    """
    panels = panels_of(series)
    if not panels:
        return None
    ends = [phase.end_s for phase in phases] + [line.at_s[-1] for panel in panels for line in panel.series]
    length_s = max([seconds, *ends, 1.0])
    strip = _strip(phases, length_s)
    domain = {"param": "span", "encoding": "x"}
    stack = [_panel(number, panels, phases, length_s, domain) for number in range(len(panels))]
    chart: alt.VConcatChart = alt.vconcat(strip, *stack, spacing=14).resolve_scale(color="independent")
    return chart


def growth_chart(growth: Series | None) -> alt.TopLevelMixin | None:
    """Events in the table while it was loaded."""
    if growth is None or not growth.at_s or len(growth.at_s) != len(growth.values):
        return None
    step = max(1, -(-len(growth.at_s) // POINTS_MAX))
    points = list(zip(growth.at_s, growth.values, strict=True))
    rows = [{"at": at_s, "events": events} for at_s, events in [*points[:-1:step], points[-1]]]
    chart: alt.Chart = (
        chart_of(rows)
        .mark_area(line={"color": colour(0), "strokeWidth": 2}, color=colour(0), fillOpacity=0.18)
        .encode(
            x=alt.X("at:Q", title="seconds of loading"),
            # Two batches may end in the same instant: stacked, as areas are, the second would stand on the first
            y=alt.Y("events:Q", title=None, stack=None, axis=alt.Axis(labelExpr=SHORT, tickCount=5)),
            tooltip=[alt.Tooltip("at:Q", title="s", format=".1f"), alt.Tooltip("events:Q", format=",")],
        )
        .properties(width="container", height=190)
    )
    return chart


def panels_of(series: Sequence[Series]) -> list[Panel]:
    """Every series in one panel: the known ones together, waits stacked, the rest by unit."""
    named = {line.name: line for line in series if line.at_s and len(line.at_s) == len(line.values)}
    panels = []
    for title, members in _PANELS:
        if lines := tuple(named.pop(member) for member in members if member in named):
            panels.append(Panel(title, lines))
    waits = tuple(named.pop(name) for name in sorted(named) if name.startswith(WAITS))
    if waits:
        ranked = sorted(waits, key=lambda wait: -sum(wait.values))
        panels.append(Panel("active sessions, by wait", tuple(ranked), stacked=True))
    by_unit: dict[str, list[Series]] = {}
    for metric in named.values():
        by_unit.setdefault(one_line(metric.unit), []).append(metric)
    panels += [Panel(unit, tuple(metrics)) for unit, metrics in list(by_unit.items())[:EXTRA_PANELS_MAX]]
    return panels


def gridded(series: Series, step_s: float, *, stacked: bool) -> dict[float, float]:
    """The series on a grid common to its panel: the mean or the peak of each step, by the step's start."""
    steps: dict[int, list[float]] = {}
    for at_s, value in zip(series.at_s, series.values, strict=True):
        if math.isfinite(value):
            steps.setdefault(int(at_s / step_s), []).append(value)
    join = _mean if stacked else max
    return {round(number * step_s, 3): digits(join(values)) for number, values in steps.items()}


def _panel(
    number: int, panels: Sequence[Panel], phases: Sequence[Phase], length_s: float, domain: dict[str, str]
) -> alt.LayerChart:
    panel, last = panels[number], number == len(panels) - 1
    step_s = _step_s(panel, length_s)
    labels, seen = _labelled(panel, step_s)
    rows = [
        {"at": at_s, "series": label, "value": value}
        for label, values in zip(labels, seen, strict=True)
        for at_s, value in values.items()
    ]
    x = alt.X(
        "at:Q", scale=alt.Scale(domain=domain, nice=False), title="seconds since the run began" if last else None,
        axis=alt.Axis(labels=last, ticks=last, grid=False, tickCount=8),
    )  # fmt: skip
    shown = chart_of(rows, title=_title(panel.title)).encode(
        x=x,
        y=alt.Y(
            "value:Q", title=None, stack="zero" if panel.stacked else None,
            scale=alt.Scale() if any(row["value"] for row in rows) else alt.Scale(domain=[0, 1]),
            axis=alt.Axis(minExtent=AXIS_WIDTH, maxExtent=AXIS_WIDTH, tickCount=4, labelExpr=SHORT),
        ),
        color=alt.Color(
            "series:N", sort=None, scale=alt.Scale(domain=labels, range=colours(len(labels))),
            legend=alt.Legend(orient="bottom", columns=3, title=None, labelLimit=110, offset=5, symbolSize=60)
            if len(labels) > 1
            else None,
        ),
    )  # fmt: skip
    # Filtered to the chosen stretch, so that the vertical scale fits what is shown
    shown = shown.transform_filter(alt.ParameterPredicate(param="span"))
    drawn = (
        shown.mark_area(interpolate="step-after", clip=True, opacity=0.85)
        if panel.stacked
        else shown.mark_line(strokeWidth=1.5, clip=True)
    )
    return alt.LayerChart(
        layer=[*_bands(phases), drawn, _hover(number, labels, seen, x)], height=PANEL_HEIGHT
    )


def _labelled(panel: Panel, step_s: float) -> tuple[list[str], list[dict[float, float]]]:
    """The panel's labels and, for each, its values on the grid."""
    labels = [one_line(line.name.removeprefix(WAITS)).replace("_", " ") for line in panel.series]
    seen = [gridded(line, step_s, stacked=panel.stacked) for line in panel.series]
    if not panel.stacked or len(labels) <= STACKED_MAX:
        return labels, seen
    kept = [number for number, label in enumerate(labels) if label != "other"][: STACKED_MAX - 1]
    rest = [values for number, values in enumerate(seen) if number not in kept]
    others = {at_s: sum(values.get(at_s, 0.0) for values in rest) for at_s in sorted(set().union(*rest))}
    return [*(labels[number] for number in kept), "other"], [*(seen[number] for number in kept), others]


def _hover(panel: int, labels: Sequence[str], seen: Sequence[dict[float, float]], x: alt.X) -> alt.Chart:
    """A rule at the pointer that tells the value of every series there."""
    rows = []
    for at_s in sorted(set().union(*seen)):
        row: dict[str, Any] = {"at": at_s}
        row |= {f"s{number}": values[at_s] for number, values in enumerate(seen) if at_s in values}
        rows.append(row)
    near = alt.selection_point(
        name=f"near{panel}", nearest=True, on="pointerover", clear="pointerout", fields=["at"], empty=False
    )
    rule: alt.Chart = (
        chart_of(rows)
        .mark_rule(color=SOFT, strokeWidth=1, clip=True)
        .encode(
            x=x,
            opacity=alt.condition(near, alt.value(0.9), alt.value(0)),
            # Names of series are data, never field names: those would be read as expressions
            tooltip=[alt.Tooltip("at:Q", title="second", format=".1f")]
            + [
                alt.Tooltip(f"s{number}:Q", title=label, format=",.3~r")
                for number, label in enumerate(labels)
            ],
        )
        .add_params(near)
    )
    return rule


def _strip(phases: Sequence[Phase], length_s: float) -> alt.LayerChart:
    """The whole run as a strip, its phases named; a stretch of it can be chosen."""
    rows = [_phase_row(number, phase) for number, phase in enumerate(phases)] or [
        {"phase": "the run", "at": 0.0, "end": length_s, "middle": length_s / 2, "shade": 0, "zero": 0}
    ]
    x = alt.X("at:Q", scale=alt.Scale(domain=[0, length_s], nice=False), title=None, axis=None)
    base = chart_of(rows, title=_title("phases"))
    blocks = base.mark_rect(opacity=0.3).encode(
        x=x,
        x2=alt.X2("end:Q"),
        y=alt.value(0),
        y2=alt.value(STRIP_HEIGHT),
        color=alt.Color("shade:N", legend=None, scale=alt.Scale(domain=[0, 1], range=[colour(9), colour(0)])),
        tooltip=[
            alt.Tooltip("phase:N"),
            alt.Tooltip("at:Q", title="from, s", format=".1f"),
            alt.Tooltip("end:Q", title="to, s", format=".1f"),
        ],
    )  # fmt: skip
    long = base.transform_filter(f"datum.end - datum.at > {NAMED_SHARE * length_s:.6g}")
    names = long.mark_text(fontSize=11, fontWeight=600, color=INK).encode(
        x=alt.X("middle:Q"), y=alt.value(STRIP_HEIGHT / 2), text=alt.Text("phase:N")
    )
    # An axis of no labels keeps the strip as far from the left as the panels under it
    bare = alt.Axis(
        minExtent=AXIS_WIDTH, maxExtent=AXIS_WIDTH, labels=False, ticks=False, domain=False, grid=False
    )
    margin = base.mark_point(opacity=0).encode(y=alt.Y("zero:Q", title=None, axis=bare))
    span = alt.selection_interval(encodings=["x"], name="span")
    return alt.LayerChart(layer=[blocks.add_params(span), names, margin], height=STRIP_HEIGHT)


def _bands(phases: Sequence[Phase]) -> list[alt.Chart]:
    """Every second phase shaded, behind the lines."""
    rows = [_phase_row(number, phase) for number, phase in enumerate(phases)]
    if not rows:
        return []
    base = chart_of(rows)
    shades = base.transform_filter("datum.shade == 1").mark_rect(color=BAND, opacity=1, clip=True)
    starts = base.mark_rule(color=SOFT, opacity=0.45, strokeDash=[2, 3], clip=True)
    return [shades.encode(x=alt.X("at:Q"), x2=alt.X2("end:Q")), starts.encode(x=alt.X("at:Q"))]


def _phase_row(number: int, phase: Phase) -> dict[str, Any]:
    middle = (phase.start_s + phase.end_s) / 2
    return {
        "phase": one_line(phase.name), "at": phase.start_s, "end": phase.end_s, "middle": middle,
        "shade": number % 2, "zero": 0,
    }  # fmt: skip


def _step_s(panel: Panel, length_s: float) -> float:
    """Wide enough that each series has a value in every step, and no more than ``POINTS_MAX`` of them."""
    sampled = [
        (line.at_s[-1] - line.at_s[0]) / (len(line.at_s) - 1) for line in panel.series if len(line.at_s) > 1
    ]
    return max([length_s / POINTS_MAX, *sampled, 1e-3])


def _title(text: str) -> alt.TitleParams:
    return alt.Title(text, anchor="start", fontSize=12, fontWeight=600, offset=4)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
