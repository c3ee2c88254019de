"""A planted stall: it shows in latencies counted from when operations were due, and not in service times."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

import asyncpg
import numpy as np

from eventmark.engine.statements import quoted_schema
from eventmark.experiments.selfcheck.proving import Proving
from eventmark.jobs.job import draw_sample
from eventmark.loadgen.generator import Pulse, run_load
from eventmark.loadgen.mix import parse_mix
from eventmark.loadgen.outcome import OperationLoad
from eventmark.loadgen.plan import LoadPlan
from eventmark.results.results import Finding, Verdict
from eventmark.workload.arrivals import Arrivals

OPERATION = "append_events[1]"
STALL_S, SECONDS, RATE_PER_S, POOL = 0.7, 2.5, 120.0, 2
_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class StallSeen:
    """Of the appends of a load in which nobody could write for ``stall_ms``; milliseconds."""

    stall_ms: float
    due_p99_ms: float
    service_p95_ms: float
    calls_stalled: int  # whose own service took half of the stall or more
    calls: int

    @property
    def verdict(self) -> Verdict:
        """The stall is in the p99 from the due time; of the calls themselves only those under way saw it."""
        in_due = self.due_p99_ms >= self.stall_ms / 2
        in_service = self.service_p95_ms >= self.stall_ms / 2 or self.calls_stalled > 2 * POOL
        return Verdict.MET if in_due and not in_service else Verdict.BROKEN


class _HeldLock:
    """Holds every writer up for a while, from the first pulse of the load on."""

    def __init__(self, dsn: str, table: str) -> None:
        self._dsn, self._table = dsn, table
        self._begin = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._hold()))

    def begin(self, _: Pulse) -> None:
        self._begin.set()

    def __enter__(self) -> _HeldLock:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._begin.set()
        self._thread.join()

    async def _hold(self) -> None:
        connection = await asyncpg.connect(self._dsn)
        await asyncio.to_thread(self._begin.wait)
        async with connection.transaction():
            await connection.execute(f"lock table {self._table} in exclusive mode")
            await asyncio.sleep(STALL_S)
        await connection.close()


def measure_stall(proving: Proving) -> StallSeen:
    """Appends at a steady rate through the open-loop generator, all of them stopped once by a lock."""
    job = proving.job
    plan = LoadPlan(
        mix=parse_mix(f"{OPERATION}=1"), arrivals=Arrivals("poisson", RATE_PER_S), seconds=SECONDS, pool_max=POOL
    )  # fmt: skip
    table = f'{quoted_schema(job.schema)}."{job.definition.events_table}"'
    with _HeldLock(job.server.dsn, table) as lock:
        outcome = run_load(job, draw_sample(job), plan, watch=lock.begin)
    return _stall_seen(outcome.operations[OPERATION])


def _stall_seen(load: OperationLoad) -> StallSeen:
    service_ms = load.service_ns / _NS_PER_MS
    return StallSeen(
        stall_ms=STALL_S * 1e3,
        due_p99_ms=float(np.quantile(load.latency_ns, 0.99)) / _NS_PER_MS,
        service_p95_ms=float(np.quantile(service_ms, 0.95)),
        calls_stalled=int(np.count_nonzero(service_ms >= STALL_S * 1e3 / 2)),
        calls=len(service_ms),
    )


def stall_finding(seen: StallSeen) -> Finding:
    return Finding(
        name="planted stall",
        verdict=seen.verdict,
        observed=f"a stall of {seen.stall_ms:.0f} ms: p99 from the due time {seen.due_p99_ms:.0f} ms, service p95 "
        f"{seen.service_p95_ms:.3g} ms, {seen.calls_stalled} of {seen.calls} calls were under way during the stall",
        expected=f"p99 from the due time at least {seen.stall_ms / 2:.0f} ms, service p95 below that",
    )
