"""What it costs that every query names its tenant: the store's own statements with that predicate and without.

A statement without the predicate needs an index that does not begin with the tenant. It is made for the
comparison, in a transaction that is rolled back: nothing of it is left, and nobody else sees it. Both versions
then read the same rows, call by call in turns, on one connection.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import numpy as np

from eventmark.engine.statements import Statement, quoted_schema
from eventmark.jobs.job import Job
from eventmark.plans.judge import expected_index
from eventmark.plans.work import work_of
from eventmark.results.results import Row, Section, Table, columns
from eventmark.seeding import CorpusSample
from eventmark.stats.ratios import Ratio, paired_ratio

STATEMENTS = ("load_aggregate", "read_snapshot")
"""Those that return the same rows without their tenant: an aggregate's id is its own."""

STREAM_EVENTS = 1000
WARM_CALLS = 10
_TWIN = "eventmark_without_tenant"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterCost:
    """One statement with its tenant and without. Pages and rows are of one call; ``ratio`` is of the latencies."""

    statement: str
    rows: float
    with_ms: float
    without_ms: float
    ratio: Ratio | None
    with_pages_per_row: float
    without_pages_per_row: float
    with_index_pages: int
    without_index_pages: int


def without_tenant(statement: Statement, column: str, schema: str) -> str | None:
    """The statement's SQL with its tenant's predicate taken out; None where it has none that can be told."""
    sql = statement.sql(schema)
    place = next(
        (number for number, parameter in enumerate(statement.parameters, 1) if parameter.name == "tenant_id"),
        None,
    )
    if place is None:
        return None
    predicate = re.compile(rf'(?:\w+\.)?"?{re.escape(column)}"?\s*=\s*\${place}(?!\d)')
    if len(predicate.findall(sql)) != 1:
        return None
    # The parameter stays in it, so that both versions are called alike.
    return predicate.sub(f"${place}::text is not null", sql)


async def measure_filter(
    job: Job, sample: CorpusSample, calls: int
) -> tuple[list[FilterCost], dict[str, str]]:
    """Each statement, and why one was left out by name."""
    filter_costs: list[FilterCost] = []
    left_out: dict[str, str] = {}
    connection = await asyncpg.connect(job.server.dsn)
    try:
        for name in STATEMENTS:
            reason = await _measure(connection, job, sample, name, calls, filter_costs)
            if reason:
                left_out[f"{name} without its tenant"] = reason
    finally:
        await connection.close()
    return filter_costs, left_out


async def _measure(
    connection: asyncpg.Connection[Any], job: Job, sample: CorpusSample, name: str, calls: int,
    into: list[FilterCost],
) -> str:  # fmt: skip
    """Why nothing was measured; empty where it was."""
    statement = job.definition.statements.get(name)
    arguments = _arguments(statement, sample) if statement else []
    if statement is None or not arguments:
        return "the store or the corpus has none"
    snapshot = name == "read_snapshot"
    columns = job.definition.snapshot_columns if snapshot else job.definition.columns
    bare = without_tenant(statement, columns["tenant_id"], job.schema)
    index = expected_index(statement)
    if bare is None or not index:
        return "the statement has no condition on its tenant that could be removed, or it names no index"
    transaction = connection.transaction()
    await transaction.start()
    try:
        pages = await _make_twin(connection, job.schema, index, columns["tenant_id"])
        if pages is None:
            return f"index {index} does not begin with the tenant"
        into.append(await _compared(connection, statement, job.schema, bare, arguments, calls, pages))
    except asyncpg.InsufficientPrivilegeError:
        return "this role may not make the index that the comparison needs"
    finally:
        await transaction.rollback()
    return ""


def _arguments(statement: Statement | None, sample: CorpusSample) -> list[list[Any]]:
    """Calls of the statement on streams of the sample, by its parameters' order."""
    if statement is None:
        return []
    streams = (
        sample.snapshot_streams
        if statement.name == "read_snapshot"
        else [long_stream.stream for long_stream in sample.long_streams or sample.streams]
    )
    values = {"from_sequence": 1}
    names = [parameter.name for parameter in statement.parameters]
    return [[values.get(name, getattr(stream, name, None)) for name in names] for stream in streams[:200]]


async def _make_twin(
    connection: asyncpg.Connection[Any], schema: str, index: str, tenant: str
) -> tuple[int, int] | None:
    """The named index without its leading tenant; pages of both, None where the tenant does not lead."""
    definition: str | None = await connection.fetchval(
        "select pg_get_indexdef(to_regclass($1))", f"{quoted_schema(schema)}.{index}"
    )
    match = re.search(r" ON (?P<on>.+? USING \w+) \((?P<columns>[^()]+)\)", definition or "")
    columns = match["columns"].split(", ") if match else []
    if not match or len(columns) < 2 or columns[0].strip('"') != tenant:
        return None
    await connection.execute(f"create index {_TWIN} on {match['on']} ({', '.join(columns[1:])})")
    sizes = await connection.fetchrow(
        "select pg_relation_size(to_regclass($1)) / current_setting('block_size')::int as own,"
        " pg_relation_size(to_regclass($2)) / current_setting('block_size')::int as twin",
        f"{quoted_schema(schema)}.{index}", f"{quoted_schema(schema)}.{_TWIN}",
    )  # fmt: skip
    return sizes["own"], sizes["twin"]


