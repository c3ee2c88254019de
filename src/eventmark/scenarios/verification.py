"""The hunt for lost events, one ordering after the other, as a result."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from eventmark.engine import ORDERINGS
from eventmark.errors import UsageError
from eventmark.measure.results import RunResult
from eventmark.measure.verdicts import judge_orderings
from eventmark.scenarios.main_job import Job, scenario_result
from eventmark.seeding.progress import Progress, no_progress
from eventmark.server import examine
from eventmark.verify import HuntPlan, hunt

ALL = "all"
SCHEMA_SUFFIX = "_hunted"
BYTES_PER_EVENT = 1200
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


def run_verification(
    job: Job, orderings: Sequence[str], *, seconds: float, out: Path, progress: Progress = no_progress
) -> RunResult:
    """Hunt each ordering until as many events as the job's corpus has are committed, or for ``seconds``.

    The history of a hunt that found something is kept in ``out``. Raises ``CannotRunError``.
    """
    if job.definition.engine == "":
        raise UsageError(
            f"store {job.definition.name!r} has no orderings of the engine's",
            remedy="leave --store out: verify hunts the orderings of Eventmark's own engine",
        )
    began_at = datetime.now(UTC)
    fitness = examine(job.server, job.place, job.corpus.events * BYTES_PER_EVENT)
    schema = job.schema[: 48 - len(SCHEMA_SUFFIX)] + SCHEMA_SUFFIX
    steady_s = QUICK_S if job.profile.name == "quick" else STEADY_S
    results = [
        hunt(
            job.server.dsn,
            schema,
            HuntPlan(
                ordering=name,
                events=job.corpus.events,
                seconds=seconds,
                seed=job.corpus.seed,
                paced_s=steady_s,
                held_s=steady_s,
            ),
            replay=_replay(job, name),
            keep_history=out / f"history-{name}.npz",
            progress=progress,
        )
        for name in orderings
    ]
    verdict, reasons = judge_orderings(results)
    return scenario_result(job, began_at, fitness, verdict, reasons, orderings=results)


def _replay(job: Job, ordering: str) -> str:
    server = job.server.kind if job.server.kind != "dsn" else job.server.address
    return (
        f"eventmark verify --ordering {ordering} --events {job.corpus.events} --seed {job.corpus.seed}"
        f" --server {server}"
    )
