"""Statements that a server has seen: what share of the time each took, and its plan for all values.

Their values are not known, so nothing is run: the plan is the planner's (``EXPLAIN (GENERIC_PLAN)``), and what it is
judged by is the work that the server counted in production, per call.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import psycopg

from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError, UsageError
from eventmark.judgement.verdicts import worst
from eventmark.plans.examine import name_by_parent
from eventmark.plans.judge import ROWS_READ_FREE, judge_pages
from eventmark.plans.work import Node, nodes, tables_joined
from eventmark.results.results import Finding, PlanResult, RunResult, Verdict
from eventmark.server.extensions import extension_schema
from eventmark.server.role import runs_programs
from eventmark.server.statistics import StatementStatistics, statements_snapshot
from eventmark.stores import scanned_table
from eventmark.stores.script import kinds_in

GENERIC_PLAN_MAJOR = 16
EXTENSION = "pg_stat_statements"
OBSERVED = "observed "
"""How the names of these statements begin."""

STATEMENTS_MAX = 50
"""The dearest are examined; what comes after them is a small part of the time."""

_EXPLAINABLE = ("select_stmt", "insert_stmt", "update_stmt", "delete_stmt", "merge_stmt")
_REMEDY = f"add {EXTENSION} to shared_preload_libraries, and install it in this database"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One statement, its ``share`` of the time of all that touch the store, and its plan as it was judged."""

    seen: StatementStatistics
    share: float
    plan: PlanResult


async def observed_statements(
    connection: asyncpg.Connection[Any], dsn: str, tables: Collection[str], schema: str, large: frozenset[str]
) -> list[Observed]:
    """Those that touch the ``tables`` of the schema, the dearest first. Nothing of them is run.

    ``dsn`` is that of the connection, whose sessions are read-only. Statements of its own role are left out:
    Eventmark's would be among them.

    Raises ``UsageError`` where the server does not count statements or cannot plan them without values, or where the
    role may run programs: planning a statement runs functions of its authors, with the rights of the role. And
    ``CannotRunError`` where it has seen none.
    """
    major = connection.get_server_version().major
    if major < GENERIC_PLAN_MAJOR:
        raise UsageError(
            f"--observed plans statements without their values, as PostgreSQL {GENERIC_PLAN_MAJOR} and later can;"
            f" this server is {major}",
            remedy="leave --observed out: the store's own statements are examined",
        )
    if await runs_programs(connection):
        raise UsageError(
            "--observed plans statements that others wrote, and planning runs functions of theirs with the rights of"
            " this role: it may run programs on the server's machine",
            remedy="connect as a role that may read the tables and is not a superuser; grant it pg_read_all_stats",
        )
    if await extension_schema(connection, EXTENSION) is None:
        raise UsageError(f"the server counts no statements: {EXTENSION} is not installed", remedy=_REMEDY)
    snapshot = await statements_snapshot(connection, of_others=True)
    if snapshot is None:
        raise UsageError(f"the server counts no statements: {EXTENSION} cannot be read", remedy=_REMEDY)
    named = re.compile("|".join(rf"\b{re.escape(table)}\b" for table in tables), re.I)
    candidates = [
        statement for statement in snapshot.values()
        if statement.calls and named.search(statement.query) and is_one_query(statement.query)
    ]  # fmt: skip
    candidates.sort(key=lambda candidate: -candidate.execution_ms)
    planned = []
    # Its simple protocol leaves parameters unbound; the driver of the other connection would ask for their values
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True, prepare_threshold=None) as planner:
        await planner.execute("set standard_conforming_strings = on")  # as the grammar reads them
        for statement in candidates[:STATEMENTS_MAX]:
            plan = await _planned(planner, connection, statement.query, schema)
            if _is_of(plan, schema):
                planned.append((statement, plan))
    if not planned:
        raise CannotRunError(
            f"{EXTENSION} shows no statement of other roles that touches the tables of {quoted_schema(schema)}",
            remedy="connect as a role that is not the application's, and grant pg_read_all_stats to it",
        )
    total_ms = sum(statement.execution_ms for statement, _ in planned) or 1.0
    return [
        Observed(
            seen=statement,
            share=statement.execution_ms / total_ms,
            plan=_judged(statement, plan, large, number),
        )
        for number, (statement, plan) in enumerate(planned, 1)
    ]


