"""What a gate found, as sections of its report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from eventmark.judgement.counters import Change
from eventmark.judgement.plan_changes import PlanChange
from eventmark.results.results import Chart, Finding, Point, Row, Section, Table, Verdict, columns
from eventmark.sidebyside.bout import Bout
from eventmark.sidebyside.contest import OperationContest, Rules
from eventmark.sidebyside.sides import Side

INTERVAL = 0.95
PLANS_SHOWN = 10


def gate_sections(sides: Sequence[Side], bout: Bout) -> list[Section]:
    """The operations, then the plans where some got worse."""
    worse = [plan for plan in bout.plans if plan.worse]
    return [_operations(sides, bout), *([_plans(worse)] if worse else [])]


def _operations(sides: Sequence[Side], bout: Bout) -> Section:
    rules, table = bout.rules, bout.table
    findings = [*(_finding(name, operation, rules) for name, operation in table.items()), *_gone(bout)]
    verdicts = [finding.verdict for finding in findings]
    return Section(
        name="gate",
        title="Candidate against base",
        verdict=next(
            (verdict for verdict in (Verdict.BROKEN, Verdict.INCONCLUSIVE) if verdict in verdicts),
            Verdict.MET,
        ),
        text=[
            " ".join(f"{side.role.capitalize()}: {_described(side)}." for side in sides),
            f"The gate looks for a slowdown of {rules.slowdown:.0%}. It misses one at most once in "
            f"{1 / rules.risk_of_miss:.0f} gates, and calls equal sides slower at most once in "
            f"{1 / rules.risk_of_alarm:.0f}.",
            *(["The time ended before every operation was decided."] if bout.out_of_time else []),
            f"{sum(plan.worse for plan in bout.plans)} of {len(bout.plans)} plans got worse.",
            *(
                f"The candidate no longer has a unique index on {key}: duplicates that it refused are now stored. "
                "Appends of two writers at one version may both succeed: run eventmark verify on the candidate."
                for key in bout.lost_keys
            ),
        ],
        findings=findings,
        tables=[drawn for drawn in (_ratios(table), _counters(table)) if drawn.rows],
        charts=[chart for chart in [_chart(table)] if chart.points],
    )


def _gone(bout: Bout) -> list[Finding]:
    return [
        Finding(
            name=name,
            verdict=Verdict.INCONCLUSIVE,
            observed=f"only the base can be measured; in the candidate: {reason}",
            expected="an operation that both sides have",
            remedy="leave it out: name the operations to compare with --only",
        )
        for name, reason in bout.gone.items()
    ]


def _described(side: Side) -> str:
    settings = ", ".join(f"{name} = {value}" for name, value in side.settings.items())
    parts = [
        side.named,
        side.revision[:12],
        "its own Eventmark" if side.source is not None else "",
        f"store {side.store}",
        settings,
    ]
    return ", ".join(part for part in parts if part)


def _finding(name: str, contest: OperationContest, rules: Rules) -> Finding:
    return Finding(
        name=name,
        verdict=contest.decision.verdict,
        observed=f"{contest.decision.value}: {contest.reason or contest.described()}",
        expected=f"less than {rules.slowdown:.0%} slower, and no more work",
    )


def _ratios(table: Mapping[str, OperationContest]) -> Table:
    rows: list[Row] = []
    for name, operation in table.items():
        for quantile in operation.tests:
            if operation.pairs:
                rows.append([
                    f"{name} {quantile}", _middle(operation.base_ms[quantile]),
                    _middle(operation.candidate_ms[quantile]),
                    operation.ratio(quantile), _bounds(operation, quantile), float(operation.pairs),
                    operation.decision.value,
                ])  # fmt: skip
    return Table(
        title="Ratios",
        columns=columns("quantile", "base|ms", "candidate|ms", "ratio|times", "interval", "pairs", "decision"),
        rows=rows,
        note=f"Medians over pairs of forks. Intervals hold with {INTERVAL:.0%} at all times together "
        "(a confidence sequence), so that stopping early does not spoil them.",
    )  # fmt: skip


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _bounds(contest: OperationContest, quantile: str) -> str:
    low, high = contest.tests[quantile].interval(INTERVAL)
    if not (math.isfinite(low) or math.isfinite(high)):
        return "too few pairs"
    sentences = [f"{math.exp(bound):.3f}" if math.isfinite(bound) else "unbounded" for bound in (low, high)]
    return " to ".join(sentences)


def _counters(table: Mapping[str, OperationContest]) -> Table:
    rows: list[Row] = [
        [name, counter.name, counter.base, counter.candidate, counter.change.value, counter.tolerance]
        for name, contest in table.items()
        for counter in contest.counters
        if counter.change is not Change.SAME
    ]
    compared = sum(len(contest.counters) for contest in table.values())
    return Table(
        title="Work per call that differs",
        columns=columns("operation", "counter", "base", "candidate", "change", "tolerance"),
        rows=rows,
        note=f"In the last pair. {compared - len(rows)} of {compared} counters are the same within their tolerances.",
    )  # fmt: skip


def _chart(table: Mapping[str, OperationContest]) -> Chart:
    return Chart(
        title="Every pair",
        mark="point",
        x="pair",
        y="candidate over base, times",
        y_log=True,
        points=[
            Point(x=float(number), y=math.exp(log_ratio), series=name)
            for name, operation in table.items()
            for number, log_ratio in enumerate(operation.tests["p50"].log_ratios, 1)
        ],
        note="The median of the candidate's fork over that of the base's.",
    )


def _plans(worse: Sequence[PlanChange]) -> Section:
    return Section(
        name="worse-plans",
        title="Plans that got worse",
        verdict=Verdict.BROKEN,
        findings=[
            Finding(
                name=plan.name,
                verdict=Verdict.BROKEN,
                observed=plan.described,
                expected="no worse than the base's",
                remedy="compare its plan, shown under plans, with the base's",
            )
            for plan in worse[:PLANS_SHOWN]
        ],
        text=[f"And {len(worse) - PLANS_SHOWN} more."] if len(worse) > PLANS_SHOWN else [],
    )
