"""Consumers in several processes, brought to a common start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventmark.experiments.streaming.consumers import (
    Consumed,
    ConsumerSpec,
    ConsumerTask,
    WorkerConsumption,
    run_consumers,
)
from eventmark.experiments.streaming.sizes import Sizes, Waiting
from eventmark.jobs.job import Job
from eventmark.seeding import Progress
from eventmark.server import machine
from eventmark.server.loop import on_loop
from eventmark.workers import Clock, Crew
from eventmark.workers.cluster import taken_workers

PROCESSES_MAX = 4
POLL_INTERVAL_S = 0.1
TELL_EVERY_S = 0.25

Meanwhile = Callable[[], Coroutine[Any, Any, None]]
"""Something to be run before or during the consumers' work."""


@dataclass(frozen=True, slots=True)
class Group:
    """What all consumers did together. ``clocks`` are their workers', by which times were read."""

    workers: tuple[WorkerConsumption, ...]
    clocks: tuple[Clock, ...] = ()

    @property
    def consumed(self) -> list[Consumed]:
        return [consumption for worker in self.workers for consumption in worker.consumed]

    @property
    def errors(self) -> list[str]:
        return [
            f"{consumption.name}: {consumption.error}" for consumption in self.consumed if consumption.error
        ]

    @property
    def handled(self) -> int:
        return sum(consumption.handled for consumption in self.consumed)

    @property
    def seconds(self) -> float:
        """From the start until the last token was stored."""
        last_ns = [
            consumption.saved_ns[-1] - worker.start_ns
            for worker in self.workers
            for consumption in worker.consumed
            if consumption.saved_ns
        ]
        return max(last_ns, default=0) / 1e9

    @property
    def events_per_s(self) -> float:
        return self.handled / self.seconds if self.seconds else 0.0

    def intervals_ns(self) -> list[NDArray[np.int64]]:
        """Of each consumer, from one stored token to the next."""
        return [
            consumption.intervals_ns()
            for worker in self.workers
            for consumption in worker.consumed
            if len(consumption.saved_ns) > 1
        ]


def _shared_out(job: Job, specs: Sequence[ConsumerSpec]) -> list[tuple[ConsumerSpec, ...]]:
    """The consumers of each process, no more processes than there are cores, or workers of the job's cluster."""
    processes = min(len(specs), _processes_max(job))
    return [tuple(specs[number::processes]) for number in range(processes)]


def _processes_max(job: Job) -> int:
    if job.cluster is not None:
        return len(job.cluster.members)
    return min(machine.cpu_count(), PROCESSES_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlan:
    """Consumers, and how long they run at most. ``stage`` is what progress is told of, nothing where empty."""

    specs: tuple[ConsumerSpec, ...]
    seconds: float
    poll_interval_s: float = POLL_INTERVAL_S
    settle_s: float = 0.0
    with_numbers: bool = False
    stage: str = ""

    @property
    def expected(self) -> int:
        """Events that all of them are to handle; the segments of one name share theirs."""
        return sum(sum(spec.expected) for spec in {spec.name: spec for spec in self.specs}.values())


def executor_of_workers(job: Job) -> AbstractContextManager[Executor]:
    """As many processes as the consumers of a group, and one for the writer."""
    return taken_workers(job.cluster, _processes_max(job) + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What every part of an analysis works with. ``executor`` is one of ``executor_of_workers``."""

    job: Job
    executor: Executor
    sizes: Sizes
    progress: Progress

    @property
    def ways(self) -> list[Waiting]:
        """Of waiting for events: stores that are not the engine's do not notify."""
        return [way for way in self.sizes.ways if self.job.definition.engine or not way.notified]

    def consume(
        self, plan: GroupPlan, *, at_start: Meanwhile | None = None, meanwhile: Meanwhile | None = None
    ) -> Group:
        """Run the consumers on the job's store.

        ``at_start`` is awaited once all are ready and before they start, ``meanwhile`` is run while they work.
        Raises ``CannotRunError``.
        """
        return on_loop(_consume(self.job, self.executor, plan, at_start, meanwhile, self.progress))


async def _consume(
    job: Job,
    executor: Executor,
    plan: GroupPlan,
    at_start: Meanwhile | None,
    meanwhile: Meanwhile | None,
    progress: Progress,
) -> Group:
    tasks = [_task(job, plan, specs) for specs in _shared_out(job, plan.specs)]
    async with Crew(executor, run_consumers, tasks) as crew:
        await crew.ready()
        if at_start is not None:
            await at_start()
        crew.start()
        await _together(_watched(crew, plan, progress), *([meanwhile()] if meanwhile else []))
        return Group(tuple(await crew.results()), tuple(crew.clocks))


async def _together(*work: Coroutine[Any, Any, None]) -> None:
    """All of it; the first error ends the rest, and is raised as it is."""
    tasks = [asyncio.create_task(awaitable) for awaitable in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _task(job: Job, plan: GroupPlan, specs: tuple[ConsumerSpec, ...]) -> ConsumerTask:
    return ConsumerTask(
        dsn=job.server.dsn, store=job.store, schema=job.schema, specs=specs, seconds=plan.seconds,
        poll_interval_s=plan.poll_interval_s, settle_s=plan.settle_s, with_numbers=plan.with_numbers,
    )  # fmt: skip


async def _watched(crew: Crew[WorkerConsumption], plan: GroupPlan, progress: Progress) -> None:
    """Until the workers end, say how far they are. Raises what one raised."""
    expected = float(plan.expected)
    watched = bool(plan.stage and expected)
    handled: dict[int, int] = {}
    async for _ in crew.at_work(TELL_EVERY_S):
        handled |= dict(crew.reports(int))
        if watched:
            progress(plan.stage, min(float(sum(handled.values())), expected), expected)
    if watched:
        progress(plan.stage, expected, expected)
