"""The hunt for lost events, one ordering after the other, as a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from eventmark.engine import ORDERINGS
from eventmark.errors import UsageError
from eventmark.measure.evidence import NOT_TIMED
from eventmark.measure.results import OrderingResult, RunResult
from eventmark.measure.verdicts import judge_orderings
from eventmark.scenarios.bottleneck import bottleneck_section
from eventmark.scenarios.course import Course
from eventmark.scenarios.job import Job
from eventmark.seeding.progress import Progress, no_progress
from eventmark.stores import scratch_name
from eventmark.verify import HuntPlan, hunt

ALL = "all"
SCHEMA_SUFFIX = "_hunted"
STEADY_S = (
    5.0  # single appends at a steady rate, for the latencies; and how long one transaction is held open
)
QUICK_S = 1.0


def chosen_orderings(name: str) -> Sequence[str]:
    """``all``, or one. Raises ``UsageError`` for a name that is none."""
    if name == ALL:
        return tuple(ORDERINGS)
    if name not in ORDERINGS:
        raise UsageError(f"unknown ordering {name!r}", remedy=f"use {', '.join(ORDERINGS)} or {ALL}")
    return (name,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Each ordering until as many events as the job's corpus has are committed, or for ``seconds``.

    The history of a hunt that found something is kept in ``out``.
    """

    name: ClassVar[str] = "verify"
    orderings: Sequence[str]
    seconds: float
    out: Path

    def run(self, job: Job, progress: Progress = no_progress) -> RunResult:
        """Raises ``CannotRunError``, and ``UsageError`` for a store that is not the engine's."""
        if job.definition.engine == "":
            raise UsageError(
                f"store {job.definition.name!r} has no orderings of the engine's",
                remedy="leave --store out: verify hunts the orderings of Eventmark's own engine",
            )
        with Course(job, progress) as course, course.watch() as watch:
            results = []
            for ordering in self.orderings:
                with course.phase(ordering):
                    results.append(self._hunt(job, ordering, progress))
        verdict, reasons = judge_orderings(results)
        limit = bottleneck_section(watch.evidence(NOT_TIMED))
        return course.result(verdict, reasons, orderings=results, sections=[limit])

    def _hunt(self, job: Job, ordering: str, progress: Progress) -> OrderingResult:
        steady_s = QUICK_S if job.profile.name == "quick" else STEADY_S
        plan = HuntPlan(
            ordering=ordering, events=job.corpus.events, seconds=self.seconds, seed=job.corpus.seed,
            paced_s=steady_s, held_s=steady_s,
        )  # fmt: skip
        return hunt(
            job.server.dsn, scratch_name(job.schema, SCHEMA_SUFFIX), plan, replay=_replay(job, ordering),
            keep_history=self.out / f"history-{ordering}.npz", progress=progress,
        )  # fmt: skip


def _replay(job: Job, ordering: str) -> str:
    server = job.server.kind if job.server.kind != "dsn" else job.server.address
    return (
        f"eventmark verify --ordering {ordering} --events {job.corpus.events} --seed {job.corpus.seed}"
        f" --server {server}"
    )
