"""A comparison as a section of a report, and as a result of its own, so that every report can show it."""

from __future__ import annotations

import msgspec

from eventmark.history.comparison import (
    VERDICTS,
    ChangeOutcome,
    Compared,
    Comparison,
    FailOn,
    FigureChange,
    OperationChange,
    judge,
)
from eventmark.judgement.counters import Change
from eventmark.results.results import (
    Chart,
    Figure,
    Finding,
    Point,
    Row,
    RunResult,
    Section,
    Table,
    Verdict,
    columns,
)

DIFFERENCES_SHOWN = 12
_FAILS_ON = {
    FailOn.ANY: "a slowdown, more work, a worse plan, or anything that is gone",
    FailOn.SLOWER: "a slowdown",
    FailOn.COUNTERS: "more work, a worse plan, or anything that is gone",
    FailOn.NEVER: "nothing",
}


def result_of(
    candidate: RunResult, comparison: Comparison, *, command: str, fail_on: FailOn = FailOn.ANY
) -> RunResult:
    """The comparison as a result: the candidate's environment, the comparison's section and verdict."""
    verdict, reasons = judge(comparison, fail_on)
    return msgspec.structs.replace(
        candidate, command=command, verdict=verdict, reasons=reasons, corpus=None, operations={}, plans=[],
        skipped={}, phases=[], series=[], orderings=[], seconds=0.0, figures=_figures(comparison),
        sections=[comparison_section(comparison, fail_on)],
    )  # fmt: skip


def comparison_section(comparison: Comparison, fail_on: FailOn = FailOn.ANY) -> Section:
    verdict, _ = judge(comparison, fail_on)
    return Section(
        name="comparison",
        title="Comparison with the base",
        verdict=verdict,
        text=_text(comparison, fail_on),
        findings=_findings(comparison),
        tables=[
            counter
            for counter in (_operations(comparison), _counters(comparison), _plans(comparison))
            if counter.rows
        ],
        charts=[chart for chart in [_chart(comparison)] if chart.points],
    )


def _text(comparison: Comparison, fail_on: FailOn) -> list[str]:
    text = [
        f"Base: {_named(comparison.base)}. Candidate: {_named(comparison.candidate)}. "
        f"A slowdown matters from {comparison.slowdown:.0%} on; the verdict fails on {_FAILS_ON[fail_on]}.",
        "The two ran one after the other: a change of the machine in between looks like a change of the store. "
        "eventmark gate measures both side by side.",
    ]
    if comparison.base.run_id == comparison.candidate.run_id:
        text.append("Both files hold the same run.")
    if comparison.times_not_compared:
        text.append(
            f"Only counters are compared, because the machines differ: {'; '.join(comparison.times_not_compared)}."
        )
    if comparison.differences:
        more = len(comparison.differences) - DIFFERENCES_SHOWN
        shown = "; ".join(comparison.differences[:DIFFERENCES_SHOWN])
        text.append(f"Other differences: {shown}{f'; and {more} more' if more > 0 else ''}.")
    if comparison.added:
        text.append(f"Measured for the first time: {', '.join(comparison.added)}.")
    return text


def _named(compared: Compared) -> str:
    revision = f", revision {compared.revision[:12]}" if compared.revision else ""
    name = compared.file or compared.run_id
    return f"{name}, {compared.store} on PostgreSQL {compared.server}{revision}, {compared.started_at}"


