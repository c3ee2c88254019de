"""A load judged: the generator's health first, then each operation against its target."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from eventmark.judgement.operation import CORE_FULL, judged_operation
from eventmark.loadgen.outcome import WAKE_UPS, LoadOutcome, OperationLoad
from eventmark.loadgen.records import DEADLINE
from eventmark.results.results import ClientHealth, OperationResult, Verdict
from eventmark.results.targets import QUANTILES, Target
from eventmark.stats.drift import Drift
from eventmark.stats.ranks import NS_PER_MS, nearest_rank
from eventmark.stats.steadiness import WINDOW, drift_of

WINDOW_SAMPLES_MIN = 100
"""With fewer, the medians of windows differ by chance."""


def to_results(outcome: LoadOutcome, targets: Mapping[str, Target]) -> dict[str, OperationResult]:
    """Each operation that was offered, judged by its latency from the due time.

    What the generator itself was late by is taken out where it is known of each call (``LoadOutcome.judged``).
    """
    random = np.random.default_rng([outcome.plan.seed, 13])
    too_late = outcome.too_late
    return {
        name: _result(outcome, operation, targets.get(name), random, too_late)
        for name, operation in outcome.judged.items()
        if operation.offered
    }


def _generator_limit(outcome: LoadOutcome, load: OperationLoad, target: Target | None) -> str:
    """How the generator explains that an operation missed its target; empty where it does not.

    By a worker that used its core up, or where the target would have been met without what the generator
    added: the time until it began the operation, and that until it read the answer. Where the latter is not known,
    the lag of its loop stands for both.
    """
    health = outcome.health
    if health.cpu_share >= CORE_FULL:
        return f"a worker used {health.cpu_share:.0%} of a core"
    if target is None or not load.succeeded:
        return ""
    if _quantile_ms(load.latency_ns, target) < target.limit_ms or load.answer_lag_ns is not None:
        return ""
    name = target.quantile
    on_time_ms = _quantile_ms(load.latency_ns - load.schedule_lag_ns, target)
    if on_time_ms < target.limit_ms:
        return f"begun late: {name} {on_time_ms:.4g} ms without that"
    lag_ms = health.loop_lag_ms(name)
    if on_time_ms - WAKE_UPS * lag_ms < target.limit_ms:
        return f"its event loop was late by {lag_ms:.3g} ms at {name}"
    return ""


def _result(
    outcome: LoadOutcome,
    load: OperationLoad,
    target: Target | None,
    random: np.random.Generator,
    too_late: str,
) -> OperationResult:
    limit = too_late or _generator_limit(outcome, load, target)
    waits = load.pool_wait_ns
    late = f"not answered within {outcome.plan.deadline_s:g} s"
    failure = ", ".join(
        f"{count} {late if name == DEADLINE else name}" for name, count in load.failures.items()
    )
    return judged_operation(
        load.by_worker(load.latency_ns),
        target,
        random,
        mode=outcome.mode,
        throughput_per_s=load.completed_within(outcome.seconds) / outcome.seconds,
        client=ClientHealth(
            loop_lag_ms_p99=outcome.health.loop_lag_ms_p99,
            cpu_share=outcome.health.cpu_share,
            pool_wait_ms_p95=float(np.quantile(waits, 0.95)) / NS_PER_MS if len(waits) else 0.0,
            bottleneck=bool(limit),
            reason=limit,
        ),
        failed=load.failed,
        failure=failure,
        drift=_drift(outcome, load, random),
        verdict=_skipped(outcome, load, limit) or _unjudged(load, target, too_late),
        stretches=[(outcome.started_s, outcome.started_s + outcome.seconds)],
    )


def _skipped(outcome: LoadOutcome, load: OperationLoad, limit: str) -> tuple[Verdict, str] | None:
    """What was skipped was not served in time; its latency would have been longer than that of all others."""
    if not load.skipped or load.failed:
        return None
    reason = (
        f"{load.skipped} of {load.offered} were skipped: {outcome.plan.in_flight_max} were under way already"
    )
    return (Verdict.INCONCLUSIVE, f"{reason}; {limit}") if limit else (Verdict.BROKEN, reason)


def _unjudged(load: OperationLoad, target: Target | None, too_late: str) -> tuple[Verdict, str] | None:
    """A generator that was too late offered something other than the load."""
    return (Verdict.INCONCLUSIVE, too_late) if too_late and target and not load.failed else None


def _drift(outcome: LoadOutcome, load: OperationLoad, random: np.random.Generator) -> Drift:
    """Of the load's last fifth against those before; a load whose rate changes is not asked, nor a small one."""
    arrivals = outcome.plan.arrivals
    if arrivals is not None and not arrivals.is_steady:
        return Drift.NONE
    windows = np.minimum((load.at_s / outcome.seconds * WINDOW).astype(np.int64), WINDOW - 1)
    if load.succeeded == 0 or np.bincount(windows, minlength=WINDOW).min() < WINDOW_SAMPLES_MIN:
        return Drift.NONE
    by_time = np.argsort(load.at_s, kind="stable")
    windows, latency_ns = windows[by_time], load.latency_ns[by_time]
    return drift_of([latency_ns[windows == number] for number in range(WINDOW)], random)


def _quantile_ms(samples_ns: np.ndarray, target: Target) -> float:
    rank = nearest_rank(QUANTILES[target.quantile], len(samples_ns)) - 1
    return float(np.partition(samples_ns, rank)[rank]) / NS_PER_MS
