"""Every plan of a job's store examined, in the state in which a server at rest would have the tables."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import asyncpg

from eventmark.engine.statements import quoted_schema
from eventmark.measure.results import PlanResult
from eventmark.plans import examine_plans, sampled_cases
from eventmark.scenarios.job import Job
from eventmark.seeding import Progress


def examine_all_plans(
    job: Job, progress: Progress, *, settings: Mapping[str, str] | None = None
) -> list[PlanResult]:
    """Every statement of the store, after its tables were vacuumed as a server at rest would have done.

    ``settings`` are set for the examination alone, as SQL writes them.
    """
    return asyncio.run(_examine(job, progress, settings or {}))


async def _examine(job: Job, progress: Progress, settings: Mapping[str, str]) -> list[PlanResult]:
    definition = job.definition
    connection = await asyncpg.connect(job.server.dsn)
    try:
        for table in filter(None, (definition.events_table, definition.snapshots_table)):
            await connection.execute(f'vacuum analyze {quoted_schema(job.schema)}."{table}"')
        for name, value in settings.items():
            await connection.execute(f"set {name} = {value}")
        cases = await sampled_cases(
            connection, definition.statements, job.schema, definition.columns, definition.events_table,
            definition.snapshots_table, snapshot_columns=definition.snapshot_columns,
        )  # fmt: skip
        return await examine_plans(
            connection, definition.statements, job.schema, cases,
            progress=lambda done, total: progress("plans", done, total),
        )  # fmt: skip
    finally:
        await connection.close()