def is_one_query(text: str) -> bool:
    """Whether a text is one statement that can be planned: behind ``explain``, a second one would be run."""
    kinds = kinds_in(text)
    return len(kinds) == 1 and kinds[0] in _EXPLAINABLE


def indexes_observed(result: RunResult) -> frozenset[str]:
    """The indexes that the statements of a result of ``observed_statements`` search. Raises ``UsageError``."""
    plans = [plan.plan for plan in result.plans if plan.statement.startswith(OBSERVED)]
    if not plans:
        raise UsageError(
            "the result has no statements that a server has seen",
            remedy="name one of eventmark explain --existing --observed",
        )
    return frozenset(
        node["Index Name"] for plan in plans for node in (nodes(plan) if plan else ()) if "Index Name" in node
    )


async def _planned(
    planner: psycopg.AsyncConnection[Any], connection: asyncpg.Connection[Any], query: str, schema: str
) -> list[dict[str, Any]] | str:
    """The planner's document, or why there is none."""
    try:
        cursor = await planner.execute(f"explain (generic_plan, verbose, format json) {query}".encode())
        row = await cursor.fetchone()
    except psycopg.Error as error:
        return str(error).partition("\n")[0]
    assert row is not None
    document: list[dict[str, Any]] = row[0]
    await name_by_parent(connection, schema, document[0]["Plan"])
    return document


def _is_of(document: Sequence[dict[str, Any]] | str, schema: str) -> bool:
    """Whether it touches a table of the schema; of what could not be planned that is not known, and it is kept."""
    return isinstance(document, str) or any(
        node.get("Schema") == schema for node in nodes(document[0]["Plan"]) if "Relation Name" in node
    )


def _judged(
    statistics: StatementStatistics,
    document: Sequence[dict[str, Any]] | str,
    large: frozenset[str],
    number: int,
) -> PlanResult:
    plan: Node = {} if isinstance(document, str) else document[0]["Plan"]
    work = _work(statistics, plan)
    if isinstance(document, str):
        findings = [_not_planned(document)]
    else:
        findings = [judge_pages(work, tables_joined(plan)), _whole_table(scanned_table(document, large))]
    return PlanResult(
        statement=f"{OBSERVED}{number}", plan_kind="generic",
        condition=f"as seen in {statistics.calls:,} calls, generic plan",
        verdict=worst(findings), findings=findings, parameters={}, query=statistics.query, expected_index="", work=work,
        plan=plan,
    )  # fmt: skip


def _work(statistics: StatementStatistics, plan: Node) -> dict[str, float]:
    """What the server counted, per call. Which rows were read for an answer it does not count."""
    every = list(nodes(plan)) if plan else []
    writes = any(node["Node Type"] == "ModifyTable" for node in every)
    rows = statistics.rows / statistics.calls
    buffers = (statistics.shared_hit_buffers + statistics.shared_read_buffers) / statistics.calls
    return {
        "rows": rows,
        "writes": float(writes),
        "rows_written": rows if writes else 0.0,
        "rows_read": rows + ROWS_READ_FREE,
        "buffers": buffers,
        "buffers_per_row": buffers / max(1.0, rows),
        "index_searches": float(sum("Index Name" in node for node in every)),
        "small_scan_buffers": 0.0,
    }


def _whole_table(table: str) -> Finding:
    return Finding(
        name="sequential scan",
        verdict=Verdict.BROKEN if table else Verdict.MET,
        observed=f"the planner reads {table} whole" if table else "no large table is read whole",
        expected="none of a large table",
        remedy="create an index for the statement's conditions" if table else "",
    )


def _not_planned(reason: str) -> Finding:
    return Finding(
        name="plan", verdict=Verdict.INCONCLUSIVE, observed=f"not planned: {reason}", expected="a generic plan",
        remedy="connect as a role that may run it; its session stays read-only",
    )  # fmt: skip
