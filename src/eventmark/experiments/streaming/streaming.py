"""Streaming analysed: consumption by many, catching up with a whole log, delivery, and the cost of waiting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import asyncpg

from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError
from eventmark.experiments.streaming.catch_up import CatchUp, measure_catch_up
from eventmark.experiments.streaming.consumers import BATCH_EVENTS
from eventmark.experiments.streaming.delivery import Delivery, measure_deliveries
from eventmark.experiments.streaming.group import Setting, executor_of_workers
from eventmark.experiments.streaming.idle import Idle, measure_idle
from eventmark.experiments.streaming.rates import (
    TARGET,
    Case,
    measure_consumers,
    measure_segments,
    to_operation,
)
from eventmark.experiments.streaming.sections import (
    catch_up_section,
    delivery_section,
    rates_section,
)
from eventmark.experiments.streaming.sizes import SIZES
from eventmark.jobs.bottleneck import STORE_APPLICATION
from eventmark.jobs.findings import Findings
from eventmark.jobs.job import Job
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.run import Run
from eventmark.judgement.evidence import NOT_TIMED
from eventmark.results.results import Figure, Section
from eventmark.seeding import remove_appended
from eventmark.server import Watch
from eventmark.server.loop import on_loop

NO_PROCESSORS = "the store has no processors: its consumers are plain loops that keep their token themselves"
NO_NOTIFICATIONS = "The store sends no notifications: its consumers poll."


@dataclass(frozen=True, slots=True)
class Streaming(Experiment):
    """The job's corpus streamed; what measuring added to the store is taken out again."""

    name: ClassVar[str] = "stream"

    def job_for(self, job: Job) -> Job:
        if reason := job.definition.capabilities.lack("all_tenants_stream"):
            raise CannotRunError(
                f"store {job.definition.name!r} cannot be streamed: {reason}",
                remedy="write stream_events.sql",
            )
        return job

    watched: ClassVar[bool] = False

    def measure(self, run: Run) -> Findings:
        job = run.job
        gathered = _Found(job=job, caught_up=CatchUp(events=job.corpus.events), watch=run.watch())
        run.so_far = lambda: gathered.findings(run)
        try:
            with executor_of_workers(job) as executor:
                setting = Setting(
                    job=job, executor=executor, sizes=SIZES[job.profile.name], progress=run.progress
                )
                with run.phase("consume"):
                    for case in _consumption(setting, run):
                        gathered.cases.append(case)
                with run.phase("catch up"), gathered.watch:
                    measure_catch_up(setting, run.sample, gathered.caught_up)
                with run.phase("deliver"):
                    for delivery in measure_deliveries(setting):
                        gathered.deliveries.append(delivery)
                with run.phase("idle"):
                    for idle in measure_idle(setting):
                        gathered.idle.append(idle)
        finally:
            on_loop(_clean(job))
        return gathered.findings(run)


@dataclass(slots=True, kw_only=True)
class _Found:
    """What is measured, part by part; catching up is watched."""

    job: Job
    caught_up: CatchUp
    watch: Watch
    cases: list[Case] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    idle: list[Idle] = field(default_factory=list)

    def findings(self, run: Run) -> Findings:
        """Raises ``CannotRunError`` where nothing was measured to its end."""
        if not self.cases:
            raise CannotRunError("no consumers have read the log to its end")
        run.skipped |= self.caught_up.missing
        operations = {
            f"{TARGET}, {case.name}": to_operation(case, self.job.targets.get(TARGET))
            for case in self.cases
            if not case.handler_us  # whose batches take as long as the handler waits
        }
        return Findings(
            operations=operations, figures=figures(self.caught_up, self.deliveries, self.idle, self.cases),
            sections=list(self._sections()),
            evidence=self.watch.evidence(NOT_TIMED, application=STORE_APPLICATION) if self.caught_up.groups else None,
        )  # fmt: skip

    def _sections(self) -> Iterator[Section]:
        processors = bool(self.job.definition.engine)
        yield rates_section(self.cases, processors=processors, missing="" if processors else NO_PROCESSORS)
        if self.caught_up.groups:
            yield catch_up_section(self.caught_up)
        if self.deliveries:
            yield delivery_section(self.deliveries, self.idle, "" if processors else NO_NOTIFICATIONS)


def _consumption(setting: Setting, run: Run) -> Iterator[Case]:
    """By several consumers, and in segments where there are processors."""
    job = setting.job
    events = min(setting.sizes.events, job.corpus.events) // BATCH_EVENTS * BATCH_EVENTS
    if not events:
        raise CannotRunError(
            f"a corpus of {job.corpus.events:,} events has no batch of {BATCH_EVENTS:,}",
            remedy="seed more with --events",
        )
    yield from measure_consumers(setting, events)
    if job.definition.engine:
        yield from measure_segments(setting, events)
    else:
        run.skipped["segments"] = NO_PROCESSORS
        run.skipped["notifications"] = NO_NOTIFICATIONS


def figures(
    caught_up: CatchUp, deliveries: Sequence[Delivery], idle: Sequence[Idle], cases: Sequence[Case]
) -> dict[str, Figure]:
    """What is compared from run to run."""
    figures = {}
    if caught_up.groups:
        figures["catch_up_events_per_s"] = Figure(
            value=round(caught_up.events_per_s), unit="events/s", better="more"
        )
    ratio = caught_up.against_copy if caught_up.groups else None
    if ratio is not None:
        figures["catch_up_vs_copy"] = Figure(
            value=round(ratio.value, 4),
            unit="times",
            low=round(ratio.low, 4) if ratio.bounded else None,
            high=round(ratio.high, 4) if ratio.bounded else None,
            better="more",
        )
    if caught_up.beside_per_s:
        figures["catch_up_beside_writers_events_per_s"] = Figure(
            value=round(caught_up.beside_per_s), unit="events/s", better="more"
        )
    for case in cases:
        if case.segments == 1 and not case.handler_us and case.name.endswith(("consumer", "consumers")):
            figures[f"consumed_events_per_s_{case.consumers}"] = Figure(
                value=round(case.handled_per_s), unit="events/s", better="more"
            )
    for delivery in deliveries:
        figures[f"visible_ms_p95_{_slug(delivery.way.name)}"] = Figure(
            value=delivery.visible_ms.p95, unit="ms", better="less"
        )
    for cost in idle:
        if cost.way is not None and cost.queries_per_s is not None:
            figures[f"idle_queries_per_s_{_slug(cost.way.name)}"] = Figure(
                value=round(cost.queries_per_s, 2), unit="queries/s", better="less"
            )
    return figures


def _slug(name: str) -> str:
    return name.replace(",", "").replace(" ", "_")


async def _clean(job: Job) -> None:
    """The events that were appended, and the processors that were made, are not the store's."""
    await remove_appended(job.server.dsn, job.definition, job.schema, job.corpus.events)
    if not job.definition.engine:
        return
    connection = await asyncpg.connect(job.server.dsn)
    try:
        await connection.execute(
            f"delete from {quoted_schema(job.schema)}.tracking_tokens where processor like 'eventmark-%'"
        )
    finally:
        await connection.close()
