"""Stress: one case after the other, each with the store verified and the system back to normal after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from eventmark.experiments.stress.book import Book
from eventmark.experiments.stress.case import Case, CaseReport
from eventmark.experiments.stress.checkpoints import CheckpointsUnderLoad
from eventmark.experiments.stress.deadlocks import Deadlocks
from eventmark.experiments.stress.hot_aggregate import HotAggregates
from eventmark.experiments.stress.long_transaction import LongTransaction
from eventmark.experiments.stress.pools import ConnectionsRefused, PoolExhausted, PoolTooSmall
from eventmark.experiments.stress.stage import Stage, back_to_normal, probe
from eventmark.jobs.bottleneck import SECTION_NAME
from eventmark.jobs.findings import Findings
from eventmark.jobs.job import Job
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.run import Run
from eventmark.judgement.bottleneck import find_bottleneck
from eventmark.judgement.verdicts import worst
from eventmark.results.results import Figure, Finding, Section, Table, columns
from eventmark.server.loop import on_loop

STEP_S = {"quick": 0.8, "standard": 5.0, "full": 20.0}
CASES: dict[str, type[Case]] = {
    case.name: case
    for case in (
        PoolTooSmall, PoolExhausted, ConnectionsRefused, HotAggregates, Deadlocks, LongTransaction,
        CheckpointsUnderLoad,
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Stress(Experiment):
    """The named cases on the job's store, in the order given."""

    name: ClassVar[str] = "stress"
    cases: Sequence[str] = tuple(CASES)

    watched: ClassVar[bool] = False

    def measure(self, run: Run) -> Findings:
        """What a case finds is data."""
        job, sections = run.job, list[Section]()
        reports: dict[str, CaseReport] = {}
        figures: dict[str, Figure] = {}
        run.so_far = lambda: Findings(figures=figures, sections=[*sections, _limits(reports)])
        tenants = tuple(sorted({stream.stream.tenant_id for stream in run.sample.streams}))
        for number, name in enumerate(self.cases):
            run.progress("stress", number, len(self.cases))
            case = CASES[name]()
            if reason := case.missing(job):
                run.skipped[name] = reason
                continue
            book = Book(job.definition, tenants, run.sample.naming)
            with run.phase(name):
                report, findings = on_loop(_run_case(job, case, book))
            reports[case.title] = report
            figures |= {f"{name}:{figure}": value for figure, value in report.figures.items()}
            sections.append(_section(case, report, findings))
        run.progress("stress", len(self.cases), len(self.cases))
        return run.so_far()


async def _run_case(job: Job, case: Case, book: Book) -> tuple[CaseReport, list[Finding]]:
    """The case between two probes, then the store held against everything that was acknowledged."""
    stage = Stage(job=job, book=book, step_s=STEP_S[job.profile.name])
    before = await probe(stage)
    report = await case.run(stage)
    normal = await back_to_normal(stage, before)
    async with stage.connection() as connection:
        stored = await stage.book.check(connection, job.schema)
    return report, [*report.findings, *normal, *stored]


def _section(case: Case, report: CaseReport, findings: list[Finding]) -> Section:
    return Section(
        name=f"stress-{case.name}", title=case.title, verdict=worst(findings), text=report.text, findings=findings,
        tables=report.tables, charts=report.charts, blocks=report.blocks,
    )  # fmt: skip


def _limits(reports: dict[str, CaseReport]) -> Section:
    """What limited each case: here the limits are made on purpose, so each has its own."""
    rows: list[list[Any]] = []
    for title, report in reports.items():
        if report.evidence is not None:
            bottleneck = find_bottleneck(report.evidence)
            rows.append([title, bottleneck.limit.value, bottleneck.because])
    return Section(
        name=SECTION_NAME,
        title="Bottleneck",
        text=["What limited each case, from what sessions waited for, counters, and CPU of both sides meanwhile."],
        tables=[
            Table(
                title="", columns=columns("case", "limited by", "seen"), rows=rows
            )
        ],
        closing=True,
    )  # fmt: skip
