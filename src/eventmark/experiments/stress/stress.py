"""Stress: one case after the other, each with the store verified and the system back to normal after it."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from eventmark.errors import UsageError
from eventmark.experiments.stress.book import Book
from eventmark.experiments.stress.case import Case, CaseReport
from eventmark.experiments.stress.checkpoints import CheckpointsUnderLoad
from eventmark.experiments.stress.deadlocks import Deadlocks
from eventmark.experiments.stress.hot_aggregate import HotAggregates
from eventmark.experiments.stress.long_transaction import LongTransaction
from eventmark.experiments.stress.pools import ConnectionsRefused, PoolExhausted, PoolTooSmall
from eventmark.experiments.stress.stage import Stage, back_to_normal, probe
from eventmark.jobs.bottleneck import SECTION_NAME
from eventmark.jobs.course import Course, corpus_figures
from eventmark.jobs.job import Job, draw_sample, fill, prepare_store
from eventmark.judgement.bottleneck import find_bottleneck
from eventmark.judgement.verdicts import overall
from eventmark.plans.judge import worst
from eventmark.results.results import Column, Figure, Finding, RunResult, Section, Table, Verdict
from eventmark.seeding import Progress, no_progress
from eventmark.server import slowed_by

ALL = "all"
STEP_S = {"quick": 0.8, "standard": 5.0, "full": 20.0}
CASES: dict[str, type[Case]] = {
    case.name: case
    for case in (
        PoolTooSmall, PoolExhausted, ConnectionsRefused, HotAggregates, Deadlocks, LongTransaction,
        CheckpointsUnderLoad,
    )
}  # fmt: skip


def chosen_cases(text: str) -> tuple[str, ...]:
    """``all``, or names with commas between them. Raises ``UsageError`` for a name that is none."""
    if text.strip() == ALL:
        return tuple(CASES)
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in CASES:
            nearest = difflib.get_close_matches(name, CASES, 1)
            raise UsageError(
                f"unknown case {name!r}" + (f", did you mean {nearest[0]!r}?" if nearest else ""),
                remedy=f"use {', '.join(CASES)} or {ALL}",
            )
    return names


@dataclass(frozen=True, slots=True, kw_only=True)
class Stress:
    """The named cases on the job's store, in the order given."""

    name: ClassVar[str] = "stress"
    cases: Sequence[str] = tuple(CASES)

    def run(self, job: Job, progress: Progress = no_progress) -> RunResult:
        """Raises ``CannotRunError`` or ``UsageError``; what a case finds is data."""
        sections: list[Section] = []
        reports: dict[str, CaseReport] = {}
        figures: dict[str, Figure] = {}
        with Course(job, progress, events_to_come=prepare_store(job)) as course:
            with course.phase("seed"):
                fill(job, progress)
                tenants = tuple(sorted({one.stream.tenant_id for one in draw_sample(job).streams}))
            for number, name in enumerate(self.cases):
                progress("stress", number, len(self.cases))
                case = CASES[name]()
                if reason := case.missing(job):
                    course.skipped[name] = reason
                    continue
                with course.phase(name):
                    report, findings = asyncio.run(_run_case(job, case, tenants, slowed_by(course.fitness)))
                reports[case.title] = report
                figures |= {f"{name}:{figure}": value for figure, value in report.figures.items()}
                sections.append(_section(case, report, findings))
            progress("stress", len(self.cases), len(self.cases))
        verdict, reasons = overall(_parts(sections))
        return course.result(
            verdict, reasons, figures=figures | corpus_figures(job), sections=[*sections, _limits(reports)]
        )  # fmt: skip


async def _run_case(
    job: Job, case: Case, tenants: tuple[str, ...], doubt: str
) -> tuple[CaseReport, list[Finding]]:
    """The case between two probes, then the store held against everything that was acknowledged."""
    stage = Stage(job=job, book=Book(job.definition, tenants), step_s=STEP_S[job.profile.name], doubt=doubt)
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


def _parts(sections: Sequence[Section]) -> Iterator[tuple[str, Verdict, str]]:
    for section in sections:
        for finding in section.findings:
            said = f"{finding.observed}, expected {finding.expected}"
            yield f"{section.title}, {finding.name}", finding.verdict, said


def _limits(reports: dict[str, CaseReport]) -> Section:
    """What limited each case: here the limits are made on purpose, so each has its own."""
    rows: list[list[Any]] = []
    for title, report in reports.items():
        if report.evidence is not None:
            found = find_bottleneck(report.evidence)
            rows.append([title, found.limit.value, found.because])
    return Section(
        name=SECTION_NAME,
        title="Bottleneck",
        text=["What limited each case, from what sessions waited for, counters, and CPU of both sides meanwhile."],
        tables=[
            Table(
                title="", columns=[Column(name="case"), Column(name="limited by"), Column(name="seen")], rows=rows
            )
        ],
        closing=True,
    )  # fmt: skip
