"""Verdicts: a quantile is judged by its interval, and what the evidence does not decide is INCONCLUSIVE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from eventmark.results.results import (
    Finding,
    Latency,
    LatencyInterval,
    OperationResult,
    OrderingResult,
    Verdict,
)
from eventmark.results.targets import QUANTILES, Target
from eventmark.stats.drift import Drift
from eventmark.stats.ranks import least_samples

UNDECIDED = "undecided: "
"""Before each reason that is INCONCLUSIVE, where others are BROKEN."""

_DRIFTS = {
    Drift.EITHER: "still drifting after warm-up",
    Drift.SLOWER: "became slower while it was measured",
    Drift.FASTER: "became faster while it was measured",
}
NEAR_LIMIT = 0.25  # within this of the target, a measurement that never became steady decides nothing

NO_TARGET = "there is no target"

_EXIT_CODES = {Verdict.MET: 0, Verdict.BROKEN: 1, Verdict.INCONCLUSIVE: 3}


def judged(orderings: Sequence[OrderingResult]) -> list[OrderingResult]:
    """The orderings that count towards a verdict: those that promise to lose nothing, or all where none does.

    One that promises nothing is the control of the others: it shows that losing would be seen.
    """
    return [ordering for ordering in orderings if ordering.lossless] or list(orderings)


def judge_orderings(orderings: Sequence[OrderingResult]) -> tuple[Verdict, list[str]]:
    """The verdict on a hunt. A control that was not caught takes the certainty out of what was met."""
    verdict, reasons = overall(
        (ordering.ordering, ordering.verdict, ordering.reason) for ordering in judged(orderings)
    )
    missed = [
        ordering.ordering
        for ordering in orderings
        if not ordering.lossless and ordering.verdict is not Verdict.BROKEN
    ]
    if missed and verdict is Verdict.MET:
        return Verdict.INCONCLUSIVE, [f"{missed[0]} was not caught losing events: the hunt proves nothing"]
    return verdict, reasons


def judge_latency(
    latency: Latency | None,
    intervals: Mapping[str, LatencyInterval],
    target: Target | None,
    *,
    failed: int = 0,
    client_bottleneck: str = "",
    drift: Drift = Drift.NONE,
    samples: int | None = None,
) -> tuple[Verdict, str]:
    """The verdict on one operation, and why.

    MET needs the interval's upper bound below the target, BROKEN its lower bound at or above it. A failed
    operation breaks every target. What weakens the evidence only ever makes a verdict INCONCLUSIVE:

    - A client that was the bottleneck (``client_bottleneck`` says how) can only have made the store look
      slower: MET stands, BROKEN does not.
    - An operation that never became steady may still be moving (``drift``): one that became slower is not MET,
      one that became faster is not BROKEN. Its verdict stands where the interval is further from the target
      than 25% of it, more than drifts unnoticed from one iteration to the next.
    - ``samples``, where given, is how many there were: a lower bound that is only the smallest of too few
      proves nothing.
    """
    if failed:
        none = ", and no call succeeded" if latency is None else ""
        return Verdict.BROKEN, f"{failed} operations failed{none}"
    if latency is None or samples == 0:
        return Verdict.INCONCLUSIVE, "nothing was measured"
    if target is None:
        return Verdict.INCONCLUSIVE, NO_TARGET
    interval = intervals.get(target.quantile)
    if interval is None:
        return Verdict.INCONCLUSIVE, f"{target.quantile} was not measured"
    verdict, why = _by_interval(interval, target, samples)
    if drift:
        verdict, why = _drifting(verdict, why, interval, target, drift)
    if client_bottleneck:
        why.append(f"the client was the bottleneck ({client_bottleneck})")
        verdict = Verdict.INCONCLUSIVE if verdict is Verdict.BROKEN else verdict
    return verdict, f"{', '.join(why)}{': ' if why else ''}{_seen(latency, interval, target)}"


def _by_interval(interval: LatencyInterval, target: Target, samples: int | None) -> tuple[Verdict, list[str]]:
    """What the interval alone decides. One that is not made of numbers compares as false: INCONCLUSIVE."""
    needed_low, needed_high = least_samples(QUANTILES[target.quantile])
    if interval.low >= target.limit_ms and (samples is None or samples >= needed_low):
        return Verdict.BROKEN, []
    if interval.high is None:
        few = "" if samples is None else f"{samples}; "
        return Verdict.INCONCLUSIVE, [
            f"too few samples ({few}at least {needed_high} independent ones bound it): measure longer (--profile)"
        ]
    if interval.high < target.limit_ms:
        return Verdict.MET, []
    return Verdict.INCONCLUSIVE, ["the interval holds the target"]


def _drifting(
    verdict: Verdict, why: list[str], interval: LatencyInterval, target: Target, drift: Drift
) -> tuple[Verdict, list[str]]:
    """A drift takes away only the verdict that it moves away from, and only near the target."""
    towards = {Verdict.MET: Drift.SLOWER, Verdict.BROKEN: Drift.FASTER}.get(verdict, Drift.NONE)
    near = (
        interval.low < (1 + NEAR_LIMIT) * target.limit_ms
        if verdict is Verdict.BROKEN
        else interval.high is not None and interval.high > (1 - NEAR_LIMIT) * target.limit_ms
    )
    if drift & towards and near:
        return Verdict.INCONCLUSIVE, [
            *why, f"{_DRIFTS[drift]}, within {NEAR_LIMIT:.0%} of the target: run longer, or on a quiet machine"
        ]  # fmt: skip
    return verdict, [*why, f"{_DRIFTS[drift]}{', but far from the target' if drift & towards else ''}"]


def _seen(latency: Latency, interval: LatencyInterval, target: Target) -> str:
    value_ms = getattr(latency, target.quantile)
    bounds = f"95% interval {interval.low:.4g} to {_bound(interval.high)}"
    return f"{target.quantile} {value_ms:.4g} ms, {bounds}, target {target.limit_ms:g} ms"


def is_judged(operation: OperationResult) -> bool:
    """Whether an operation counts towards a verdict: one that has no target and was answered is shown alone."""
    return operation.reason != NO_TARGET


def worst(findings: Iterable[Finding]) -> Verdict:
    """BROKEN before INCONCLUSIVE before MET."""
    verdicts = {finding.verdict for finding in findings}
    for verdict in (Verdict.BROKEN, Verdict.INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return Verdict.MET


def overall(parts: Iterable[tuple[str, Verdict, str]]) -> tuple[Verdict, list[str]]:
    """The worst of ``(name, verdict, reason)``, with the reasons of those that are not MET.

    Next to what is BROKEN, what is INCONCLUSIVE is marked as ``UNDECIDED``.
    """
    listed = list(parts)
    if not listed:
        return Verdict.INCONCLUSIVE, ["nothing was measured"]
    verdicts = {verdict for _, verdict, _ in listed}
    decided = next(
        (verdict for verdict in (Verdict.BROKEN, Verdict.INCONCLUSIVE) if verdict in verdicts), Verdict.MET
    )
    reasons = [
        f"{'' if verdict is decided else UNDECIDED}{name}: {reason}"
        for wanted in (Verdict.BROKEN, Verdict.INCONCLUSIVE)
        for name, verdict, reason in listed
        if verdict is wanted
    ]
    return decided, reasons


def exit_code(verdict: Verdict) -> int:
    """0 met, 1 broken, 3 inconclusive."""
    return _EXIT_CODES[verdict]


def _bound(high: float | None) -> str:
    return "unbounded" if high is None else f"{high:.4g} ms"
