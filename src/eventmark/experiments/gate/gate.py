"""The gate: is the candidate slower than the base? Both measured side by side, in one run, until it is clear."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from eventmark.errors import UsageError
from eventmark.experiments.gate.gate_section import gate_sections
from eventmark.jobs.findings import Findings
from eventmark.jobs.job import Job
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.run import Run
from eventmark.judgement.plan_changes import PlanChange, compare_plans
from eventmark.results.results import Figure, PlanResult
from eventmark.seeding import Progress
from eventmark.sidebyside.bout import Bout, Effort
from eventmark.sidebyside.contest import OperationContest, Rules, contests
from eventmark.sidebyside.grounds import Ground, grounds
from eventmark.sidebyside.protocol import (
    Corpus,
    Examine,
    Examined,
    Prepare,
    Prepared,
)
from eventmark.sidebyside.sides import Side
from eventmark.sidebyside.unique_keys import lost_keys
from eventmark.workload import USUAL_SHAPE

EVENTS = "100k"


class Gate(Experiment):
    """Two sides, measured by pairs of fresh processes in an order drawn for each pair."""

    name: ClassVar[str] = "gate"

    def __init__(
        self, base: Side, candidate: Side, *, rules: Rules | None = None, effort: Effort | None = None
    ) -> None:
        self._sides = (base, candidate)
        self._rules = rules or Rules()
        self._effort = effort or Effort()

    seeds: ClassVar[bool] = False

    def scratch_events(self, job: Job) -> int:
        return len(self._sides) * job.corpus.events

    def measure(self, run: Run) -> Findings:
        """Raises ``CannotRunError`` or ``UsageError``, each naming the side it is about."""
        job, progress = run.job, run.progress
        if job.corpus.shape != USUAL_SHAPE:  # an older revision would not hear of it, and seed another corpus
            raise UsageError(
                "gate compares revisions on a corpus of the usual shape: an older revision knows no other",
                remedy="leave out large_tenants, large_events, stream_length and payload_sizes",
            )
        with (
            tempfile.TemporaryDirectory(prefix="eventmark-gate-") as scratch,
            grounds(job, self._sides, Path(scratch)) as both,
        ):
            with run.phase("seed"):
                bout = self._prepare(job, both, progress)
            run.so_far = lambda: self._findings(run, bout)
            with run.phase("plans"):
                examine_both(bout, both, progress)
            with run.phase("measure"):
                bout.measure(both, self._effort, job.corpus.seed, progress)
        return self._findings(run, bout)

    def _findings(self, run: Run, bout: Bout) -> Findings:
        run.skipped |= bout.skipped
        return Findings(
            decided=bout.verdict(), plans=bout.worse_plans, figures=_figures(bout.table),
            sections=gate_sections(self._sides, bout),
        )  # fmt: skip

    def _prepare(self, job: Job, both: tuple[Ground, Ground], progress: Progress) -> Bout:
        corpus = Corpus(
            events=job.corpus.events, seed=job.corpus.seed, tenants=job.corpus.tenant_count,
            payload=job.corpus.payload_profile, samples=job.corpus.samples,
        )  # fmt: skip
        prepared = []
        for number, ground in enumerate(both):
            progress("seed both sides", number, len(both))
            request = Prepare(place=ground.place, corpus=corpus, sample=str(ground.sample))
            prepared.append(ground.ask(request, Prepared))
        progress("seed both sides", len(both), len(both))
        base, candidate = prepared
        asked = [name for name in base.operations if not self._effort.only or name in self._effort.only]
        names = [name for name in asked if name in candidate.operations]
        if not names:
            raise UsageError("no operation can be measured on both sides", remedy="see --only and the stores")
        skipped = {
            f"{name}, {ground.side.role}": reason
            for ground, prepared_side in zip(both, prepared, strict=True)
            for name, reason in prepared_side.skipped.items()
        }
        gone = {name: candidate.skipped.get(name, "unknown") for name in asked if name not in names}
        return Bout(
            rules=self._rules, table=contests(names, self._rules), skipped=skipped, gone=gone,
            lost_keys=lost_keys(base.unique_keys, candidate.unique_keys),
        )  # fmt: skip


def examine_both(bout: Bout, both: Sequence[Ground], progress: Progress) -> None:
    """A plan is worse when it is so a second time: a write may have met a page that was just full."""
    progress("plans", 0, len(both))
    bout.plans, candidate = _compared(both)
    if any(plan.worse for plan in bout.plans):
        again, candidate = _compared(both)
        confirmed = {(plan.statement, plan.condition): plan for plan in again}
        bout.plans = [
            confirmed.get((plan.statement, plan.condition), plan) if plan.worse else plan
            for plan in bout.plans
        ]
    worse = {(plan.statement, plan.condition) for plan in bout.plans if plan.worse}
    bout.worse_plans = [plan for plan in candidate if (plan.statement, plan.condition) in worse]
    progress("plans", len(both), len(both))


def _compared(both: Sequence[Ground]) -> tuple[list[PlanChange], list[PlanResult]]:
    """Every plan of both sides, and the candidate's."""
    base, candidate = (ground.ask(Examine(place=ground.place), Examined).plans for ground in both)
    return compare_plans(base, candidate), candidate


def _figures(table: Mapping[str, OperationContest]) -> dict[str, Figure]:
    """Each operation's ratio with its interval, which is right whenever the gate stopped."""
    figures = {}
    for name, operation in table.items():
        if operation.pairs:
            low, high = (float(np.exp(bound)) for bound in operation.tests["p50"].interval(0.95))
            figures[f"{name} p50, candidate over base"] = Figure(
                value=operation.ratio(), unit="times", low=low or None, high=high if np.isfinite(high) else None,
                better="less",
            )  # fmt: skip
    return figures
