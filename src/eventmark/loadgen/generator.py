"""A load generated: workers brought to a common start, watched, and their records merged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import numpy as np

from eventmark.errors import CannotRunError
from eventmark.jobs.job import Job
from eventmark.jobs.run import Run
from eventmark.loadgen.beats import BEAT_S, STOP, Beat
from eventmark.loadgen.mix import Mix
from eventmark.loadgen.outcome import LoadOutcome, merged
from eventmark.loadgen.plan import CLIENT, SECONDS_MIN, WIRE, LoadPlan
from eventmark.loadgen.records import WorkerRecords
from eventmark.loadgen.task import Companion, WorkerTask
from eventmark.loadgen.wire.worker import run_load_worker as run_wire_worker
from eventmark.loadgen.worker import run_load_worker
from eventmark.seeding import CorpusSample, Progress, no_progress, refreshed_sample
from eventmark.server.connections import check_connections
from eventmark.server.loop import on_loop
from eventmark.workers import Crew, WorkerLink
from eventmark.workers.cluster import taken_workers

STAGE = "generate"

Work = Callable[[WorkerTask, WorkerLink], Coroutine[Any, Any, WorkerRecords]]
_WORK: Mapping[str, Work] = {WIRE: run_wire_worker, CLIENT: run_load_worker}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """What all workers together did in the last half second, for whoever watches.

    ``latency_ms`` are p50, p95, p99 and max from the due time by operation, of those that ended.
    """

    at_s: float
    seconds: float  # of the whole load
    offered_per_s: float
    succeeded_per_s: float
    conflicted_per_s: float
    failed_per_s: float
    skipped_per_s: float
    in_flight: int
    latency_ms: dict[str, dict[str, float]]
    rate_per_s: dict[str, float]  # by operation, succeeded
    schedule_lag_ms: float  # p99 of the worker that is furthest behind
    cpu_share: float  # of a core, the busiest worker

    @property
    def is_last(self) -> bool:
        return self.at_s >= self.seconds and not self.in_flight


OnPulse = Callable[[Pulse], None]

OnCut = Callable[[LoadOutcome], None]
"""Given what an interrupted load had measured."""

Watcher = Callable[[Pulse, Mapping[str, float]], None]
"""Told each pulse, and what the server's sessions wait for."""


def possible_mix(mix: Mix, job: Job, run: Run, sample: CorpusSample) -> Mix:
    """The mix without what cannot be done, which the run is told.

    Raises ``CannotRunError`` where nothing is left.
    """
    possible, missing = mix.available(job.definition.capabilities, sample)
    run.skipped |= missing
    if possible is None:
        raise CannotRunError(
            f"the store has no operation of the mix: {next(iter(missing.values()))}",
            remedy="name another with --mix",
        )
    return possible


def on_pulse(run: Run, watch: Watcher | None) -> OnPulse | None:
    if watch is None:
        return None
    return lambda pulse: watch(pulse, run.waits_now)


def run_load(
    job: Job,
    sample: CorpusSample,
    plan: LoadPlan,
    *,
    executor: Executor | None = None,
    progress: Progress = no_progress,
    watch: OnPulse | None = None,
    during: AbstractContextManager[object] | None = None,
    cut: OnCut | None = None,
    work: Work | None = None,
) -> LoadOutcome:
    """Generate the load on the job's store, by workers taken from ``executor`` (the job's when None).

    The executor must run as many tasks at once as the plan has workers. What the mix names must be possible
    (``Mix.available``). The streams' versions are read anew, so that loads can follow each other. ``during``
    is entered when all workers are ready, and left when the last operation has ended. Where the load is interrupted,
    ``cut`` is given what was measured until then, before that goes on to whoever called. ``work`` is done by the
    workers instead of what the plan's ``through`` says. Raises ``CannotRunError``.
    """
    return on_loop(generate(job, sample, plan, executor, progress, watch, _entered(during), cut, work))


async def generate(
    job: Job,
    sample: CorpusSample,
    plan: LoadPlan,
    executor: Executor | None,
    progress: Progress = no_progress,
    watch: OnPulse | None = None,
    during: AbstractAsyncContextManager[object] | None = None,
    cut: OnCut | None = None,
    work: Work | None = None,
    companion: Companion | None = None,
) -> LoadOutcome:
    """``run_load`` within a running event loop. A ``companion`` works in each worker of a load through the client."""
    assert companion is None or plan.through == CLIENT
    plan = spread(plan, job) if executor is None else plan
    sample = of_tenants(await _refreshed(job, sample, plan), plan.tenants)
    tasks = [
        WorkerTask(
            dsn=job.server.dsn,
            store=job.store,
            schema=job.schema,
            sample=sample,
            plan=plan,
            number=number,
            companion=companion,
        )
        for number in range(plan.worker_count)
    ]
    with (
        taken_workers(job.cluster, plan.worker_count)
        if executor is None
        else nullcontext(executor) as workers
    ):
        async with Crew(workers, work or _WORK[plan.through], tasks) as crew:
            await crew.ready()
            async with during or nullcontext():
                started_s = crew.start()
                try:
                    await _watched(crew, plan, progress, watch)
                except asyncio.CancelledError:
                    if cut is not None:
                        cut(await _stopped(crew, plan, started_s))
                    raise
            outcome = merged(plan, await crew.results(), started_s)
            return replace(outcome, clocks=tuple(crew.clocks))


