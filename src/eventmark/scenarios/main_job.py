"""The main job: provision → seed → audit → measure → examine plans → verdict, as one result."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import ClassVar

import asyncpg

from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError
from eventmark.measure.evidence import NOT_TIMED
from eventmark.measure.results import CorpusResult, Floor, OperationResult, PlanResult, RunResult, Verdict
from eventmark.measure.verdicts import overall
from eventmark.plans import examine_plans, sampled_cases
from eventmark.scenarios.bottleneck import STORE_APPLICATION, bottleneck_section
from eventmark.scenarios.core.benchmark import BenchmarkPlan, run_benchmark
from eventmark.scenarios.core.floors import copy_floor
from eventmark.scenarios.course import Course
from eventmark.scenarios.job import Job, draw_sample, fill, prepare_store
from eventmark.seeding import AuditReport, Progress, SeedReport, audit, no_progress
from eventmark.server import fitness


class MainJob:
    """Everything, in order. What it finds goes into the result."""

    name: ClassVar[str] = "run"

    def run(self, job: Job, progress: Progress = no_progress) -> RunResult:
        """Raises ``CannotRunError`` or ``UsageError``."""
        prepare_store(job)
        with Course(job, progress) as course:
            with course.phase("seed"):
                seeded, audited, floor = _fill_and_audit(job, course, progress)
            with course.phase("measure"), course.watch() as watch:
                operations, skipped = measure(job, progress)
            with course.phase("plans"):
                plans = examine_all_plans(job, progress)
        course.skipped |= skipped | dict(job.definition.absent)
        corpus = _corpus_result(seeded, audited, [floor] if floor else [])
        verdict, reasons = overall(_parts(operations, plans, corpus, fitness(course.fitness)))
        limit = bottleneck_section(watch.evidence(NOT_TIMED, application=STORE_APPLICATION))
        return course.result(
            verdict, reasons, corpus=corpus, operations=operations, plans=plans, sections=[limit]
        )


def _fill_and_audit(
    job: Job, course: Course, progress: Progress
) -> tuple[SeedReport, AuditReport, Floor | None]:
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
    return seeded, audited, floor


def measure(job: Job, progress: Progress) -> tuple[dict[str, OperationResult], dict[str, str]]:
    """The core operations on the corpus that is there."""
    return run_benchmark(
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


def examine_all_plans(job: Job, progress: Progress) -> list[PlanResult]:
    """Every statement of the store, after its tables were vacuumed as a server at rest would have done."""
    return asyncio.run(_examine_plans(job, progress))


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
    plans: list[PlanResult],
    corpus: CorpusResult,
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
    for finding in corpus.audit:
        yield f"corpus, {finding.name}", finding.verdict, f"{finding.observed}, expected {finding.expected}"
    if fit is Verdict.BROKEN:
        yield "machine", Verdict.INCONCLUSIVE, "not fit to measure on, see the findings of doctor"


async def _examine_plans(job: Job, progress: Progress) -> list[PlanResult]:
    definition = job.definition
    connection = await asyncpg.connect(job.server.dsn)
    try:
        for table in filter(None, (definition.events_table, definition.snapshots_table)):
            await connection.execute(f'vacuum analyze {quoted_schema(job.schema)}."{table}"')
        cases = await sampled_cases(
            connection, definition.statements, job.schema, definition.columns, definition.events_table,
            definition.snapshots_table, snapshot_columns=definition.snapshot_columns,
        )  # fmt: skip
        return await examine_plans(
            connection, definition.statements, job.schema, cases,
            progress=lambda done, total: progress("plans", done, total),
        )  # fmt: skip
    finally:
        await connection.close()
