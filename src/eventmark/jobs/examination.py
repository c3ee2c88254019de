"""Every plan of a job's store examined, in the state in which a server at rest would have the tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import asyncpg

from eventmark.jobs.existing import asked_statements
from eventmark.jobs.findings import Findings
from eventmark.jobs.job import Job
from eventmark.jobs.run import Run
from eventmark.plans import examine_plans, sampled_cases
from eventmark.plans.capture import Changes
from eventmark.results.results import PlanResult
from eventmark.seeding import Progress
from eventmark.seeding.copying import tidy
from eventmark.server.loop import ask
from eventmark.stores import large_tables


def examine_all_plans(run: Run, *, settings: Mapping[str, str] | None = None) -> list[PlanResult]:
    """Every statement of the store, after its tables were vacuumed as a server at rest would have done.

    An aged corpus is left as it is, and so is data that was there already. ``settings`` are set for the examination
    alone, as SQL writes them. An interrupted run keeps the plans that were examined until then.
    """
    asked = asked_statements(run.job)
    run.skipped |= dict(run.job.definition.absent) | {
        f"plan of {name}": "nothing is written with --existing"
        for name in run.job.definition.statements
        if name not in asked
    }
    seen: list[PlanResult] = []
    before = run.so_far or Findings
    run.so_far = lambda: replace(before(), plans=seen)
    return ask(run.job.server.dsn, _examine, run.job, run.progress, settings or {}, runs=1, seen=seen.extend)[
        0
    ]


def examine_repeatedly(job: Job, progress: Progress, *, runs: int) -> list[list[PlanResult]]:
    """The same cases again and again, the tables vacuumed and analysed anew before each run."""
    return ask(job.server.dsn, _examine, job, progress, {}, runs=runs)


async def _examine(
    connection: asyncpg.Connection[Any],
    job: Job,
    progress: Progress,
    settings: Mapping[str, str],
    *,
    runs: int,
    seen: Callable[[Sequence[PlanResult]], None] | None = None,
) -> list[list[PlanResult]]:
    definition, statements, large = job.definition, asked_statements(job), frozenset[str]()
    if job.existing and not job.existing.scans:
        large = await large_tables(connection, job.schema)
    tidied = not (job.aged or job.existing)
    if tidied:
        await tidy(connection, definition, job.schema, "vacuum analyze")
    for name, value in settings.items():
        await connection.execute(f"set {name} = {value}")
    cases = await sampled_cases(
        connection, statements, job.schema, definition.read_columns, definition.events_table,
        definition.snapshots_table, snapshot_columns=definition.snapshot_columns,
        first_sequence=definition.first_sequence, large=large,
    )  # fmt: skip
    plans = []
    for number in range(runs):
        if number and tidied:
            await tidy(connection, definition, job.schema, "vacuum analyze")

        def report(done: int, total: int, before: int = number) -> None:
            progress("plans", before * total + done, runs * total)

        plans.append(
            await examine_plans(
                connection,
                statements,
                job.schema,
                cases,
                progress=report,
                changes=Changes(large=large, read_write=job.existing is not None),
                seen=seen,
            )
        )
    return plans
