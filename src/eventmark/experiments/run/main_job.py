"""The main job: provision → seed → audit → measure → examine plans → verdict, as one result; its parts alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from eventmark.errors import CannotRunError
from eventmark.jobs.bottleneck import STORE_APPLICATION, bottleneck_section
from eventmark.jobs.course import Course
from eventmark.jobs.examination import examine_all_plans
from eventmark.jobs.job import Job, draw_sample, fill, prepare_store
from eventmark.judgement.evidence import NOT_TIMED
from eventmark.judgement.verdicts import doubted, overall
from eventmark.operations.benchmark import BenchmarkPlan, run_benchmark
from eventmark.operations.floors import copy_floor
from eventmark.results.results import (
    CorpusResult,
    Floor,
    OperationResult,
    PlanResult,
    RunResult,
    Section,
    Verdict,
)
from eventmark.seeding import AuditReport, Progress, SeedReport, audit, no_progress
from eventmark.server import Watch, fitness, slowed_by


class MainJob:
    """Everything, in order. What it finds goes into the result."""

    name: ClassVar[str] = "run"

    def run(self, job: Job, progress: Progress = no_progress) -> RunResult:
        """Raises ``CannotRunError`` or ``UsageError``."""
        with Course(job, progress, events_to_come=prepare_store(job)) as course:
            with course.phase("seed"):
                corpus = fill_and_audit(job, course, progress)
            with course.phase("measure"), course.watch() as watch:
                operations = measure(job, course, progress)
            with course.phase("plans"):
                plans = examine_all_plans(job, course, progress)
        return judged_result(
            course, corpus=corpus, operations=operations, plans=plans, sections=[_limit(watch)]
        )


class CoreOperations:
    """The core operations alone, on a corpus that is there or is seeded."""

    name: ClassVar[str] = "bench"

    def run(self, job: Job, progress: Progress = no_progress) -> RunResult:
        """Raises ``CannotRunError`` or ``UsageError``."""
        with Course(job, progress, events_to_come=prepare_store(job)) as course:
            with course.phase("seed"):
                fill(job, progress)
            with course.phase("measure"), course.watch() as watch:
                operations = measure(job, course, progress)
        return judged_result(course, operations=operations, sections=[_limit(watch)])


class Limits:
    """The core operations and seeding, each beside what the field's own tools do."""

    name: ClassVar[str] = "limits"

    def run(self, job: Job, progress: Progress = no_progress) -> RunResult:
        """Raises ``CannotRunError`` or ``UsageError``."""
        beside = replace(job, with_floors=True)
        with Course(job, progress, events_to_come=prepare_store(job)) as course:
            with course.phase("seed"):
                corpus = fill_and_audit(beside, course, progress)
            with course.phase("measure"), course.watch() as watch:
                operations = measure(beside, course, progress)
        return judged_result(course, corpus=corpus, operations=operations, sections=[_limit(watch)])


class Plans:
    """The plan of every statement alone, on a corpus that is there or is seeded."""

    name: ClassVar[str] = "explain"

    def run(self, job: Job, progress: Progress = no_progress) -> RunResult:
        """Raises ``CannotRunError`` or ``UsageError``."""
        with Course(job, progress, events_to_come=prepare_store(job)) as course:
            with course.phase("seed"):
                fill(job, progress)
            with course.phase("plans"):
                plans = examine_all_plans(job, course, progress)
        return judged_result(course, plans=plans)


def _limit(watch: Watch) -> Section:
    """What limited the operations: each fork is one caller over a connection of its own."""
    return bottleneck_section(watch.evidence(NOT_TIMED, application=STORE_APPLICATION))


def judged_result(
    course: Course,
    *,
    corpus: CorpusResult | None = None,
    operations: Mapping[str, OperationResult] | None = None,
    plans: Sequence[PlanResult] = (),
    sections: Sequence[Section] = (),
) -> RunResult:
    """What was found, with the verdict on all of it."""
    doubt = slowed_by(course.fitness)
    measured = {name: doubted(one, doubt) for name, one in (operations or {}).items()}
    fit = fitness(course.fitness) if measured else Verdict.MET  # counted work is the same on any machine
    verdict, reasons = overall(_parts(measured, plans, corpus, fit))
    return course.result(
        verdict, reasons, corpus=corpus, operations=measured, plans=list(plans), sections=list(sections)
    )


def fill_and_audit(job: Job, course: Course, progress: Progress) -> CorpusResult:
    """Seed or reuse, audit, and the floor of seeding where something was seeded."""
    seeded = fill(job, progress)
    audited = asyncio.run(audit(job.server.dsn, job.definition, schema=job.schema, progress=progress))
    floor = None
    if job.with_floors and not seeded.reused and not seeded.resumed:
        progress("psql copy", 0, 1)
        try:
            floor = copy_floor(job.server, job.definition, job.schema, seeded)
        except CannotRunError as error:
            course.skipped["psql beside seeding"] = error.message
        progress("psql copy", 1, 1)
    elif job.with_floors:
        course.skipped["psql beside seeding"] = "the corpus was there already, or partly"
    return _corpus_result(seeded, audited, [floor] if floor else [])


def measure(job: Job, course: Course, progress: Progress) -> dict[str, OperationResult]:
    """The core operations on the corpus that is there; what is skipped is noted in the course."""
    operations, skipped = run_benchmark(
        BenchmarkPlan(
            server=job.server,
            store=job.store,
            definition=job.definition,
            schema=job.schema,
            sample=draw_sample(job),
            profile=job.profile,
            targets=job.targets,
            seed=job.corpus.seed,
            with_floors=job.with_floors,
        ),
        progress=progress,
    )
    course.skipped |= skipped | dict(job.definition.absent)
    return operations


def _corpus_result(seeded: SeedReport, audited: AuditReport, floors: list[Floor]) -> CorpusResult:
    return CorpusResult(
        events=audited.events,
        tenants=audited.tenants,
        aggregates=audited.aggregates,
        snapshots=audited.snapshots,
        seed=seeded.corpus.plan.seed,
        checksum=audited.checksum,
        reused=seeded.reused,
        seconds=seeded.seconds,
        events_per_s=seeded.events_per_s,
        stage_seconds=seeded.stage_seconds,
        client_peak_rss_mib=seeded.peak_rss_mib,
        audit=audited.findings,
        growth=seeded.growth,
        distributions=audited.distributions,
        scatter_pages_per_load=audited.scatter_pages_per_load,
        floors=floors,
    )


def _parts(
    operations: Mapping[str, OperationResult],
    plans: Sequence[PlanResult],
    corpus: CorpusResult | None,
    fit: Verdict,
) -> Iterator[tuple[str, Verdict, str]]:
    """Everything that counts towards the run's verdict.

    An unfit machine makes no store BROKEN: it takes the certainty out of what was met.
    """
    for name, operation in operations.items():
        yield name, operation.verdict, operation.reason
    for plan in plans:
        found = next((one for one in plan.findings if one.verdict is plan.verdict), None)
        seen = f"{found.name}: {found.observed}, expected {found.expected}" if found else ""
        yield f"plan of {plan.statement}, {plan.condition}", plan.verdict, seen
    for finding in corpus.audit if corpus is not None else ():
        yield f"corpus, {finding.name}", finding.verdict, f"{finding.observed}, expected {finding.expected}"
    if fit is Verdict.BROKEN:
        yield "machine", Verdict.INCONCLUSIVE, "not fit to measure on, see the findings of doctor"
