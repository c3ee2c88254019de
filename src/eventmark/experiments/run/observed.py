"""The statements that a server has seen in production, weighed by their time, their plans judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import asyncpg

from eventmark.jobs.findings import Findings
from eventmark.jobs.job import Job
from eventmark.jobs.kernel import Experiment
from eventmark.jobs.run import Run
from eventmark.plans.observed import Observed, observed_statements
from eventmark.plans.work import nodes
from eventmark.results.results import Row, Section, Table, columns
from eventmark.server.loop import ask
from eventmark.stores import large_tables

QUERY_SHOWN = 120


class ObservedStatements(Experiment):
    """Of data that is in use: a corpus has seen nobody's statements but Eventmark's."""

    name: ClassVar[str] = "observed statements"
    reads_existing: ClassVar[bool] = True

    def measure(self, run: Run) -> Findings:
        with run.phase("plans"):
            observed = ask(run.job.server.dsn, _observed, run.job)
        return Findings(plans=[statement.plan for statement in observed], sections=[_section(observed)])


async def _observed(connection: asyncpg.Connection, job: Job) -> list[Observed]:
    large = await large_tables(connection, job.schema)
    tables = [table for table in (job.definition.events_table, job.definition.snapshots_table) if table]
    return await observed_statements(connection, job.server.dsn, tables, job.schema, large)


def _section(observed: Sequence[Observed]) -> Section:
    rows: list[Row] = []
    for statement in observed:
        seen = statement.seen
        indexes = sorted({node["Index Name"] for node in nodes(statement.plan.plan) if "Index Name" in node})
        query = " ".join(seen.query.split())
        rows.append([
            statement.plan.statement, f"{statement.share:.1%}", float(seen.calls), seen.execution_ms / seen.calls,
            seen.rows / seen.calls, statement.plan.work["buffers"], ", ".join(indexes) or "none",
            query if len(query) <= QUERY_SHOWN else f"{query[:QUERY_SHOWN]}...",
        ])  # fmt: skip
    return Section(
        name="observed", title="Statements that the server has seen",
        text=[
            "From pg_stat_statements, those that touch the store's tables, most time first. Nothing was run. Each"
            " plan is the planner's for all values, and is judged by the pages that the server counted per call."
        ],
        tables=[
            Table(
                title="By their share of the time",
                columns=columns(
                    "statement", "share of the time", "calls", "mean|ms", "rows per call", "pages per call",
                    "indexes", "text",
                ),
                rows=rows,
            )
        ],
    )  # fmt: skip
