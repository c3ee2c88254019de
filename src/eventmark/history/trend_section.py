"""Trends as a section of a report, and as a result of their own."""

from __future__ import annotations

import msgspec

from eventmark.history.comparison import FailOn
from eventmark.history.trends import Trend, Trends, judge_trends, worsening
from eventmark.results.results import Chart, Column, Finding, Point, RunResult, Section, Table, Verdict

CHARTS_MAX = 12


def trend_result(
    latest: RunResult, trends: Trends, *, command: str, fail_on: FailOn = FailOn.ANY
) -> RunResult:
    """The trends as a result: the environment of the latest, the trends' section and verdict."""
    verdict, reasons = judge_trends(trends, fail_on)
    return msgspec.structs.replace(
        latest, command=command, verdict=verdict, reasons=reasons, corpus=None, operations={}, plans=[], skipped={},
        phases=[], series=[], orderings=[], seconds=0.0, figures={}, sections=[trend_section(trends, fail_on)],
    )  # fmt: skip


def trend_section(trends: Trends, fail_on: FailOn = FailOn.ANY) -> Section:
    verdict, reasons = judge_trends(trends, fail_on)
    changed = [trend for trend in trends.trends if trend.changes.steps or trend.changes.drift]
    shown = changed + [one for one in trends.trends if one not in changed and len(one.values) > 1]
    return Section(
        name="trends",
        title="Trends",
        verdict=verdict,
        text=[*_text(trends, len(changed)), *(reasons if verdict is Verdict.INCONCLUSIVE else [])],
        findings=[_finding(trend, trends.recent) for trend in changed],
        tables=[table for table in [_table(changed)] if table.rows],
        charts=[_chart(trend) for trend in shown[:CHARTS_MAX]],
    )


def _text(trends: Trends, changed: int) -> list[str]:
    left_out = "; ".join(f"{count} {what}" for what, count in trends.left_out.items())
    return [
        f"{trends.runs} runs, {len(trends.trends)} numbers, {changed} of them changed. Left out: {left_out or 'none'}.",
        f"A step for the worse counts while it is among the last {trends.recent} runs, a drift as long as it lasts. "
        "Confidence takes runs for independent: where a machine has good and bad weeks, steps are its weeks.",
    ]


def _finding(trend: Trend, recent: int) -> Finding:
    worse = worsening(trend, recent)
    said = [trend.said_of_step(step) for step in trend.changes.steps[-1:]]
    if trend.changes.drift is not None:
        said.append(trend.said_of_drift(trend.changes.drift))
    return Finding(
        name=trend.name,
        verdict=Verdict.BROKEN if worse else Verdict.MET,
        observed=worse or "; ".join(said),
        expected="no recent step and no drift for the worse",
        remedy="see what the commit changed: eventmark gate --base COMMIT~1 --candidate COMMIT"
        if worse
        else "",
    )


def _table(changed: list[Trend]) -> Table:
    rows: list[list[str | float | None]] = []
    for trend in changed:
        for step in trend.changes.steps:
            run = trend.runs[step.at]
            rows.append([
                trend.name, "step", step.before, step.after, trend.unit, f"{step.ratio - 1:+.1%}", run.moment,
                run.commit[:12] or None, step.confidence,
            ])  # fmt: skip
        drift = trend.changes.drift
        if drift is not None:
            run = trend.runs[drift.since]
            rows.append([
                trend.name, f"drift over {drift.runs} runs", None, trend.values[-1], trend.unit,
                f"{drift.ratio - 1:+.1%}", run.moment, run.commit[:12] or None, drift.confidence,
            ])  # fmt: skip
    return Table(
        title="Changes",
        columns=[
            Column(name="number"), Column(name="change"), Column(name="before"), Column(name="after"),
            Column(name="unit"), Column(name="by"), Column(name="since"), Column(name="commit"),
            Column(name="confidence", unit="share"),
        ],
        rows=rows,
    )  # fmt: skip


def _chart(trend: Trend) -> Chart:
    """The runs and their levels."""
    runs = [Point(x=float(number), y=value, series="runs") for number, value in enumerate(trend.values, 1)]
    levels = [
        Point(x=float(number), y=level, series="level")
        for number, level in enumerate(trend.changes.levels, 1)
    ]
    return Chart(title=trend.name, mark="line", x="run", y=trend.unit or "count", points=[*runs, *levels])
