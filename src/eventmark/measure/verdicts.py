"""Verdicts: a quantile is judged by its interval, and what the evidence does not decide is INCONCLUSIVE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from eventmark.measure.results import Latency, LatencyInterval, Verdict
from eventmark.measure.targets import Target

NEAR_LIMIT = 0.25  # within this of the target, a measurement that never became steady decides nothing

_EXIT_CODES = {Verdict.MET: 0, Verdict.BROKEN: 1, Verdict.INCONCLUSIVE: 3}


def judge_latency(
    latency: Latency,
    intervals: Mapping[str, LatencyInterval],
    target: Target | None,
    *,
    failed: int = 0,
    client_bottleneck: str = "",
    steady: bool = True,
) -> tuple[Verdict, str]:
    """The verdict on one operation, and why.

    MET needs the interval's upper bound below the target, BROKEN its lower bound at or above it. A client
    that was the bottleneck can only have made the store look slower: MET stands, BROKEN does not.
    """
    if failed:
        return Verdict.BROKEN, f"{failed} operations failed"
    if target is None:
        return Verdict.INCONCLUSIVE, "there is no target"
    name, limit_ms = target.quantile, target.limit_ms
    interval, value_ms = intervals[name], getattr(latency, name)
    seen = f"{name} {value_ms:.4g} ms, 95% interval {interval.low:.4g} to {_bound(interval.high)}"
    against = f"target {limit_ms:g} ms"
    if interval.high is not None and interval.high < limit_ms:
        if not steady and interval.high > (1 - NEAR_LIMIT) * limit_ms:
            return Verdict.INCONCLUSIVE, f"never became steady, and {seen} is near the {against}"
        return Verdict.MET, f"{seen}, {against}"
    if interval.low >= limit_ms:
        if client_bottleneck:
            return (
                Verdict.INCONCLUSIVE,
                f"the client was the bottleneck ({client_bottleneck}): {seen}, {against}",
            )
        if not steady and interval.low < (1 + NEAR_LIMIT) * limit_ms:
            return Verdict.INCONCLUSIVE, f"never became steady, and {seen} is near the {against}"
        return Verdict.BROKEN, f"{seen}, {against}"
    why = "too few samples to bound it" if interval.high is None else "the interval holds the target"
    return Verdict.INCONCLUSIVE, f"{why}: {seen}, {against}"


def overall(parts: Iterable[tuple[str, Verdict, str]]) -> tuple[Verdict, list[str]]:
    """The worst of ``(name, verdict, reason)``, with the reasons of those that are not MET."""
    listed = list(parts)
    if not listed:
        return Verdict.INCONCLUSIVE, ["nothing was measured"]
    reasons = [
        f"{name}: {reason}"
        for wanted in (Verdict.BROKEN, Verdict.INCONCLUSIVE)
        for name, verdict, reason in listed
        if verdict is wanted
    ]
    for verdict in (Verdict.BROKEN, Verdict.INCONCLUSIVE):
        if any(found is verdict for _, found, _ in listed):
            return verdict, reasons
    return Verdict.MET, []


def exit_code(verdict: Verdict) -> int:
    """0 met, 1 broken, 3 inconclusive."""
    return _EXIT_CODES[verdict]


def _bound(high: float | None) -> str:
    return "unbounded" if high is None else f"{high:.4g} ms"
