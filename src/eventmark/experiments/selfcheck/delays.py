"""Planted delays: what the instrument measures of a delay whose length is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventmark.experiments.selfcheck.proving import Proving
from eventmark.instruments.clock import clock_resolution_ns
from eventmark.jobs.job import Job, draw_sample
from eventmark.operations.catalogue import OPERATIONS
from eventmark.operations.forks import Tally
from eventmark.results.results import Finding, Verdict
from eventmark.seeding import CorpusSample
from eventmark.server.loop import on_loop
from eventmark.stats.quantiles import quantile_interval
from eventmark.stores import PooledStore, find_store, open_store

OPERATION, STATEMENT = "read_snapshot", "read_snapshot"
DELAYS_MS: Mapping[float, int] = {0.1: 2000, 1.0: 600, 10.0: 80}
"""Delays, and how many calls with each: so many that the middle is known to a small part of the delay."""

TOLERANCE = 0.05
WARMUP_CALLS = 20
_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredDelay:
    """A planted delay as it was measured, with the 95% interval of what was measured; milliseconds.

    ``planted_ms`` is what was asked of the server. Where others took its core meanwhile a delay was longer, by
    the server's own clock; what is measured beyond that is the instrument's error, added to ``planted_ms``.
    """

    planted_ms: float
    measured_ms: float
    low_ms: float
    high_ms: float
    calls: int

    @property
    def error(self) -> float:
        return self.measured_ms / self.planted_ms - 1

    @property
    def verdict(self) -> Verdict:
        """By the interval: within the tolerance, beyond it, or neither."""
        least, most = (self.planted_ms * (1 + side * TOLERANCE) for side in (-1, 1))
        if least <= self.low_ms and self.high_ms <= most:
            return Verdict.MET
        return Verdict.BROKEN if self.low_ms > most or self.high_ms < least else Verdict.INCONCLUSIVE


def measure_delays(proving: Proving, delays_ms: Mapping[float, int] = DELAYS_MS) -> list[MeasuredDelay]:
    """Each delay by the difference to the same call without it, made right before or after."""
    delays, sample = [], draw_sample(proving.job)
    for delay_ms, calls in delays_ms.items():
        stores = (proving.job.store, proving.planted({STATEMENT: delay_ms}))
        differences_ns, server_ns = on_loop(_differences(proving.job, sample, stores, calls))
        delays.append(measured_delay(delay_ms, differences_ns, server_ns))
    return delays


def measured_delay(
    planted_ms: float, differences_ns: NDArray[np.int64], server_ns: NDArray[np.int64]
) -> MeasuredDelay:
    """From each call's difference to the one without the delay, and how long the server says that delay was."""
    errors_ns = differences_ns - server_ns
    interval = quantile_interval([errors_ns], 0.5, random=np.random.default_rng(len(errors_ns)))
    return MeasuredDelay(
        planted_ms=planted_ms, measured_ms=planted_ms + float(np.median(errors_ns)) / _NS_PER_MS,
        low_ms=planted_ms + interval.low,
        high_ms=planted_ms + interval.high if interval.high is not None else float("inf"), calls=len(errors_ns),
    )  # fmt: skip


async def _differences(
    job: Job, sample: CorpusSample, stores: Sequence[str], calls: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each pair of calls with the same arguments: with the delay less without it; each is first in turn.

    And, of each delay, its length by the server's clock.
    """
    opened = [
        await open_store(find_store(store), job.server.dsn, schema=job.schema, pool_max=1) for store in stores
    ]
    try:
        tallies = [Tally(OPERATIONS[OPERATION](store, sample, np.random.default_rng(7))) for store in opened]
        for tally in tallies:
            await tally.sample(WARMUP_CALLS)
        samples, server_ns = np.empty((calls, 2), np.int64), np.empty(calls, np.int64)
        for number in range(calls):
            for side in (0, 1) if number % 2 else (1, 0):
                samples[number, side] = (await tallies[side].sample(1))[0]
            server_ns[number] = await _busy_ns(opened[1])
        return samples[:, 1] - samples[:, 0], server_ns
    finally:
        for store in opened:
            await store.close()


async def _busy_ns(store: PooledStore) -> int:
    """How long the session's last delay was, as it says."""
    session = await store.pool.acquire()
    try:
        text = await session.connection.fetchval("select current_setting('eventmark.busy_ms')")
    finally:
        store.pool.release(session)
    return round(float(text) * _NS_PER_MS)


def delay_findings(measured: Sequence[MeasuredDelay]) -> list[Finding]:
    return [
        Finding(
            name=f"planted delay of {delay.planted_ms:g} ms",
            verdict=delay.verdict,
            observed=f"measured {delay.measured_ms:.4g} ms, {delay.error:+.1%}, between {delay.low_ms:.4g} and "
            f"{delay.high_ms:.4g} ms, {delay.calls} calls",
            expected=f"within {TOLERANCE:.0%}",
            remedy=""
            if delay.verdict is Verdict.MET
            else "run it on a quieter machine: other processes make the median uncertain",
        )
        for delay in measured
    ]


def smallest_delay_ms(measured: Sequence[MeasuredDelay]) -> float:
    """The shortest delay that could be told from none: the widest half interval seen, or the clock's own step."""
    least = min(measured, key=lambda delay: delay.planted_ms)
    return max((least.high_ms - least.low_ms) / 2, clock_resolution_ns() / _NS_PER_MS)
