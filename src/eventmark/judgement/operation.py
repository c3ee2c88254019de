"""One operation's samples as a result: the only place where an ``OperationResult`` is put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from eventmark.judgement.verdicts import judge_latency
from eventmark.results.results import (
    CacheState,
    ClientHealth,
    Floor,
    Fork,
    OperationResult,
    Verdict,
)
from eventmark.results.targets import Target
from eventmark.stats.dependence import Samples
from eventmark.stats.drift import Drift
from eventmark.stats.histogram import LatencyHistogram
from eventmark.stats.quantiles import intervals_of, latency_of

CORE_FULL = 0.9
"""Of one core, in one process: from here on what waits, waits for the process itself."""


def judged_operation(
    series: Sequence[Samples],
    target: Target | None,
    random: np.random.Generator,
    *,
    mode: str,
    throughput_per_s: float,
    client: ClientHealth,
    failed: int = 0,
    failure: str = "",
    drift: Drift = Drift.NONE,
    verdict: tuple[Verdict, str] | None = None,
    forks: Sequence[Fork] | None = None,
    cache: CacheState | None = None,
    floors: Sequence[Floor] = (),
    work: Mapping[str, float] | None = None,
    stretches: Sequence[tuple[float, float]] = (),
) -> OperationResult:
    """Samples (nanoseconds, in the order of time) of each fork or worker, judged by ``target``.

    ``failed`` calls are not among the samples; ``failure`` says what became of them. ``verdict``, where given, is the
    decision of a test of the experiment's own instead of the target's. ``stretches``: when it was measured, on
    ``time.monotonic``.
    """
    series = [samples for samples in series if len(samples)]
    samples = np.concatenate(series) if series else np.zeros(0, np.int64)
    latency = latency_of(samples) if series else None
    intervals = intervals_of(series, random) if series else {}
    decided, reason = verdict or judge_latency(
        latency, intervals, target, failed=failed, samples=len(samples), drift=drift,
        client_bottleneck=client.reason if client.bottleneck else "",
    )  # fmt: skip
    if verdict and decided is Verdict.BROKEN and client.bottleneck and not failed:
        decided, reason = Verdict.INCONCLUSIVE, f"the client was the bottleneck ({client.reason}): {reason}"
    histogram = LatencyHistogram()
    histogram.record_all(samples)
    return OperationResult(
        latency_ms=latency,
        interval_ms=intervals,
        samples=len(samples),
        target_ms=target.limit_ms if target else None,
        target_quantile=target.quantile if target else "",
        verdict=decided,
        reason=f"{reason}: {failure}" if failure else reason,
        mode=mode,
        throughput_per_s=throughput_per_s,
        failed=failed,
        histogram=histogram.encode(),
        forks=list(forks)
        if forks is not None
        else [fork_of(samples, steady=not drift) for samples in series],
        client=client,
        cache=cache,
        floors=list(floors),
        work=dict(work or {}),
        stretches=list(stretches),
    )


def fork_of(samples: Samples, *, warmup_iterations: int = 0, steady: bool = True) -> Fork:
    """One process' own samples, at least one."""
    latency = latency_of(samples)
    return Fork(
        samples=len(samples), p50_ms=latency.p50, p95_ms=latency.p95, warmup_iterations=warmup_iterations, steady=steady
    )  # fmt: skip


def client_of(
    cpu_share: float, *, loop_lag_ms_p99: float, pool_wait_ms_p95: float = 0.0, asks_server: bool = True
) -> ClientHealth:
    """The health of a client whose busiest process used ``cpu_share`` of a core.

    An operation that asks no server is the client's alone; a full core is no bottleneck of it.
    """
    full = cpu_share >= CORE_FULL and asks_server
    return ClientHealth(
        loop_lag_ms_p99=loop_lag_ms_p99,
        cpu_share=round(cpu_share, 3),
        pool_wait_ms_p95=pool_wait_ms_p95,
        bottleneck=full,
        reason=f"a client process used {cpu_share:.0%} of a core" if full else "",
    )