async def _compared(
    connection: asyncpg.Connection[Any], statement: Statement, schema: str, bare: str,
    arguments: Sequence[list[Any]], calls: int, index_pages: tuple[int, int],
) -> FilterCost:  # fmt: skip
    """Both versions with the same arguments in turns, and the pages that one call of each touches."""
    named = await connection.prepare(statement.sql(schema))
    unnamed = await connection.prepare(bare)
    took = np.empty((calls, 2), np.int64)
    for number in range(-WARM_CALLS, calls):
        given = arguments[number % len(arguments)]
        versions = ((0, named), (1, unnamed)) if number % 2 else ((1, unnamed), (0, named))
        for place, prepared in versions:
            began_ns = time.perf_counter_ns()
            await prepared.fetch(*given)
            if number >= 0:
                took[number, place] = time.perf_counter_ns() - began_ns
    with_rows, with_pages = await _pages(connection, statement.sql(schema), arguments[0])
    without_rows, without_pages = await _pages(connection, bare, arguments[0])
    return FilterCost(
        statement=statement.name, rows=with_rows, with_ms=float(np.median(took[:, 0])) / 1e6,
        without_ms=float(np.median(took[:, 1])) / 1e6,
        ratio=paired_ratio(took[:, 0].tolist(), took[:, 1].tolist()),
        with_pages_per_row=with_pages / max(with_rows, 1), without_pages_per_row=without_pages / max(without_rows, 1),
        with_index_pages=index_pages[0], without_index_pages=index_pages[1],
    )  # fmt: skip


async def _pages(connection: asyncpg.Connection[Any], sql: str, given: list[Any]) -> tuple[float, float]:
    """Rows and pages of one call, by the server's own count."""
    plan = json.loads(await connection.fetchval(f"explain (analyze, buffers, format json) {sql}", *given))[0]
    work = work_of(plan["Plan"])
    return work["rows"], work["buffers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCost:
    """A batch from the log's beginning: of all tenants, or of one; pages are of the call."""

    whose: str
    events: int
    p50_ms: float
    pages: float


async def measure_streams(job: Job, tenants: Sequence[str], calls: int) -> list[StreamCost]:
    """A batch of 1000 of all tenants and of each of ``tenants``, call by call in turns."""
    definition, whose = job.definition, [None, *tenants]
    names = ["stream_events" if tenant is None else "stream_tenant_events" for tenant in whose]
    if any(name not in definition.statements for name in names):
        return []
    connection = await asyncpg.connect(job.server.dsn)
    try:
        statements = [definition.statements[name] for name in names]
        prepared = [await connection.prepare(statement.sql(job.schema)) for statement in statements]
        given = [
            _from_the_tail(statement, tenant) for statement, tenant in zip(statements, whose, strict=True)
        ]
        took, events = np.empty((calls, len(whose)), np.int64), [0] * len(whose)
        for number in range(-WARM_CALLS, calls):
            for index in np.roll(range(len(whose)), number).tolist():
                began_ns = time.perf_counter_ns()
                events[index] = len(await prepared[index].fetch(*given[index]))
                if number >= 0:
                    took[number, index] = time.perf_counter_ns() - began_ns
        pages = [
            (await _pages(connection, statement.sql(job.schema), arguments))[1]
            for statement, arguments in zip(statements, given, strict=True)
        ]
    finally:
        await connection.close()
    return [
        StreamCost(
            whose=tenant or "all tenants", events=events[index], p50_ms=float(np.median(took[:, index])) / 1e6,
            pages=pages[index],
        )
        for index, tenant in enumerate(whose)
    ]  # fmt: skip


def _from_the_tail(statement: Statement, tenant: str | None) -> list[Any]:
    values = {"transaction_id": 0, "global_sequence": 0, "batch_size": STREAM_EVENTS, "tenant_id": tenant}
    return [values[parameter.name] for parameter in statement.parameters]


def stream_table(costs: Sequence[StreamCost]) -> Table:
    rows: list[Row] = [
        [
            cost.whose, float(cost.events), cost.p50_ms, cost.p50_ms * 1e3 / max(cost.events, 1),
            cost.pages / max(cost.events, 1),
        ]
        for cost in costs
    ]  # fmt: skip
    return Table(
        title="A batch of all tenants' events and of one tenant's",
        columns=columns("whose", "events", "p50|ms", "for each event|µs", "pages per event"),
        rows=rows,
        note="From the beginning of the log. The fewer events a tenant has, the further apart they lie.",
    )  # fmt: skip


def _filter_table(costs: Sequence[FilterCost]) -> Table:
    rows: list[Row] = [
        [
            cost.statement, cost.rows, cost.with_ms, cost.without_ms, cost.ratio.value if cost.ratio else None,
            cost.ratio.low if cost.ratio else None, cost.ratio.high if cost.ratio else None, cost.with_pages_per_row,
            cost.without_pages_per_row, float(cost.with_index_pages), float(cost.without_index_pages),
        ]
        for cost in costs
    ]  # fmt: skip
    return Table(
        title="The same statement with its tenant and without",
        columns=columns(
            "statement", "rows", "with, p50|ms", "without, p50|ms", "with to without|times", "from|times", "to|times",
            "pages per row, with", "pages per row, without", "pages of its index",
            "pages of an index without the tenant",
        ),
        rows=rows,
        note="Without: by an index that does not begin with the tenant, made in a transaction that was rolled back. "
        "Both read the same rows in turns; the ratio is the geometric mean of the calls' ratios with its 95% interval.",
    )  # fmt: skip


def filter_section(costs: Sequence[FilterCost], tables: Sequence[Table]) -> Section:
    """``tables`` are further comparisons, shown after it."""
    return Section(
        name="tenant-filter",
        title="Cost of tenant filtering",
        text=[
            "The cost of naming the tenant in every query, and of storing a tenant's events among those of others."
        ],
        tables=[*([_filter_table(costs)] if costs else []), *tables],
    )
