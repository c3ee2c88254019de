"""What each ordering lost and what it costs: one table for the terminal and for Markdown, one chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from eventmark.report.numbers import NONE, significant, whole
from eventmark.report.palette import INK, chart_of, colours, digits
from eventmark.report.text import counted, cut
from eventmark.results.results import Finding, Latency, OrderingResult, Verdict
from eventmark.text import one_line

HEAD = (
    "ordering", "committed", "lost", "twice", "out of order", "conflicts", "appends/s", "events/s",
    "append ms", "visible ms", "handled ms",
)  # fmt: skip
FINDING_MAX = 400
FINDINGS_MAX = 4  # of one ordering, on a terminal
NOTE = (
    "Lost, twice and out of order are summed over the consumers; rates are of writers at full speed; latencies "
    "are p50 / p95 of single appends at a steady rate beside slow transactions: until acknowledged, from there until "
    "a consumer has the event, and from the call until it is handled."
)


def price_row(one: OrderingResult) -> list[str]:
    """The cells under ``HEAD``."""
    return [
        one_line(one.ordering), whole(one.committed), whole(one.lost), whole(one.duplicated), whole(one.out_of_order),
        whole(one.conflicts), whole(one.appends_per_s), whole(one.events_per_s), _two(one.append_ms),
        _two(one.visible_ms), _two(one.handled_ms),
    ]  # fmt: skip


def render_orderings(orderings: Sequence[OrderingResult]) -> RenderableType:
    """The price table, then what was found against each that is not MET."""
    table = Table(
        box=box.SIMPLE_HEAD, title="orderings", title_justify="left", pad_edge=False, show_edge=False,
        padding=(0, 1, 0, 0),
    )  # fmt: skip
    for name in HEAD:
        table.add_column(name, justify="left" if name == "ordering" else "right", overflow="fold")
    for one in orderings:
        table.add_row(*map(Text, price_row(one)))
    lines: list[RenderableType] = [table]
    for one in orderings:
        told: list[str] = []
        for finding in faults_of(one)[:FINDINGS_MAX]:
            said = f"{one.ordering}: {finding.name}, {finding.expected}: {cut(finding.observed, FINDING_MAX)}"
            lines.append(Padding(Text(one_line(said)), (0, 0, 0, 2)))
            if finding.remedy and finding.remedy not in told:
                told.append(finding.remedy)
                lines.append(Padding(Text(f"What to do: {one_line(finding.remedy)}"), (0, 0, 0, 4)))
        if more := len(faults_of(one)[FINDINGS_MAX:]):
            lines.append(
                Padding(
                    Text(f"{one_line(one.ordering)}: {counted(more, 'more finding')} in the report"),
                    (0, 0, 0, 2),
                )
            )
        if faults_of(one) and one.replay:
            lines.append(Padding(Text(f"again: {one_line(one.replay)}", style="dim"), (0, 0, 0, 4)))
    return Group(*lines)


def faults_of(one: OrderingResult) -> list[Finding]:
    """The invariants that do not hold."""
    return [finding for finding in one.findings if finding.verdict is not Verdict.MET]


def price_chart(orderings: Sequence[OrderingResult]) -> alt.TopLevelMixin | None:
    """Latency of each ordering, p50 to p99 with p95 marked, on a logarithmic scale."""
    rows: list[dict[str, Any]] = [
        {
            "ordering": one.ordering, "what": what, "p50": max(digits(latency.p50), 0.001),
            "p95": max(digits(latency.p95), 0.001), "p99": max(digits(latency.p99), 0.001),
        }
        for one in orderings
        for what, latency in (("append", one.append_ms), ("visible", one.visible_ms), ("handled", one.handled_ms))
        if latency is not None
    ]  # fmt: skip
    if not rows:
        return None
    kinds = ["append", "visible", "handled"]
    base = chart_of(rows).encode(
        y=alt.Y("ordering:N", sort=None, title=None),
        yOffset=alt.YOffset("what:N", sort=kinds),
        tooltip=["ordering:N", "what:N", "p50:Q", "p95:Q", "p99:Q"],
    )
    tone = alt.Color("what:N", title=None, sort=kinds, scale=alt.Scale(domain=kinds, range=colours(3)))
    scale = alt.Scale(type="log", nice=False)
    axis = alt.X("p50:Q", scale=scale, title="milliseconds, logarithmic")
    bars = base.mark_bar(height=8, cornerRadius=3, opacity=0.6).encode(x=axis, x2="p99:Q", color=tone)
    dots = base.mark_point(filled=True, size=36, color=INK, opacity=1).encode(x="p95:Q")
    return alt.layer(bars, dots).properties(
        width="container", height=52 * len({row["ordering"] for row in rows}) + 50
    )


def _two(latency: Latency | None) -> str:
    return NONE if latency is None else f"{significant(latency.p50)} / {significant(latency.p95)}"
