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
            found = ask(run.job.server.dsn, _observed, run.job)
        return Findings(plans=[one.plan for one in found], sections=[_section(found)])


async def _observed(connection: asyncpg.Connection, job: Job) -> list[Observed]:
    large = await large_tables(connection, job.schema)
    tables = [one for one in (job.definition.events_table, job.definition.snapshots_table) if one]
    return await observed_statements(connection, job.server.dsn, tables, job.schema, large)


def _section(found: Sequence[Observed]) -> Section:
    rows: list[Row] = []
    for one in found:
        seen = one.seen
        indexes = sorted({node["Index Name"] for node in nodes(one.plan.plan) if "Index Name" in node})
        query = " ".join(seen.query.split())
        rows.append([
            one.plan.statement, f"{one.share:.1%}", float(seen.calls), seen.execution_ms / seen.calls,
            seen.rows / seen.calls, one.plan.work["buffers"], ", ".join(indexes) or "none",
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
