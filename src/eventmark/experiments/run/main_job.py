"""The main job: provision → seed → audit → measure → examine plans → verdict, as one result; its parts alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import msgspec

from eventmark.errors import CannotRunError
from eventmark.jobs.examination import examine_all_plans
from eventmark.jobs.findings import Findings
from eventmark.jobs.job import Existing, Job
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.run import Run
from eventmark.operations.appends import AppendEvents
from eventmark.operations.benchmark import BenchmarkPlan, SoFar, run_benchmark
from eventmark.operations.existing import APPENDING
from eventmark.operations.floors import copy_floor
from eventmark.results.results import (
    CorpusResult,
    Floor,
    OperationResult,
    PlanResult,
    Verdict,
)
from eventmark.seeding import AuditReport, SeedReport, audit
from eventmark.server.loop import on_loop


class MainJob(Experiment):
    """Everything, in order. What it finds goes into the result."""

    name: ClassVar[str] = "run"
    reads_existing: ClassVar[bool] = True

    def measure(self, run: Run) -> Findings:
        corpus = _audited_corpus(run) if run.job.existing is None else None
        run.so_far = lambda: Findings(corpus=corpus)
        operations = measured_operations(run, corpus)
        run.so_far = lambda: Findings(corpus=corpus, operations=operations)
        return Findings(corpus=corpus, operations=operations, plans=_examined_plans(run))


class CoreOperations(Experiment):
    """The core operations alone, on a corpus that is there or is seeded."""

    name: ClassVar[str] = "bench"
    reads_existing: ClassVar[bool] = True

    def measure(self, run: Run) -> Findings:
        return Findings(operations=measured_operations(run))


class Baselines(Experiment):
    """The core operations and seeding, each compared with what the field's own tools do."""

    name: ClassVar[str] = "baselines"

    def job_for(self, job: Job) -> Job:
        return replace(job, with_floors=True)

    def measure(self, run: Run) -> Findings:
        corpus = _audited_corpus(run)
        return Findings(corpus=corpus, operations=measured_operations(run, corpus))


class Plans(Experiment):
    """The plan of every statement alone, on a corpus that is there or is seeded."""

    name: ClassVar[str] = "explain"
    reads_existing: ClassVar[bool] = True

    def measure(self, run: Run) -> Findings:
        return Findings(plans=_examined_plans(run))


def _audited_corpus(run: Run) -> CorpusResult:
    """The corpus as the table shows it, and the baseline of seeding where something was seeded."""
    job, seeded, floor = run.job, run.seeded, None
    assert seeded is not None
    with run.phase("audit"):
        audited = on_loop(audit(job.server.dsn, job.definition, schema=job.schema, progress=run.progress))
        if job.with_floors and not seeded.reused and not seeded.resumed:
            run.progress("psql copy", 0, 1)
            try:
                floor = copy_floor(job.server, job.definition, job.schema, seeded)
            except CannotRunError as error:
                run.skipped["psql as the baseline of seeding"] = error.message
            run.progress("psql copy", 1, 1)
        elif job.with_floors:
            run.skipped["psql as the baseline of seeding"] = "the corpus was there already, or partly"
    return _corpus_result(seeded, audited, [floor] if floor else [])


def measured_operations(run: Run, corpus: CorpusResult | None = None) -> dict[str, OperationResult]:
    """The core operations on the corpus that is there; what is skipped is noted in the run."""
    job = run.job

    def begun(so_far: SoFar) -> None:
        run.so_far = lambda: Findings(corpus=corpus, operations=so_far())

    with run.phase("measure"):
        operations, skipped = run_benchmark(
            BenchmarkPlan(
                server=job.server,
                store=job.store,
                definition=job.definition,
                schema=job.schema,
                sample=run.sample,
                profile=job.profile,
                targets=job.targets,
                seed=job.corpus.seed,
                with_floors=job.with_floors,
                **_on_existing(job.existing),
            ),
            progress=run.progress,
            begun=begun,
        )
    run.skipped |= skipped | dict(job.definition.absent)
    return (
        operations
        if job.existing is None
        else {name: _uncommitted(name, operation) for name, operation in operations.items()}
    )


def _on_existing(existing: Existing | None) -> dict[str, Any]:
    if existing is None:
        return {}
    return {"catalogue": existing.catalogue, "not_asked": existing.not_asked}


def _uncommitted(name: str, operation: OperationResult) -> OperationResult:
    """An append that was rolled back is never MET: its commit was left out."""
    if operation.verdict is not Verdict.MET or not issubclass(APPENDING[name], AppendEvents):
        return operation
    reason = f"rolled back, so without its commit: {operation.reason}"
    return msgspec.structs.replace(operation, verdict=Verdict.INCONCLUSIVE, reason=reason)


def _examined_plans(run: Run) -> list[PlanResult]:
    with run.phase("plans"):
        return examine_all_plans(run)


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
