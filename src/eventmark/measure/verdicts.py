"""Verdicts: what the measured quantile and its interval say about a target.

A quantile is judged by its confidence interval, never by the number alone: MET when all of the interval is
below the limit, BROKEN when none of it is, INCONCLUSIVE in between.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from eventmark.measure.quantiles import QUANTILES, least_samples
from eventmark.measure.results import Latency, LatencyInterval, Verdict
from eventmark.measure.targets import Target

UNSTEADY_MARGIN = 0.25  # of the limit

_EXIT_CODES = {Verdict.MET: 0, Verdict.BROKEN: 1, Verdict.INCONCLUSIVE: 3}


def judge_latency(
    latency: Latency,
    intervals: Mapping[str, LatencyInterval],
    target: Target | None,
    *,
    client_bottleneck: str = "",
    steady: bool = True,
    failed: int = 0,
    samples: int,
) -> tuple[Verdict, str]:
    """The verdict on one operation, and the reason with its numbers.

    ``client_bottleneck``: why the client, not the store, may have been the slow part; "" when it was not.
    ``failed``: operations that failed, not part of ``samples``.

    - A failed operation breaks the target, however quick the others were.
    - A busy client only adds time: what is MET in spite of it stays MET, what is BROKEN with it may be the
      client's doing and is INCONCLUSIVE.
    - An operation that never became steady may still be moving. Its verdict stands only when the interval is
      further from the limit than 25% of it, more than what drifts unnoticed between iterations.
    """
    if failed:
        return Verdict.BROKEN, f"{failed} of {failed + samples} operations failed"
    if samples == 0:
        return Verdict.INCONCLUSIVE, "nothing was measured"
    if target is None:
        return Verdict.INCONCLUSIVE, "no target"
    interval = intervals.get(target.quantile)
    if interval is None:
        return Verdict.INCONCLUSIVE, f"{target.quantile} was not measured"
    judged = _Judged(target, getattr(latency, target.quantile), interval, samples)
    verdict, reason = judged.by_interval()
    if not steady:
        verdict, reason = judged.unsteady(verdict, reason)
    if client_bottleneck:
        verdict, reason = _with_bottleneck(verdict, reason, client_bottleneck)
    return verdict, reason


def overall(verdicts: Iterable[tuple[str, Verdict, str]]) -> tuple[Verdict, list[str]]:
    """The verdict on all of ``(name, verdict, reason)``, and why: what is not MET, the worst first.

    BROKEN if any is, else INCONCLUSIVE if any is, else MET. Of nothing: INCONCLUSIVE. What was never meant
    to be judged (no target) must not be handed in.
    """
    judged = list(verdicts)
    if not judged:
        return Verdict.INCONCLUSIVE, ["nothing was measured"]
    worst_first = (Verdict.BROKEN, Verdict.INCONCLUSIVE)
    reasons = [
        f"{name}: {reason}" for wanted in worst_first for name, verdict, reason in judged if verdict is wanted
    ]
    for verdict in worst_first:
        if any(found is verdict for _, found, _ in judged):
            return verdict, reasons
    return Verdict.MET, [f"all {len(judged)} met"]


def exit_code(verdict: Verdict) -> int:
    """0 for MET, 1 for BROKEN, 3 for INCONCLUSIVE."""
    return _EXIT_CODES[verdict]


@dataclass(frozen=True, slots=True)
class _Judged:
    """One quantile held against its limit."""

    target: Target
    observed_ms: float
    interval: LatencyInterval
    samples: int

    def by_interval(self) -> tuple[Verdict, str]:
        """An interval that is not made of numbers compares as false throughout: INCONCLUSIVE."""
        limit_ms, low_ms, high_ms = self.target.limit_ms, self.interval.low, self.interval.high
        needed_low, needed_high = least_samples(QUANTILES[self.target.quantile])
        # With fewer samples the interval's lower end is only the smallest sample, which proves nothing.
        if low_ms >= limit_ms and self.samples >= needed_low:
            return Verdict.BROKEN, f"{self._seen()} is not below {limit_ms:g} ms"
        if high_ms is None:
            return Verdict.INCONCLUSIVE, (
                f"{self._seen()}: {self.samples} samples do not bound it; at least {needed_high} "
                "that do not depend on each other are needed"
            )
        if high_ms < limit_ms:
            return Verdict.MET, f"{self._seen()} is below {limit_ms:g} ms"
        return Verdict.INCONCLUSIVE, f"{self._seen()} cannot be told from {limit_ms:g} ms"

    def unsteady(self, verdict: Verdict, reason: str) -> tuple[Verdict, str]:
        limit_ms = self.target.limit_ms
        high_ms = math.inf if self.interval.high is None else self.interval.high
        near = {
            Verdict.MET: high_ms > limit_ms * (1 - UNSTEADY_MARGIN),
            Verdict.BROKEN: self.interval.low < limit_ms * (1 + UNSTEADY_MARGIN),
            Verdict.INCONCLUSIVE: False,
        }[verdict]
        if near:
            margin = f"within {UNSTEADY_MARGIN:.0%} of the limit and never steady"
            return Verdict.INCONCLUSIVE, f"{reason}, but {margin}"
        return verdict, f"{reason}; never steady"

    def _seen(self) -> str:
        low_ms, high_ms = self.interval.low, self.interval.high
        upper = "?" if high_ms is None else f"{high_ms:.3g}"
        return f"{self.target.quantile} {self.observed_ms:.3g} ms [{low_ms:.3g}, {upper}]"


def _with_bottleneck(verdict: Verdict, reason: str, bottleneck: str) -> tuple[Verdict, str]:
    if verdict is Verdict.BROKEN:
        return Verdict.INCONCLUSIVE, f"the client was the bottleneck: {bottleneck}; {reason}"
    return verdict, f"{reason}; the client was a bottleneck: {bottleneck}"
