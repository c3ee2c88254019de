"""The main job: provision → seed → audit → measure → examine plans → verdict, as one result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg

from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError
from eventmark.measure.results import (
    CorpusResult,
    Environment,
    Finding,
    Floor,
    OperationResult,
    Phase,
    PlanResult,
    RunResult,
    ServerEnvironment,
    StoreEnvironment,
    Verdict,
)
from eventmark.measure.targets import DEFAULT_TARGETS, Target
from eventmark.measure.verdicts import overall
from eventmark.plans import examine_plans, sampled_cases
from eventmark.scenarios.benchmark import BenchmarkPlan, run_benchmark
from eventmark.scenarios.floors import copy_floor
from eventmark.scenarios.profiles import Profile
from eventmark.seeding import (
    AuditReport,
    CorpusSample,
    Progress,
    SeedReport,
    audit,
    estimated_bytes,
    no_progress,
    remove_appended,
    sample_corpus,
    seed,
)
from eventmark.server import (
    Monitor,
    Server,
    check_disk_space,
    examine,
    fitness,
    host_environment,
    measure_fsync_ms,
    server_environment,
)
from eventmark.stores import StoreDefinition, check_store
from eventmark.workload import CorpusPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to do on which server. ``store`` is the name or folder that ``definition`` was read from."""

    server: Server
    store: str
    definition: StoreDefinition
    schema: str
    corpus: CorpusPlan
    profile: Profile
    targets: Mapping[str, Target]
    command: str
    place: Path  # on the disk whose room and speed matter
    with_floors: bool = True
    replace: bool = False


@dataclass(slots=True)
class _Course:
    """What a run gathers on its way."""

    began_s: float = field(default_factory=time.monotonic)
    phases: list[Phase] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start_s = time.monotonic() - self.began_s
        yield
        end_s = time.monotonic() - self.began_s
        self.phases.append(Phase(name=name, start_s=round(start_s, 3), end_s=round(end_s, 3)))


def targets_of(definition: StoreDefinition, chosen: Mapping[str, Target] | None) -> dict[str, Target]:
    """The defaults, overlaid by the store's own, overlaid by those the user chose."""
    return {**DEFAULT_TARGETS, **definition.targets, **(chosen or {})}


def run_main_job(job: Job, *, progress: Progress = no_progress) -> RunResult:
    """Everything, in order. Raises ``CannotRunError`` or ``UsageError``; what it finds goes into the result."""
    started_at, course = datetime.now(UTC), _Course()
    prepare_store(job)
    with course.phase("doctor"):
        progress("doctor", 0, 1)
        findings = examine(job.server, job.place, estimated_bytes(job.corpus))
        progress("doctor", 1, 1)
    with Monitor(job.server, origin_s=course.began_s) as monitor:
        with course.phase("seed"):
            seeded, audited, floor = fill(job, course, progress)
        with course.phase("measure"):
            operations, skipped = measure(job, progress)
        with course.phase("plans"):
            plans = examine_all_plans(job, progress)
    course.skipped |= skipped | dict(job.definition.absent)
    course.skipped |= {f"series {name}": reason for name, reason in monitor.missing.items()}
    corpus = corpus_result(seeded, audited, [floor] if floor else [])
    verdict, reasons = overall(_parts(operations, plans, corpus, fitness(findings)))
    return scenario_result(
        job, started_at, findings, verdict, reasons, corpus=corpus, operations=operations, plans=plans,
        skipped=course.skipped, phases=course.phases, series=monitor.series(),
    )  # fmt: skip


def scenario_result(
    job: Job, began_at: datetime, fitness: list[Finding], verdict: Verdict, reasons: list[str], **parts: Any
) -> RunResult:
    """The result of a scenario: what it measured is in ``parts``, the rest of a result is empty."""
    empty: dict[str, Any] = {
        "corpus": None, "operations": {}, "plans": [], "skipped": {}, "phases": [], "series": [],
    }  # fmt: skip
    return RunResult(
        run_id=str(uuid4()),
        started_at=began_at.isoformat(timespec="seconds"),
        seconds=round((datetime.now(UTC) - began_at).total_seconds(), 1),
        command=job.command,
        profile=job.profile.name,
        seed=job.corpus.seed,
        verdict=verdict,
        reasons=reasons,
        environment=environment_of(job, fitness),
        **(empty | parts),
    )


def prepare_store(job: Job) -> None:
    """Everything that can be found wrong before anything is seeded."""
    if job.server.directory is not None:
        check_disk_space(job.place, estimated_bytes(job.corpus))
    asyncio.run(_check_store(job))


def fill(job: Job, course: _Course, progress: Progress) -> tuple[SeedReport, AuditReport, Floor | None]:
    """Seed or reuse, audit, and the floor of seeding where something was seeded."""
    server, definition, schema = job.server, job.definition, job.schema
    seeded = seed(server.dsn, definition, job.corpus, schema=schema, replace=job.replace, progress=progress)
    if seeded.reused:
        asyncio.run(remove_appended(server.dsn, definition, schema, job.corpus.events))
    audited = asyncio.run(audit(server.dsn, definition, schema=schema, progress=progress))
    floor = None
    if job.with_floors and not seeded.reused and not seeded.resumed:
        progress("psql copy", 0, 1)
        try:
            floor = copy_floor(server, definition, schema, seeded)
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
            sample=asyncio.run(_sample(job)),
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


def corpus_result(seeded: SeedReport, audited: AuditReport, floors: list[Floor]) -> CorpusResult:
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


def environment_of(job: Job, fitness: list[Finding]) -> Environment:
    """The machine, the server and the store of a job."""
    return Environment(
        host=host_environment(),
        server=asyncio.run(_server_environment(job)),
        store=store_environment(job.definition),
        fitness=fitness,
    )


def store_environment(definition: StoreDefinition) -> StoreEnvironment:
    capabilities = definition.capabilities
    return StoreEnvironment(
        name=definition.name,
        ordering=definition.ordering,
        schema_sha256=definition.schema_sha256,
        indexes=sorted({one.index for one in definition.statements.values()} - {"", "none"}),
        capabilities={name: getattr(capabilities, name) for name in capabilities.__dataclass_fields__},
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


async def _check_store(job: Job) -> None:
    connection = await asyncpg.connect(job.server.dsn)
    try:
        await check_store(connection, job.definition, job.schema)
    finally:
        await connection.close()


async def _sample(job: Job) -> CorpusSample:
    connection = await asyncpg.connect(job.server.dsn)
    try:
        return await sample_corpus(connection, job.definition, schema=job.schema, events=job.corpus.events)
    finally:
        await connection.close()


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


async def _server_environment(job: Job) -> ServerEnvironment:
    connection = await asyncpg.connect(job.server.dsn)
    try:
        fsync_ms = measure_fsync_ms(job.place) if job.server.directory is not None else None
        return await server_environment(connection, job.server, fsync_ms=fsync_ms)
    finally:
        await connection.close()
