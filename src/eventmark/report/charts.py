"""The charts, as Vega-Lite specifications by the id of their place in the page.

What a result does not hold has no chart, and the page says so there. Colours are the page's own CSS
variables, so that a chart follows light, dark and paper without being drawn again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from eventmark.report.latency_charts import density_chart, quantile_chart, slower_chart
from eventmark.report.orderings import shown_sections
from eventmark.report.palette import chart_of, colour, specification
from eventmark.report.section_charts import section_charts
from eventmark.report.time_charts import SHORT, growth_chart, timeline_chart
from eventmark.results.results import RunResult
from eventmark.text import one_line

BARS_MAX = 24
UPRIGHT_LABEL_MAX = 5  # characters; longer labels lie beside their bars


@debug_mode(False)  # where charts are checked, then each as a whole and not each of its parts as well
def chart_specs(result: RunResult, *, checked: bool = False) -> dict[str, dict[str, Any]]:
    charts: dict[str, alt.TopLevelMixin | None] = {}
    if any(operation.latency_ms is not None for operation in result.operations.values()):
        charts["quantiles"] = quantile_chart(result.operations)
        charts["slower"] = slower_chart(result.operations)
        for number, (name, judged) in enumerate(result.operations.items()):
            charts[f"density{number}"] = density_chart(name, judged)
    charts["timeline"] = timeline_chart(result.series, result.phases, result.seconds)
    if result.corpus is not None:
        charts["growth"] = growth_chart(result.corpus.growth)
        for number, counts in enumerate(result.corpus.distributions.values()):
            charts[f"corpus{number}"] = bars_chart(counts)
    charts |= section_charts(shown_sections(result))
    return {
        name: specification(chart, checked=checked) for name, chart in charts.items() if chart is not None
    }


def bars_chart(counts: Mapping[str, float]) -> alt.TopLevelMixin | None:
    """One distribution of the corpus; None of an empty one."""
    if not counts:
        return None
    rows = _bars(counts)
    part = max(counts.values()) <= 1
    value_axis = alt.Axis(tickCount=4, format="~%") if part else alt.Axis(tickCount=4, labelExpr=SHORT)
    label = alt.Tooltip("label:N", title="what")
    seen = alt.Tooltip("value:Q", title="share" if part else "count", format=".1%" if part else ",")
    bars = chart_of(rows).mark_bar(color=colour(0), cornerRadiusEnd=3).encode(tooltip=[label, seen])
    if max(len(row["label"]) for row in rows) <= UPRIGHT_LABEL_MAX:
        upright = alt.Axis(labelAngle=0, labelOverlap="greedy", labelSeparation=6)
        return bars.encode(
            x=alt.X("label:N", sort=None, title=None, axis=upright),
            y=alt.Y("value:Q", title=None, axis=value_axis),
        ).properties(width="container", height=190)
    return bars.encode(
        y=alt.Y("label:N", sort=None, title=None, axis=alt.Axis(labelLimit=150)),
        x=alt.X("value:Q", title=None, axis=value_axis),
    ).properties(width="container", height=len(rows) * (17 if len(rows) > 8 else 30) + 30)


def _bars(counts: Mapping[str, float]) -> list[dict[str, Any]]:
    """A row a bar; what is beyond ``BARS_MAX`` is one bar together."""
    listed = [(one_line(label), value) for label, value in counts.items()]
    shown, rest = listed[:BARS_MAX], listed[BARS_MAX:]
    if rest:
        shown.append((f"{len(rest)} others", sum(value for _, value in rest)))
    return [{"label": label, "value": value} for label, value in shown]
