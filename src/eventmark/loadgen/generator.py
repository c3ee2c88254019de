"""A load generated: workers brought to a common start, watched, and their records merged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import numpy as np

from eventmark.errors import CannotRunError
from eventmark.jobs.job import Job
from eventmark.jobs.run import Run
from eventmark.loadgen.link import BEAT_S, LOOPBACK, READY_TIMEOUT_S, Beat, Rendezvous
from eventmark.loadgen.mix import Mix
from eventmark.loadgen.outcome import LoadOutcome, merged
from eventmark.loadgen.plan import LoadPlan
from eventmark.loadgen.records import WorkerRecords
from eventmark.loadgen.worker import WorkerTask, run_worker
from eventmark.seeding import CorpusSample, Progress, no_progress, refreshed_sample
from eventmark.workers import worker_executor

STAGE = "generate"


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


OnPulse = Callable[[Pulse], None]

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
            f"nothing of the mix can be done: {next(iter(missing.values()))}",
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
    host: str = LOOPBACK,
) -> LoadOutcome:
    """Generate the load on the job's store, by workers taken from ``executor`` (processes of our own when None).

    The executor must run as many tasks at once as the plan has workers; where it runs them on other
    machines, ``host`` is the address of this one for them. What the mix names must be possible
    (``Mix.available``). The streams' versions are read anew, so that loads can follow each other. ``during``
    is entered when all workers are ready, and left when the last operation has ended. Raises
    ``CannotRunError``.
    """
    return asyncio.run(generate(job, sample, plan, executor, progress, watch, during or nullcontext(), host))


async def generate(
    job: Job,
    sample: CorpusSample,
    plan: LoadPlan,
    executor: Executor | None,
    progress: Progress,
    watch: OnPulse | None,
    during: AbstractContextManager[object],
    host: str = LOOPBACK,
) -> LoadOutcome:
    """``run_load`` within a running event loop."""
    sample = of_tenants(await _refreshed(job, sample), plan.tenants)
    with worker_executor(plan.worker_count) if executor is None else nullcontext(executor) as workers:
        async with Rendezvous(plan.worker_count, host) as rendezvous:
            futures = [
                asyncio.wrap_future(
                    workers.submit(
                        run_worker,
                        WorkerTask(
                            dsn=job.server.dsn, store=job.store, schema=job.schema, sample=sample, plan=plan,
                            number=number, address=rendezvous.address, token=rendezvous.token,
                        ),
                    )
                )
                for number in range(plan.worker_count)
            ]  # fmt: skip
            for (
                future
            ) in futures:  # the first error is raised; those of the others, who are stopped, say no more
                future.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            try:
                await until_ready(rendezvous, futures)
                with during:
                    started_s = rendezvous.start()
                    parts = await _watched(rendezvous, futures, plan, progress, watch)
            except BrokenProcessPool:
                raise CannotRunError("a worker process ended before its load did") from None
    return merged(plan, parts, started_s)


def of_tenants(sample: CorpusSample, tenants: Sequence[str]) -> CorpusSample:
    """What the sample holds of these tenants; all of it where none are named."""
    if not tenants:
        return sample
    return replace(
        sample,
        streams=[one for one in sample.streams if one.stream.tenant_id in tenants],
        long_streams=[one for one in sample.long_streams if one.stream.tenant_id in tenants],
        snapshot_streams=[one for one in sample.snapshot_streams if one.tenant_id in tenants],
    )


async def _refreshed(job: Job, sample: CorpusSample) -> CorpusSample:
    connection = await asyncpg.connect(job.server.dsn)
    try:
        return await refreshed_sample(connection, job.definition, job.schema, sample)
    finally:
        await connection.close()


async def until_ready(rendezvous: Rendezvous, futures: Sequence[asyncio.Future[Any]]) -> None:
    """Return when all workers wait for the start; raise what kept one from it."""
    ready = asyncio.create_task(rendezvous.wait_until_ready())
    either: list[asyncio.Future[Any]] = [ready, *futures]
    await asyncio.wait(either, timeout=READY_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
    if ready.done():
        return
    ready.cancel()
    for future in futures:
        if future.done():
            future.result()  # raises: no worker ends before the start
    raise CannotRunError(
        f"{rendezvous.missing} of {len(futures)} workers were not ready within {READY_TIMEOUT_S:g} s",
        remedy="name fewer workers, or an executor that runs as many at once",
    )


async def _watched(
    rendezvous: Rendezvous,
    futures: Sequence[asyncio.Future[WorkerRecords]],
    plan: LoadPlan,
    progress: Progress,
    watch: OnPulse | None,
) -> list[WorkerRecords]:
    """The workers' records, in order; progress and pulses are told meanwhile. Raises what a worker raised."""
    names, at_s = list(plan.mix.shares), 0.0
    pending: set[asyncio.Future[WorkerRecords]] = set(futures)
    while pending:
        progress(STAGE, min(at_s, plan.seconds), plan.seconds)
        done, pending = await asyncio.wait(pending, timeout=BEAT_S, return_when=asyncio.FIRST_EXCEPTION)
        for future in done:
            future.result()
        beats = rendezvous.take()
        at_s = max([at_s, *(beat.at_s for beat in beats)])
        if watch is not None and beats:
            watch(_pulse(names, beats, plan))
    progress(STAGE, plan.seconds, plan.seconds)
    return [future.result() for future in futures]


def _pulse(names: Sequence[str], beats: Sequence[Beat], plan: LoadPlan) -> Pulse:
    """Beats of all workers as one; where a worker's came late, two of its beats cover twice the time."""
    span_s = BEAT_S * max(1.0, len(beats) / plan.worker_count)

    def per_s(field: str) -> float:
        return sum(sum(getattr(beat, field)) for beat in beats) / span_s

    latest = {beat.worker: beat for beat in beats}
    latencies = {
        name: np.frombuffer(b"".join(beat.latencies_ms[place] for beat in beats), np.float32)
        for place, name in enumerate(names)
    }
    quantiles = {
        name: dict(
            zip(
                ("p50", "p95", "p99", "max"), np.quantile(found, [0.5, 0.95, 0.99, 1.0]).tolist(), strict=True
            )
        )
        for name, found in latencies.items()
        if len(found)
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
        rate_per_s={name: len(found) / span_s for name, found in latencies.items()},
        schedule_lag_ms=max(beat.schedule_lag_ms for beat in beats),
        cpu_share=max(beat.cpu_share for beat in beats),
    )
