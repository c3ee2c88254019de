"""A job on data that was there already: checked before anything is measured, and told in the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import asyncpg

from eventmark.engine.statements import Statement
from eventmark.jobs.job import Existing, Job
from eventmark.plans import sampled_cases
from eventmark.plans.capture import whole_table_of
from eventmark.results.results import Row, Section, Table, columns
from eventmark.seeding import table_size
from eventmark.server.loop import ask
from eventmark.server.read_only import LIMITS_S
from eventmark.stores import WRITING_STATEMENTS, check_existing, large_tables
from eventmark.workload.plan import EVENTS_MAX, CorpusPlan

CALLS_PER_S_MAX = 200.0
"""How often one connection asks a server that others use."""


def prepare_existing(job: Job) -> Job:
    """The job with what is known of its data. Raises ``CannotRunError`` or ``StoreDefinitionError``."""
    existing = ask(job.server.dsn, _examined, job)
    assert existing.size is not None
    return replace(
        job,
        existing=existing,
        corpus=CorpusPlan(min(max(existing.size.events, 1), EVENTS_MAX), seed=job.corpus.seed),
        profile=replace(job.profile, calls_per_s_max=CALLS_PER_S_MAX),
        with_floors=False,
    )


def asked_statements(job: Job) -> Mapping[str, Statement]:
    """The statements that may be run: those that write only on tables of our own, or where they are rolled back."""
    if job.existing is None:
        return job.definition.statements
    return {
        name: statement
        for name, statement in job.definition.statements.items()
        if name not in WRITING_STATEMENTS or (name == "append_events" and job.existing.appends)
    }


def existing_sections(job: Job) -> list[Section]:
    """The section on the data; none where a corpus was seeded."""
    if job.existing is None or job.existing.size is None:
        return []
    size, limit_s = job.existing.size, LIMITS_S["statement_timeout"]
    text = [
        "Nothing was seeded and no schema was made. Sessions were read-only. One connection asked at most"
        f" {CALLS_PER_S_MAX:g} times a second. A statement of more than {limit_s} s was ended.",
        "Others use this server: latencies hold for its load while this ran. What the server did for one call is not"
        " told, as its counters have the application's calls as well. Nothing was evicted from its cache.",
    ]
    if job.existing.appends:
        text.append(
            "Appends were rolled back. Their latencies leave out the commit, so none of them is MET. Sequences have"
            " skipped numbers, and dead rows stay until the next vacuum."
        )
    rows: list[Row] = [
        ["table", f"{job.schema}.{job.definition.events_table}"],
        ["events, estimated", f"{size.events:,}"],
        ["size with indexes", f"{size.bytes / 2**20:,.1f} MiB"],
    ]
    table = Table(title="What it was measured on", columns=columns("of the data", "value"), rows=rows)
    return [
        Section(name="existing-data", title="Data that was there", text=text, tables=[table], closing=True)
    ]


async def _examined(connection: asyncpg.Connection, job: Job) -> Existing:
    assert job.existing is not None
    definition, schema = job.definition, job.schema
    await check_existing(connection, definition, schema)
    size = await table_size(connection, definition, schema)
    large = frozenset[str]() if job.existing.scans else await large_tables(connection, schema)
    return replace(job.existing, size=size, not_asked=await _scanning(connection, job, large))


async def _scanning(connection: asyncpg.Connection, job: Job, large: frozenset[str]) -> dict[str, str]:
    """Statements whose plan, for some values or for all, reads a large table whole."""
    if not large:
        return {}
    definition, statements = job.definition, asked_statements(job)
    cases = await sampled_cases(
        connection, statements, job.schema, definition.read_columns, definition.events_table,
        definition.snapshots_table, snapshot_columns=definition.snapshot_columns,
        first_sequence=definition.first_sequence, large=large,
    )  # fmt: skip
    not_run: dict[str, str] = {}
    for case in cases:
        statement = statements[case.statement]
        if case.reason or case.statement in not_run:
            continue
        if table := await whole_table_of(connection, statement, job.schema, case.arguments, large):
            not_run[case.statement] = (
                f"not run: {statement.path} would read {job.schema}.{table} whole ({case.condition});"
                " create an index for it, or allow it with --allow-scans"
            )
    return not_run
