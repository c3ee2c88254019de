"""Two results compared: times by the forks' own quantiles, counters one by one, plans by their work."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from eventmark.errors import UsageError
from eventmark.history.comparability import check_comparable, machine_differences, noted_differences
from eventmark.history.comparison import (
    ChangeOutcome,
    Compared,
    Comparison,
    FigureChange,
    OperationChange,
)
from eventmark.history.effects import FORKS_MIN, RatioEffect, ratio_effect, slower_share
from eventmark.judgement.counters import (
    EXACT,
    WORK_TOLERANCES,
    Change,
    compare_counters,
    counter_change,
    with_buffers,
)
from eventmark.judgement.plan_changes import compare_plans
from eventmark.results.results import Figure, OperationResult, RunResult
from eventmark.stats.histogram import LatencyHistogram
from eventmark.stats.ranks import CONFIDENCE

SLOWDOWN = 0.10
LOG_WIDTH_MAX = 700.0  # of what a float can be
IDENTICAL = "identical to the base"
QUANTILES = ("p50", "p95")  # those that results keep by fork


def compare_results(
    base: RunResult,
    candidate: RunResult,
    *,
    base_file: str = "",
    candidate_file: str = "",
    slowdown: float = SLOWDOWN,
    across_schemas: bool = False,
) -> Comparison:
    """Everything both have. Intervals of times hold together with 95%: each is made wider by Bonferroni's rule.

    Raises ``UsageError`` for results that are not comparable. On different machines, times are left alone.
    """
    check_comparable(base, candidate, across_schemas=across_schemas)
    machines = machine_differences(base, candidate)
    names = [name for name in base.operations if name in candidate.operations]
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(names) * len(QUANTILES))
    return Comparison(
        base=Compared.of(base, base_file),
        candidate=Compared.of(candidate, candidate_file),
        slowdown=slowdown,
        times_not_compared=machines,
        differences=noted_differences(base, candidate),
        operations={
            name: _operation(
                base.operations[name], candidate.operations[name], slowdown, confidence, times=not machines
            )
            for name in names
        },
        plans=compare_plans(base.plans, candidate.plans),
        figures={
            name: _figure(figure, candidate.figures[name], slowdown, times=not machines)
            for name, figure in base.figures.items()
            if name in candidate.figures
        },
        gone=[name for name in _measured(base) if name not in _measured(candidate)],
        unjudged=[*_counters_gone(base, candidate, names), *_plans_gone(base, candidate)],
        added=[name for name in _measured(candidate) if name not in _measured(base)],
    )


def _outcome_of(effect: RatioEffect, slowdown: float) -> ChangeOutcome:
    """SAME where the interval lies within the slowdown that matters, either way; else what it excludes."""
    if effect.low is None or effect.high is None:
        return ChangeOutcome.CANNOT_TELL
    if effect.low > 1 / (1 + slowdown) and effect.high < 1 + slowdown:
        return ChangeOutcome.SAME
    if effect.low > 1:
        return ChangeOutcome.SLOWER
    if effect.high < 1:
        return ChangeOutcome.FASTER
    return ChangeOutcome.NOT_SLOWER if effect.high < 1 + slowdown else ChangeOutcome.CANNOT_TELL


def _operation(
    base: OperationResult, candidate: OperationResult, slowdown: float, confidence: float, *, times: bool
) -> OperationChange:
    effects = _effects(base, candidate, confidence) if times else {}
    if base == candidate:
        outcome, reason = ChangeOutcome.SAME, IDENTICAL
    else:
        outcome, reason = (
            _judged(base, candidate, effects, slowdown) if times else (ChangeOutcome.NOT_COMPARED, "")
        )
    return OperationChange(
        outcome=outcome,
        reason=reason,
        base_ms=_quantiles_ms(base),
        candidate_ms=_quantiles_ms(candidate),
        effects=effects,
        slower_share=_slower_share(base, candidate) if times else None,
        counters=compare_counters(base.work, candidate.work, WORK_TOLERANCES),
    )


def _quantiles_ms(operation: OperationResult) -> dict[str, float]:
    """Empty where no call succeeded."""
    return {name: value for name in QUANTILES if (value := operation.quantile_ms(name)) is not None}


def _effects(base: OperationResult, candidate: OperationResult, confidence: float) -> dict[str, RatioEffect]:
    effects = {}
    for name in QUANTILES:
        sides = [
            [value for fork in side_figure.forks if (value := getattr(fork, f"{name}_ms")) > 0]
            for side_figure in (base, candidate)
        ]
        if all(sides):
            effects[name] = ratio_effect(*sides, confidence=confidence)
    return effects


def _judged(
    base: OperationResult, candidate: OperationResult, effects: Mapping[str, RatioEffect], slowdown: float
) -> tuple[ChangeOutcome, str]:
    """The worst of the quantiles; nothing where a client was the bottleneck, for that was measured instead."""
    if candidate.failed > base.failed:
        return ChangeOutcome.SLOWER, f"{candidate.failed} operations failed, {base.failed} before"
    for side, side_operation in (("before", base), ("now", candidate)):
        if side_operation.client.bottleneck:
            return (
                ChangeOutcome.CANNOT_TELL,
                f"the client was the bottleneck {side}: {side_operation.client.reason}",
            )
    if base.mode != candidate.mode:
        return (
            ChangeOutcome.CANNOT_TELL,
            f"measured in another mode: {base.mode} before, {candidate.mode} now",
        )
    if not effects:
        return ChangeOutcome.CANNOT_TELL, "no forks were kept"
    outcomes = {name: _outcome_of(effect, slowdown) for name, effect in effects.items()}
    for outcome in (
        ChangeOutcome.SLOWER,
        ChangeOutcome.CANNOT_TELL,
        ChangeOutcome.FASTER,
        ChangeOutcome.NOT_SLOWER,
    ):
        for name, change in outcomes.items():
            if change is outcome:
                return outcome, _described(name, effects[name])
    return ChangeOutcome.SAME, _described(QUANTILES[0], effects[QUANTILES[0]])


def _described(name: str, effect: RatioEffect) -> str:
    text = f"{name} is {effect.ratio:.2f} × the base's"
    if effect.low is None or effect.high is None:
        return f"{text}: too few forks for an interval, {FORKS_MIN} a side are the least"
    text = f"{text} (interval {effect.low:.2f} to {effect.high:.2f})"
    if effect.detectable is None or effect.low > 1 or effect.high < 1:
        return text
    return f"{text}; only a slowdown to {effect.detectable:.2f} × or more would have shown"


def _slower_share(base: OperationResult, candidate: OperationResult) -> float | None:
    try:
        sides = [
            LatencyHistogram.decode(side_figure.histogram).recorded() for side_figure in (base, candidate)
        ]
    except UsageError:
        return None
    if any(not len(values) for values, _ in sides):
        return None
    return round(slower_share(*sides), 4)


def _figure(base: Figure, candidate: Figure, slowdown: float, *, times: bool) -> FigureChange:
    outcome, reason = ChangeOutcome.NOT_COMPARED, ""
    if base == candidate:
        outcome, reason = ChangeOutcome.SAME, IDENTICAL
    elif base.exact and candidate.exact:
        outcome, reason = _exact_figure(base, candidate)
    elif times:
        outcome, reason = _timed_figure(base, candidate, slowdown)
    return FigureChange(
        outcome=outcome, reason=reason, unit=candidate.unit, base=base.value, candidate=candidate.value,
        exact=base.exact and candidate.exact,
    )  # fmt: skip


def _exact_figure(base: Figure, candidate: Figure) -> tuple[ChangeOutcome, str]:
    counter = counter_change("it", base.value, candidate.value, EXACT)
    text = f"{base.value:.6g} {base.unit} before, {candidate.value:.6g} now"
    if counter.change is Change.SAME or not candidate.better:
        return ChangeOutcome.SAME, text
    worse = Change.MORE if candidate.better == "less" else Change.FEWER
    return ChangeOutcome.SLOWER if counter.change is worse else ChangeOutcome.FASTER, text


def _timed_figure(base: Figure, candidate: Figure, slowdown: float) -> tuple[ChangeOutcome, str]:
    """By the ratio of the two and an interval from both intervals, taken as independent; worse is above 1."""
    if not candidate.better or min(base.value, candidate.value) <= 0:
        return ChangeOutcome.NOT_COMPARED, "neither direction is better, or there is no ratio"
    worse, better = (candidate, base) if candidate.better == "less" else (base, candidate)
    ratio = worse.value / better.value
    bounds = [_log_width(side_figure) for side_figure in (base, candidate)]
    if any(bound is None for bound in bounds):
        return (
            ChangeOutcome.CANNOT_TELL,
            f"{ratio:.2f} × the base, worse above 1; without intervals to judge by",
        )
    width = min(LOG_WIDTH_MAX, math.hypot(*(bound for bound in bounds if bound is not None)))
    effect = RatioEffect(
        ratio=ratio, low=ratio * math.exp(-width), high=ratio * math.exp(width), confidence=CONFIDENCE
    )
    return _outcome_of(effect, slowdown), (
        f"{base.value:.4g} {base.unit} before, {candidate.value:.4g} now: {ratio:.2f} × the base "
        f"(95%: {effect.low:.2f} to {effect.high:.2f}; worse above 1)"
    )


def _log_width(figure: Figure) -> float | None:
    """Half of the interval, as a logarithm; the further side of one that is lopsided."""
    if figure.low is None or figure.high is None or min(figure.low, figure.high) <= 0:
        return None
    return max(math.log(figure.high / figure.value), math.log(figure.value / figure.low), 0.0)


def _measured(result: RunResult) -> dict[str, None]:
    """The names of what was measured, in their order."""
    return dict.fromkeys([*result.operations, *result.figures])


def _counters_gone(base: RunResult, candidate: RunResult, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        gone = WORK_TOLERANCES.keys() & (
            with_buffers(base.operations[name].work).keys()
            - with_buffers(candidate.operations[name].work).keys()
        )
        if gone:
            yield f"work of {name}: {', '.join(sorted(gone))} counted before, not now"


def _plans_gone(base: RunResult, candidate: RunResult) -> Iterator[str]:
    """By statement, where the candidate examined plans at all or should have."""
    now = {(plan.statement, plan.condition) for plan in candidate.plans}
    gone = Counter(plan.statement for plan in base.plans if (plan.statement, plan.condition) not in now)
    for name, count in gone.items():
        of = sum(plan.statement == name for plan in base.plans)
        yield f"plans of {name}: examined before under {of} conditions, now under {of - count} of them"
