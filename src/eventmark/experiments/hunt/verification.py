"""The hunt for lost events, as a result: under each ordering of the engine's, or of any other store."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from eventmark.engine.orderings import NAIVE, ORDERINGS
from eventmark.errors import UsageError
from eventmark.jobs.findings import Findings
from eventmark.jobs.job import Job
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.run import Run
from eventmark.results.results import OrderingResult, Verdict
from eventmark.seeding.progress import Progress
from eventmark.stores import StoreDefinition, scratch_name
from eventmark.verify import HuntPlan, Subject, engine_subject, hunt, store_subject
from eventmark.verify.invariants import invariants_section
from eventmark.verify.price import hunt_figures

ALL = "all"
SCHEMA_SUFFIX = "_hunted"
STEADY_S = (
    5.0  # single appends at a steady rate, for the latencies; and how long one transaction is held open
)
QUICK_S = 1.0

FIRST_LOOK_EVENTS = 20_000
"""A store that is not safe shows it within so many: there is no need to wait for the rest."""


def chosen_orderings(name: str, definition: StoreDefinition) -> Sequence[str]:
    """``all``, or one; none of a store that is not the engine's. Raises ``UsageError`` for a wrong name."""
    if not definition.engine:
        if name != ALL:
            raise UsageError(
                f"store {definition.name!r} has its own ordering, {definition.ordering}",
                remedy="leave --ordering out: it chooses one of the engine's",
            )
        return ()
    if name == ALL:
        return tuple(ORDERINGS)
    if name not in ORDERINGS:
        raise UsageError(f"unknown ordering {name!r}", remedy=f"use {', '.join(ORDERINGS)} or {ALL}")
    return (name,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification(Experiment):
    """The job's store until as many events as its corpus has are committed, or for ``seconds``.

    The engine's store is hunted under each of ``orderings``. Any other is given a first look, and when that
    is clean the whole hunt; then the control is hunted, which shows that losing events would have been
    seen. The history of a hunt that found something is kept in ``out``.
    """

    name: ClassVar[str] = "verify"
    orderings: Sequence[str]
    seconds: float
    out: Path

    seeds: ClassVar[bool] = False

    def measure(self, run: Run) -> Findings:
        job, progress = run.job, run.progress
        if job.definition.engine:
            plans = [self._plan(job, engine_subject(ordering)) for ordering in self.orderings]
            orderings: list[OrderingResult] = []
            run.so_far = lambda: _findings(orderings)
            orderings += (self._hunt(job, plan, run, progress) for plan in plans)
        else:
            orderings = self._hunt_store(job, run, progress)
        return _findings(orderings)

    def _hunt_store(self, job: Job, run: Run, progress: Progress) -> list[OrderingResult]:
        subject = store_subject(job.store)
        run.skipped |= dict(subject.absent)
        whole = self._plan(job, subject)
        first = replace(whole, events=min(whole.events, FIRST_LOOK_EVENTS), paced_s=QUICK_S, held_s=QUICK_S)
        outcome = self._hunt(job, first, run, progress)
        if outcome.verdict is Verdict.BROKEN:
            note_left_out(run.skipped, outcome, whole.events, "the first look decided")
        elif whole != first:
            outcome = self._hunt(job, whole, run, progress)
        if outcome.verdict is not Verdict.MET:
            return [outcome]
        control = replace(first, subject=engine_subject(NAIVE.name))
        return [outcome, self._hunt(job, control, run, progress)]

    def _plan(self, job: Job, subject: Subject) -> HuntPlan:
        steady_s = QUICK_S if job.profile.name == "quick" else STEADY_S
        return HuntPlan(
            subject=subject, events=job.corpus.events, seconds=self.seconds, seed=job.corpus.seed,
            paced_s=steady_s, held_s=steady_s,
        )  # fmt: skip

    def _hunt(self, job: Job, plan: HuntPlan, run: Run, progress: Progress) -> OrderingResult:
        began_s = time.monotonic()
        with run.phase(plan.subject.name):
            outcome = hunt(
                job.server.dsn, scratch_name(job.schema, SCHEMA_SUFFIX), plan, replay=_replay(job, plan),
                keep_history=self.out / f"history-{plan.subject.name}.npz", cluster=job.cluster, progress=progress,
            )  # fmt: skip
        why = f"{plan.seconds:g} s were over: give more with --seconds"
        if time.monotonic() - began_s < plan.seconds:
            why = f"for {plan.gives_up_s:g} s every append failed"
        note_left_out(run.skipped, outcome, plan.events, why)
        return outcome


def _findings(orderings: Sequence[OrderingResult]) -> Findings:
    shown = [invariants_section(orderings)] if orderings else []
    return Findings(orderings=orderings, figures=hunt_figures(orderings), sections=shown)


def note_left_out(skipped: dict[str, str], ordering: OrderingResult, asked: int, why: str) -> None:
    """What was not hunted of the events that were asked for, and why."""
    name = f"events of {ordering.ordering}"
    skipped.pop(name, None)  # of a shorter hunt before this one
    if (left := asked - ordering.committed) > 0:
        skipped[name] = f"{left:,} of {asked:,} were not hunted: {why}"


def _replay(job: Job, plan: HuntPlan) -> str:
    server = job.server.kind if job.server.kind != "dsn" else job.server.address
    what = (
        f"--ordering {plan.subject.ordering}"
        if plan.subject.ordering
        else f"--store {shlex.quote(job.store)}"
    )
    return f"eventmark verify {what} --events {plan.events} --seed {job.corpus.seed} --server {server}"
