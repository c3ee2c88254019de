"""Golden plans: the shapes of a store's plans held against those that were approved, or approved anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from eventmark.jobs.examination import examine_all_plans
from eventmark.jobs.findings import Findings
from eventmark.jobs.job import Job
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.run import Run
from eventmark.judgement.verdicts import overall
from eventmark.plans.golden import (
    NOT_EXAMINED,
    PINNED_SETTINGS,
    Difference,
    differences,
    folder_of,
    read_golden,
    texts_of,
    write_golden,
)
from eventmark.results.results import Block, Finding, Section, Verdict
from eventmark.workload import CorpusPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenPlans(Experiment):
    """The plans of the job's store compared with its golden ones; with ``approve`` they become these."""

    name: ClassVar[str] = "golden plans"
    approve: bool = False

    def job_for(self, job: Job) -> Job:
        """Raises ``UsageError`` where the approved plans are another corpus's, before anything is seeded."""
        self._approved(job)
        return job

    def measure(self, run: Run) -> Findings:
        job, corpus = run.job, _corpus_name(run.job.corpus)
        with run.phase("plans"):
            texts = texts_of(examine_all_plans(run, settings=PINNED_SETTINGS), corpus)
        if not self.approve:
            return Findings(sections=[compared_section(self._approved(job), texts, _major(job))])
        folder = _folder(job)
        write_golden(folder, texts)
        text = f"{folder} holds the plans of {corpus} on PostgreSQL {_major(job)}."
        return Findings(sections=[_approved_section(texts, text)])

    def _approved(self, job: Job) -> Mapping[str, str]:
        return {} if self.approve else read_golden(_folder(job), _corpus_name(job.corpus))


def _major(job: Job) -> int:
    return job.server.version_num // 10000


def _folder(job: Job) -> Path:
    return folder_of(job.definition.directory, _major(job))


def compared_section(approved: Mapping[str, str], plans: Mapping[str, str], major: int) -> Section:
    """A finding for each statement, and a block with the difference of each that changed."""
    if not approved:
        findings = [
            Finding(
                name="approved plans", verdict=Verdict.INCONCLUSIVE, observed=f"none for PostgreSQL {major}",
                expected="plans to compare with", remedy="approve today's plans with eventmark explain --approve",
            )
        ]  # fmt: skip
        return Section(
            name="golden-plans", title="Golden plans", verdict=Verdict.INCONCLUSIVE, findings=findings
        )
    changed = {difference.statement: difference for difference in differences(approved, plans)}
    findings = [
        _finding(name, plans.get(name, ""), changed.get(name)) for name in sorted({*approved, *plans})
    ]
    return Section(
        name="golden-plans",
        title="Golden plans",
        verdict=overall((finding.name, finding.verdict, "") for finding in findings)[0],
        text=[f"{len(findings) - len(changed)} of {len(findings)} statements are planned as approved."],
        findings=findings,
        blocks=[
            Block(title=name, text=difference.diff, language="diff") for name, difference in changed.items()
        ],
    )


def _approved_section(plans: Mapping[str, str], text: str) -> Section:
    findings = [_finding(name, plans[name], None) for name in sorted(plans)]
    return Section(
        name="golden-plans",
        title="Golden plans",
        verdict=overall((finding.name, finding.verdict, "") for finding in findings)[0],
        text=[text],
        findings=findings,
    )


def _finding(statement: str, text: str, changed: Difference | None) -> Finding:
    if changed is None and NOT_EXAMINED in text:
        return Finding(
            name=statement, verdict=Verdict.INCONCLUSIVE, observed="not every plan could be examined",
            expected="the approved plans", remedy="eventmark explain shows why",
        )  # fmt: skip
    if changed is None:
        return Finding(
            name=statement, verdict=Verdict.MET, observed="as approved", expected="the approved plans"
        )
    lines = changed.diff.splitlines()[2:]
    added, removed = (sum(line.startswith(mark) for line in lines) for mark in "+-")
    return Finding(
        name=statement, verdict=Verdict.BROKEN,
        observed=f"the plans changed: {removed} lines removed, {added} lines added",
        expected="the approved plans",
        remedy="look at the difference; if it is meant, approve it: eventmark explain --approve",
    )  # fmt: skip


def _corpus_name(plan: CorpusPlan) -> str:
    numbers = f"{plan.events:,} events, {plan.tenant_count} tenants, seed {plan.seed}"
    return f"{numbers}, {plan.payload_profile} payloads{plan.another_shape}"
