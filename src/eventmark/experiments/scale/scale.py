"""Scale: one log grows through volumes, and everything is measured at each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import asyncpg
import numpy as np

from eventmark.errors import CannotRunError
from eventmark.experiments.scale.analysis import (
    Curve,
    accounting_of,
    counter_curves,
    curves_of,
    measured_operations,
    pages_of,
    plan_curves,
)
from eventmark.experiments.scale.judge import Judged, judge_operation
from eventmark.experiments.scale.measuring import EFFORTS, measure_volume, side_of
from eventmark.experiments.scale.sections import (
    accounts_section,
    foretold_events,
    growth_section,
    laws_section,
    short,
    volumes_section,
)
from eventmark.experiments.scale.steps import Growth, Step, StepLedger
from eventmark.experiments.scale.volumes import plan_of
from eventmark.jobs.bottleneck import STORE_APPLICATION
from eventmark.jobs.findings import Findings
from eventmark.jobs.job import Job, prepare_store
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.run import Run
from eventmark.judgement.evidence import NOT_TIMED
from eventmark.operations.benchmark import Measured as MeasuredForks
from eventmark.operations.benchmark import operation_result
from eventmark.results.results import Figure, OperationResult, Section
from eventmark.seeding import (
    drop_corpus,
    remove_appended,
    seed,
    seeded_events,
)
from eventmark.server import Watch
from eventmark.server.loop import ask, connection_to, on_loop
from eventmark.stores import scratch_name
from eventmark.workload import CorpusPlan

SUFFIX_LARGE, SUFFIX_SMALL = "_scale", "_scale_small"
LARGEST_VOLUME = "largest_volume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale(Experiment):
    """The log of the largest of ``volumes``, measured when it has each of them, with a small corpus next to it.

    The small one has the events of the smallest volume, or ``small_events``.

    What was measured is kept in the store, so that the same run, interrupted, goes on with the next volume.
    ``effort`` names one of ``EFFORTS``; that of the job's profile where it is "".
    """

    name: ClassVar[str] = "scale"
    volumes: tuple[int, ...]
    effort: str = ""
    small_events: int = 0

    seeds: ClassVar[bool] = False
    watched: ClassVar[bool] = False

    def job_for(self, job: Job) -> Job:
        if job.replace:
            ask(job.server.dsn, _drop, *_schemas(job))
        prepare_store(job)
        return job

    def scratch_events(self, job: Job) -> int:
        large, small = ask(job.server.dsn, _seeded, *_schemas(job))
        return max(self.volumes[-1] - large, 0) + max(self._small_events - small, 0)

    def measure(self, run: Run) -> Findings:
        growing = _Growing(run, self.volumes, self._small_events, self.effort or run.job.profile.name)
        run.so_far = growing.findings
        growing.measure()
        return growing.findings()

    @property
    def _small_events(self) -> int:
        return self.small_events or self.volumes[0]


def _schemas(job: Job) -> tuple[str, str]:
    """Of the log that grows, and of the small corpus."""
    return scratch_name(job.schema, SUFFIX_LARGE), scratch_name(job.schema, SUFFIX_SMALL)


class _Growing:
    """The log as it grows, and what was measured of it so far."""

    def __init__(self, run: Run, volumes: tuple[int, ...], small_events: int, effort: str) -> None:
        self._run = run
        self._job = job = run.job
        self._volumes = volumes
        self._small_events = small_events
        self._progress = run.progress
        self._plan: CorpusPlan = plan_of(job.corpus, tuple(sorted({small_events, *volumes})))
        self._large, self._small = _schemas(job)
        self._effort = EFFORTS[effort]
        self._ledger = StepLedger(self._large, f"{effort}, {job.definition.schema_sha256}, {small_events}")
        self._steps: dict[int, Step] = {}
        self._watch: Watch | None = None
        self._random = np.random.default_rng([job.corpus.seed, 31])

    def measure(self) -> None:
        """Grow and measure, volume by volume; what was measured before stays."""
        run = self._run
        self._steps = ask(self._job.server.dsn, self._measured)
        for volume in self._volumes:
            if volume in self._steps:
                continue
            if ask(self._job.server.dsn, seeded_events, self._large) > volume:
                run.skipped[f"{short(volume)} events"] = "the log has grown beyond it, and does not shrink"
                continue
            with run.phase(f"grow to {short(volume)}"):
                growth = on_loop(self._grow(volume))
            with run.phase(f"measure {short(volume)}"), run.watch() as watch:
                step = self._measure(volume, growth)
            self._watch = watch
            ask(self._job.server.dsn, self._ledger.write, step)
            self._steps[volume] = step

    async def _measured(self, connection: asyncpg.Connection[Any]) -> dict[int, Step]:
        """What was measured before, where the log is there."""
        there = await seeded_events(connection, self._large)
        return await self._ledger.read(connection) if there else {}

    async def _grow(self, volume: int) -> Growth:
        """Both corpora as far as they are wanted, without what measuring has left in them."""
        job = self._job
        async with connection_to(job.server.dsn) as connection:
            if await seeded_events(connection, self._small) > self._small_events:  # of another run
                await drop_corpus(connection, self._small)
        loaded = Growth(events=0, stage_seconds={})
        for schema, events in ((self._small, self._small_events), (self._large, volume)):
            report = await seed(
                job.server.dsn,
                job.definition,
                self._plan,
                schema=schema,
                events=events,
                progress=self._progress,
            )
            await remove_appended(job.server.dsn, job.definition, schema, self._plan.events)
            loaded = Growth(events=report.events, stage_seconds=report.stage_seconds)
        return loaded

    def _measure(self, volume: int, growth: Growth) -> Step:
        small = side_of(self._job, self._small, self._plan, self._small_events)
        large = side_of(self._job, self._large, self._plan, volume)
        return measure_volume(volume, small, large, self._effort, growth, self._progress)

    def findings(self) -> Findings:
        run, steps = self._run, [self._steps[volume] for volume in self._volumes if volume in self._steps]
        if not steps:
            raise CannotRunError(
                "nothing is left to measure: the log has grown beyond every volume",
                remedy="start again with --replace",
            )
        names = list(measured_operations(steps))
        curves = [curve for name in names for curve in curves_of(steps, name, self._random)]
        judged = [self._judged(curve, steps[-1]) for curve in curves if curve.quantile == "p95"]
        run.skipped |= steps[-1].skipped | steps[-1].notes
        if not steps[-1].accounts:
            run.skipped["accounts of single calls"] = "pg_stat_statements is not available"
        watch = self._watch
        return Findings(
            operations=self._operations(steps[-1], names), figures=_figures(curves, steps[-1]),
            sections=list(self._sections(steps, curves, judged, names)),
            evidence=None if watch is None else watch.evidence(NOT_TIMED, application=STORE_APPLICATION),
        )  # fmt: skip

    def _judged(self, curve: Curve, step: Step) -> Judged:
        rounds = step.rounds.get(curve.operation, [])
        failures = [side.failure for pair in rounds for side in (pair.small, pair.large) if side.failed]
        accounting = accounting_of(step.accounts.get(curve.operation, []), self._random)
        return judge_operation(curve, step, self._small_events, accounting, failures)

    def _operations(self, step: Step, names: Sequence[str]) -> dict[str, OperationResult]:
        """The operations at the largest volume, judged by their targets as a benchmark does."""
        operations = {}
        for name in names:
            forks = [pair.large for pair in step.rounds.get(name, [])]
            if forks:
                measured = MeasuredForks(forks=forks)
                operations[name] = operation_result(name, measured, self._job.targets.get(name), self._random)
        return operations

    def _sections(
        self, steps: Sequence[Step], curves: Sequence[Curve], judged: Sequence[Judged], names: Sequence[str]
    ) -> Iterator[Section]:
        yield growth_section(curves, judged, self._small_events)
        yield laws_section(
            curves, counter_curves(steps, names), plan_curves(steps), foretold_events(steps[-1].volume)
        )
        yield accounts_section(judged)
        yield volumes_section(steps, self._missing(steps[-1].notes))

    def _missing(self, notes: Mapping[str, str]) -> list[str]:
        return [f"Not available, {name}: {reason}." for name, reason in notes.items()]


def _figures(curves: Sequence[Curve], step: Step) -> dict[str, Figure]:
    """The largest volume; of each operation, p95 and pages per call there against the smallest."""
    figures = {LARGEST_VOLUME: Figure(value=float(step.volume), unit="events", exact=True)}
    for curve in curves:
        if curve.quantile == "p95":
            ratio = curve.points[-1].ratio
            figures[f"{curve.operation}_p95_growth"] = Figure(
                value=round(ratio.value, 4), unit="times", low=round(ratio.low, 4), high=round(ratio.high, 4),
                better="less",
            )  # fmt: skip
    for name in step.rounds:
        pages = pages_of(step, name)
        if pages is not None:
            figures[f"{name}_pages_growth"] = Figure(
                value=round(pages.ratio.value, 4), unit="times", low=round(pages.ratio.low, 4),
                high=round(pages.ratio.high, 4), better="less",
            )  # fmt: skip
    return figures


async def _drop(connection: asyncpg.Connection[Any], *schemas: str) -> None:
    for schema in schemas:
        await drop_corpus(connection, schema)


async def _seeded(connection: asyncpg.Connection[Any], *schemas: str) -> list[int]:
    return [await seeded_events(connection, schema) for schema in schemas]