def spread(plan: LoadPlan, job: Job) -> LoadPlan:
    """The load as all workers of the job's cluster generate it, where it has one."""
    return plan if job.cluster is None else replace(plan, workers=len(job.cluster.members))


async def _stopped(crew: Crew[WorkerRecords], plan: LoadPlan, started_s: float) -> LoadOutcome:
    """The load's part that is over, when its workers have been told to end it."""
    crew.tell(STOP)
    told_s = time.monotonic() - started_s
    parts = await crew.results()
    last_s = max((part.due_ns.max() / 1e9 for part in parts if len(part.due_ns)), default=0.0)
    return merged(replace(plan, seconds=float(max(told_s, last_s, SECONDS_MIN))), parts, started_s)


@asynccontextmanager
async def _entered(during: AbstractContextManager[object] | None) -> AsyncIterator[None]:
    with during or nullcontext():
        yield


def of_tenants(sample: CorpusSample, tenants: Sequence[str]) -> CorpusSample:
    """What the sample holds of these tenants; all of it where none are named."""
    if not tenants:
        return sample
    return replace(
        sample,
        streams=[stream for stream in sample.streams if stream.stream.tenant_id in tenants],
        long_streams=[
            long_stream for long_stream in sample.long_streams if long_stream.stream.tenant_id in tenants
        ],
        snapshot_streams=[
            snapshot_stream
            for snapshot_stream in sample.snapshot_streams
            if snapshot_stream.tenant_id in tenants
        ],
    )


async def _refreshed(job: Job, sample: CorpusSample, plan: LoadPlan) -> CorpusSample:
    """The sample as the store is now. Raises ``CannotRunError`` where the server has too few connections left."""
    connection = await asyncpg.connect(job.server.dsn)
    try:
        await check_connections(connection, plan.pool_max)
        return await refreshed_sample(connection, job.definition, job.schema, sample)
    finally:
        await connection.close()


async def _watched(
    crew: Crew[WorkerRecords], plan: LoadPlan, progress: Progress, watch: OnPulse | None
) -> None:
    """Until the workers end: tell progress and pulses. Raises what a worker raised."""
    names, at_s = list(plan.mix.shares), 0.0
    async for _ in crew.at_work(BEAT_S):
        beats = [beat for _, beat in crew.reports(Beat)]
        at_s = max([at_s, *(beat.at_s for beat in beats)])
        progress(STAGE, min(at_s, plan.seconds), plan.seconds)
        if watch is not None and beats:
            watch(_pulse(names, beats, plan))
    progress(STAGE, plan.seconds, plan.seconds)


def _pulse(names: Sequence[str], beats: Sequence[Beat], plan: LoadPlan) -> Pulse:
    """Beats of all workers as one; where a worker's came late, two of its beats cover twice the time."""
    span_s = BEAT_S * max(1.0, len(beats) / plan.worker_count)

    def per_s(field: str) -> float:
        return sum(sum(getattr(beat, field)) for beat in beats) / span_s

    latest = {beat.worker: beat for beat in beats}
    latencies = {
        name: np.frombuffer(b"".join(beat.latencies_ms[index] for beat in beats), np.float32)
        for index, name in enumerate(names)
    }
    quantiles = {
        name: dict(
            zip(
                ("p50", "p95", "p99", "max"),
                np.quantile(latency, [0.5, 0.95, 0.99, 1.0]).tolist(),
                strict=True,
            )
        )
        for name, latency in latencies.items()
        if len(latency)
    }
    return Pulse(
        at_s=max(beat.at_s for beat in beats),
        seconds=plan.seconds,
        offered_per_s=per_s("offered"),
        succeeded_per_s=per_s("succeeded"),
        conflicted_per_s=per_s("conflicted"),
        failed_per_s=per_s("failed"),
        skipped_per_s=per_s("skipped"),
        in_flight=sum(beat.in_flight for beat in latest.values()),
        latency_ms=quantiles,
        rate_per_s={name: len(latency) / span_s for name, latency in latencies.items()},
        schedule_lag_ms=max(beat.schedule_lag_ms for beat in beats),
        cpu_share=max(beat.cpu_share for beat in beats),
    )
