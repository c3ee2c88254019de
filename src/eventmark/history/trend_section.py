"""Trends as a section of a report, and as a result of their own."""

from __future__ import annotations

import msgspec

from eventmark.history.change_points import LevelStep
from eventmark.history.comparison import FailOn
from eventmark.history.trends import Trend, Trends, judge_trends, worsening
from eventmark.judgement.verdicts import UNDECIDED
from eventmark.results.results import (
    Chart,
    Finding,
    Point,
    Row,
    RunResult,
    Section,
    Table,
    Verdict,
    columns,
)

CHARTS_MAX = 12
STEP = "step"


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
    shown = changed + [trend for trend in trends.trends if trend not in changed and len(trend.values) > 1]
    return Section(
        name="trends",
        title="Trends",
        verdict=verdict,
        text=_text(trends, len(changed)),
        findings=[
            *(_finding(trend, trends) for trend in changed),
            *(
                _unjudged(reason)
                for reason in reasons
                if verdict is Verdict.INCONCLUSIVE or _is_undecided(reason)
            ),
        ],
        tables=[table for table in [_table(changed)] if table.rows],
        charts=[_chart(trend, trends) for trend in shown[:CHARTS_MAX]],
    )


def _text(trends: Trends, changed: int) -> list[str]:
    return [
        f"{trends.runs} runs, {len(trends.trends)} numbers, {changed} of them changed.",
        f"A step for the worse counts while it is among the last {trends.recent} runs, a drift as long as it lasts; "
        f"both from {trends.slowdown:.0%} on. "
        "Confidence assumes independent runs: where a machine's speed varies by the week, a step may be its own.",
        *trends.notes,
    ]


def _is_undecided(reason: str) -> bool:
    return reason.startswith(UNDECIDED)


def _unjudged(reason: str) -> Finding:
    name, _, why = reason.removeprefix(UNDECIDED).partition(": ")
    return Finding(name=name, verdict=Verdict.INCONCLUSIVE, observed=why, expected="a number in each run")


def _finding(trend: Trend, trends: Trends) -> Finding:
    worse = worsening(trend, trends.recent, trends.slowdown)
    sentences = [trend.described_step(step) for step in trend.changes.steps[-1:]]
    if trend.changes.drift is not None:
        sentences.append(trend.described_drift(trend.changes.drift))
    return Finding(
        name=trend.label,
        verdict=Verdict.BROKEN if worse else Verdict.MET,
        observed=worse or "; ".join(sentences),
        expected="no recent step and no drift for the worse",
        remedy=_remedy(trend, trends.recent) if worse else "",
    )


def _remedy(trend: Trend, recent: int) -> str:
    """How to see what the change came with."""
    steps = trend.recent_steps(recent)
    if not steps:
        return "a drift has no single commit: compare its first run with the last, eventmark compare"
    return _remedy_of_step(trend, steps[-1])


def _remedy_of_step(trend: Trend, step: LevelStep) -> str:
    before, since = trend.runs[step.at - 1], trend.runs[step.at]
    if not since.commit or not before.commit:
        return f"see what changed between {before.moment} and {since.moment}"
    if since.commit == before.commit:
        return f"commit {since.commit[:12]} was faster before: see what changed on the machine or its server"
    return (
        "see what the commits in between changed: "
        f"eventmark gate --base {before.commit[:12]} --candidate {since.commit[:12]}"
    )


def _table(changed: list[Trend]) -> Table:
    rows: list[Row] = []
    for trend in changed:
        for step in trend.changes.steps:
            run = trend.runs[step.at]
            rows.append([
                trend.label, "step", step.before, step.after, trend.unit, f"{step.ratio - 1:+.1%}", run.moment,
                run.commit[:12] or None, step.confidence,
            ])  # fmt: skip
        drift = trend.changes.drift
        if drift is not None:
            run = trend.runs[drift.since]
            rows.append([
                trend.label, f"drift over {drift.runs} runs", None, trend.values[-1], trend.unit,
                f"{drift.ratio - 1:+.1%}", run.moment, run.commit[:12] or None, drift.confidence,
            ])  # fmt: skip
    return Table(
        title="Changes",
        columns=columns("number", "change", "before", "after", "unit", "by", "since", "commit", "confidence|share"),
        rows=rows,
    )  # fmt: skip


def _chart(trend: Trend, trends: Trends) -> Chart:
    """The runs and their levels, with the steps marked."""
    runs = [Point(x=float(number), y=value, series="runs") for number, value in enumerate(trend.values, 1)]
    levels = [
        Point(x=float(number), y=level, series="level")
        for number, level in enumerate(trend.changes.levels, 1)
    ]
    steps = [
        Point(x=float(step.at + 1), y=trend.values[step.at], series=STEP) for step in trend.changes.steps
    ]
    return Chart(
        title=trend.label, mark="line", x="run", y=trend.unit or "count", points=[*runs, *levels, *steps],
        dots=[STEP] if steps else [],
    )  # fmt: skip
