"""What a case of stress is, and what it reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from eventmark.experiments.stress.stage import Stage
from eventmark.jobs.job import Job
from eventmark.judgement.evidence import Evidence
from eventmark.results.results import Block, Chart, Figure, Finding, Table, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseReport:
    """What a case found. ``evidence`` is of its heaviest stretch, None where it has none."""

    text: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)
    evidence: Evidence | None = None


def met(holds: bool) -> Verdict:
    """MET, or BROKEN."""
    return Verdict.MET if holds else Verdict.BROKEN


class Case(Protocol):
    """One kind of stress. ``name`` is for the command line, ``title`` for the report."""

    name: ClassVar[str]
    title: ClassVar[str]

    def missing(self, job: Job) -> str:
        """Why it cannot be done on this job's server and store; empty when it can."""
        ...

    async def run(self, stage: Stage) -> CaseReport:
        """Do it. It ends what it began, whatever happens."""
        ...