def _findings(comparison: Comparison) -> list[Finding]:
    """One for each operation and figure; one for whatever else is worse."""
    limit = f"less than {comparison.slowdown:.0%} slower"
    changes: list[tuple[str, OperationChange | FigureChange]] = [
        *comparison.operations.items(),
        *comparison.figures.items(),
    ]
    findings = [
        Finding(
            name=name, verdict=VERDICTS[change.outcome],
            observed=f"{change.outcome.value}: {change.reason}" if change.reason else change.outcome.value,
            expected=limit,
        )
        for name, change in changes
        if change.outcome is not ChangeOutcome.NOT_COMPARED
    ]  # fmt: skip
    findings += [
        Finding(
            name=f"work of {name}", verdict=Verdict.BROKEN,
            observed="; ".join(counter.described for counter in change.more_work), expected="no more work than before",
            remedy="see the statement's plan on both sides",
        )
        for name, change in comparison.operations.items()
        if change.more_work
    ]  # fmt: skip
    findings += [
        Finding(
            name=plan.name, verdict=Verdict.BROKEN, observed=plan.described,
            expected="no worse than before",
        )
        for plan in comparison.plans
        if plan.worse
    ]  # fmt: skip
    findings += [
        Finding(
            name=unjudged.partition(": ")[0], verdict=Verdict.INCONCLUSIVE, observed=unjudged.partition(": ")[2],
            expected="the same as before",
        )
        for unjudged in comparison.unjudged
    ]  # fmt: skip
    findings += [
        Finding(name=name, verdict=Verdict.BROKEN, observed="not measured", expected="measured, as before")
        for name in comparison.gone
    ]
    return findings


def _operations(comparison: Comparison) -> Table:
    rows: list[Row] = []
    for name, change in comparison.operations.items():
        for quantile, effect in change.effects.items():
            bounds = "unknown"
            if effect.low is not None and effect.high is not None:
                bounds = f"{effect.low:.3f} to {effect.high:.3f}"
            rows.append([
                f"{name} {quantile}", change.base_ms[quantile], change.candidate_ms[quantile],
                effect.ratio, bounds, effect.detectable, change.slower_share, change.outcome.value,
            ])  # fmt: skip
    confidence = next(
        (
            effect.confidence
            for operation in comparison.operations.values()
            for effect in operation.effects.values()
        ),
        0.95,
    )
    return Table(
        title="Times",
        columns=columns(
            "quantile", "before|ms", "now|ms", "ratio|times", "interval", "detectable|times", "slower calls|share",
            "outcome",
        ),
        rows=rows,
        note=f"Ratio of the forks' quantiles, {confidence:.2%} interval each, so that all hold together with 95%. "
        "Detectable: what would have been found in nine pairs of runs of ten. Slower calls: how often a call now is "
        "slower than one before, 50% where nothing changed.",
    )  # fmt: skip


def _counters(comparison: Comparison) -> Table:
    """Those that changed; that the others did not is said below."""
    changes = [
        (name, counter) for name, change in comparison.operations.items() for counter in change.counters
    ]
    changed = [(name, counter) for name, counter in changes if counter.change is not Change.SAME]
    return Table(
        title="Work per call that changed",
        columns=columns("operation", "counter", "before", "now", "change", "tolerance"),
        rows=[
            [name, counter.name, counter.base, counter.candidate, counter.change.value, counter.tolerance]
            for name, counter in changed
        ],
        note=f"{len(changes) - len(changed)} of {len(changes)} counters are the same within their tolerances.",
    )  # fmt: skip


def _plans(comparison: Comparison) -> Table:
    return Table(
        title="Plans that are worse",
        columns=columns("statement", "condition", "what changed"),
        rows=[[plan.statement, plan.condition, plan.described] for plan in comparison.plans if plan.worse],
        note=f"{len(comparison.plans)} plans under the same conditions were compared.",
    )


def _chart(comparison: Comparison) -> Chart:
    return Chart(
        title="Candidate over base",
        mark="bar",
        x="operation",
        y="times",
        points=[
            Point(x=name, y=effect.ratio, series=quantile, low=effect.low, high=effect.high)
            for name, change in comparison.operations.items()
            for quantile, effect in change.effects.items()
        ],
        note="1 is level; the line is the interval.",
    )


def _figures(comparison: Comparison) -> dict[str, Figure]:
    """The ratios, for whoever keeps a history of comparisons."""
    return {
        f"{name} {quantile}, candidate over base": Figure(
            value=effect.ratio, unit="times", low=effect.low, high=effect.high, better="less"
        )
        for name, change in comparison.operations.items()
        for quantile, effect in change.effects.items()
    }
