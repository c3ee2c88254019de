"""Every case EXPLAINed twice, with the plan for its values and with the plan for all values, and judged."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from eventmark.engine.statements import Statement, quoted_schema
from eventmark.judgement.verdicts import worst
from eventmark.plans.capture import NO_CHANGES, Changes, WholeTableError, explain
from eventmark.plans.conditions import PlanCase
from eventmark.plans.judge import expected_index, judge
from eventmark.plans.work import indexes_used, nodes, work_of
from eventmark.results.results import Finding, PlanResult, Verdict

PLAN_KINDS = ("custom", "generic")
ATTEMPTS = 2
"""The first to meet rows of an aborted append looks at each and marks its index entry dead; whoever comes
after skips them. So a plan is only out of bounds when it is so a second time."""

PARAMETER_LENGTH_MAX = 60
ARRAY_ITEMS_SHOWN = 2

PAGE_COST, PAGE_COST_OF_FAST_DISKS = "random_page_cost", "1.1"
"""With the default of 4 the planner prefers a sort or a scan to the index that is there."""

_PARENTS = """
select c.relname::text as child, r.relname::text as parent from pg_class c
cross join lateral pg_partition_root(c.oid) as root join pg_class r on r.oid = root
where c.relnamespace = to_regnamespace($1) and c.relkind = 'i' and c.relispartition
"""

_WRITING = re.compile(r"\b(insert|update|delete|merge)\b", re.IGNORECASE)

Progress = Callable[[int, int], None]
"""Told how many plans of how many are done."""

_REFUSALS = (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError, TypeError, OverflowError, OSError)


async def examine_plans(
    connection: asyncpg.Connection[Any],
    statements: Mapping[str, Statement],
    schema: str,
    cases: Sequence[PlanCase],
    *,
    progress: Progress | None = None,
    changes: Changes = NO_CHANGES,
    seen: Callable[[Sequence[PlanResult]], None] | None = None,
) -> list[PlanResult]:
    """A result per case and kind of plan; one INCONCLUSIVE for each statement that has no case.

    What the server refuses becomes a finding with its words; nothing is raised for it. Writes are rolled
    back, and leave dead rows behind until the next vacuum. Needs the connection for itself.
    ``seen`` is told of the results of each case as it has them.
    """
    missing = await _missing_indexes(connection, statements.values(), schema)
    by_case: dict[int, list[PlanResult]] = {}
    # Writes last: their dead rows at the end of the log would be in the way of the reads
    order = sorted(range(len(cases)), key=lambda number: writes(statements.get(cases[number].statement)))
    for done, number in enumerate(order, 1):
        case = cases[number]
        by_case[number] = await _examine_case(
            connection, statements.get(case.statement), schema, case, missing, changes
        )
        if seen is not None:
            seen(by_case[number])
        if progress is not None:
            progress(done * len(PLAN_KINDS), len(cases) * len(PLAN_KINDS))
    results = [result for number in range(len(cases)) for result in by_case[number]]
    covered = {case.statement for case in cases}
    for name in sorted(set(statements) - covered):
        case = PlanCase(name, "not examined", (), "no case was drawn for this statement")
        results.append(_not_examined(statements[name], schema, case))
    return results


def writes(statement: Statement | None) -> bool:
    return statement is not None and _WRITING.search(statement.template) is not None


async def _examine_case(
    connection: asyncpg.Connection[Any],
    statement: Statement | None,
    schema: str,
    case: PlanCase,
    missing: frozenset[str],
    changes: Changes,
) -> list[PlanResult]:
    if statement is None:
        case = PlanCase(case.statement, case.condition, (), "the store has no statement of this name")
    if statement is None or case.reason:
        return [_not_examined(statement, schema, case)]
    return [
        await _examine_plan(connection, statement, schema, case, kind, missing, changes)
        for kind in PLAN_KINDS
    ]


async def _examine_plan(
    connection: asyncpg.Connection[Any],
    statement: Statement,
    schema: str,
    case: PlanCase,
    kind: str,
    missing: frozenset[str],
    changes: Changes,
) -> PlanResult:
    index = expected_index(statement)
    findings = [_missing_index(index)] if index in missing else []
    plan: dict[str, Any] = {}
    work: dict[str, float] = {}
    try:
        plan, judged = await _judged(connection, statement, schema, case, kind, changes)
        work = work_of(plan)
        if worst(judged) is Verdict.BROKEN:
            judged = await _blamed(connection, statement, schema, case, kind, judged, changes)
        findings += judged
    except WholeTableError as error:
        findings.append(_not_run(error))
    except _REFUSALS as error:
        findings.append(_refused(error))
    return PlanResult(
        statement=statement.name,
        condition=f"{case.condition}, {kind} plan",
        plan_kind=kind,
        verdict=worst(findings),
        findings=findings,
        parameters=_printable_parameters(statement, case.arguments),
        query=statement.sql(schema),
        expected_index=index,
        work=work,
        plan=plan,
    )


async def _judged(
    connection: asyncpg.Connection[Any],
    statement: Statement,
    schema: str,
    case: PlanCase,
    kind: str,
    changes: Changes,
) -> tuple[dict[str, Any], list[Finding]]:
    """The plan as it is the first time it is within bounds, or the last one."""
    for _ in range(ATTEMPTS):
        plan = await explain(
            connection, statement, schema, case.arguments, generic=kind == "generic", changes=changes
        )
        if expected_index(statement) not in ("", *indexes_used(plan)):
            await name_by_parent(connection, schema, plan)
        findings = judge(statement, plan, work_of(plan))
        if worst(findings) is not Verdict.BROKEN:
            break
    return plan, findings


async def name_by_parent(connection: asyncpg.Connection[Any], schema: str, plan: dict[str, Any]) -> None:
    """Let indexes of partitions go by the name of the index on the partitioned table, which the store names."""
    rows = await connection.fetch(_PARENTS, quoted_schema(schema))
    parents = {row["child"]: row["parent"] for row in rows}
    for node in nodes(plan) if parents else ():
        if "Index Name" in node:
            node["Index Name"] = parents.get(node["Index Name"], node["Index Name"])


async def _blamed(
    connection: asyncpg.Connection[Any],
    statement: Statement,
    schema: str,
    case: PlanCase,
    kind: str,
    findings: list[Finding],
    changes: Changes,
) -> list[Finding]:
    """The findings of a plan that is out of bounds. Where one setting of the server's keeps it from being within
    them, the store is not what is wrong: nothing is BROKEN, and each finding names the setting."""
    now = await connection.fetchval(f"show {PAGE_COST}")
    if float(now) <= float(PAGE_COST_OF_FAST_DISKS):
        return findings
    changes = replace(changes, settings={PAGE_COST: PAGE_COST_OF_FAST_DISKS})
    _, otherwise = await _judged(connection, statement, schema, case, kind, changes)
    if worst(otherwise) is Verdict.BROKEN:
        return findings
    return [_by_setting(finding, now) for finding in findings]


def _by_setting(finding: Finding, now: str) -> Finding:
    if finding.verdict is not Verdict.BROKEN:
        return finding
    setting = f"{PAGE_COST} = {PAGE_COST_OF_FAST_DISKS}"
    return msgspec.structs.replace(
        finding,
        verdict=Verdict.INCONCLUSIVE,
        observed=f"{finding.observed}; with {setting} the plan is within bounds, here it is {now}",
        remedy=f"the store is sound: if the server's disks are solid state disks, set {setting}",
    )


def _not_examined(statement: Statement | None, schema: str, case: PlanCase) -> PlanResult:
    finding = Finding(
        name="parameters",
        verdict=Verdict.INCONCLUSIVE,
        observed=case.reason,
        expected="parameters drawn from the table",
        remedy="use the parameter names of the other statements, and fill the store before examining plans",
    )
    return PlanResult(
        statement=case.statement,
        condition=case.condition,
        plan_kind=PLAN_KINDS[0],
        verdict=Verdict.INCONCLUSIVE,
        findings=[finding],
        parameters={},
        query=statement.sql(schema) if statement else "",
        expected_index=expected_index(statement) if statement else "",
        work={},
        plan={},
    )


async def _missing_indexes(
    connection: asyncpg.Connection[Any], statements: Any, schema: str
) -> frozenset[str]:
    """The named indexes that are not there, or that the planner may not use."""
    named = {index for statement in statements if (index := expected_index(statement))}
    rows = await connection.fetch(
        "select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid"
        " join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = $1 and i.indisvalid and i.indisready",
        schema,
    )
    return frozenset(named - {row["relname"] for row in rows})


def _missing_index(index: str) -> Finding:
    return Finding(
        name="index exists",
        verdict=Verdict.BROKEN,
        observed=f"there is no valid index {index}",
        expected=f"{index}, which the statement names",
        remedy=f"create {index}; if it exists and is invalid, rebuild it with REINDEX",
    )


def _not_run(error: WholeTableError) -> Finding:
    return Finding(
        name="execution",
        verdict=Verdict.BROKEN,
        observed=f"not run: its plan would scan the whole of {error.table}",
        expected="a plan that uses an index",
        remedy="create an index for the statement's conditions, or run it anyway with --allow-scans",
    )


def _refused(error: Exception) -> Finding:
    """The server's refusal. One that time or locks explain leaves the plan unknown; any other breaks it."""
    words = str(error).partition("\n")[0] or type(error).__name__
    passing = isinstance(
        error,
        asyncpg.LockNotAvailableError | asyncpg.InterfaceError | asyncpg.OperatorInterventionError | OSError,
    ) and not isinstance(error, asyncpg.QueryCanceledError)
    return Finding(
        name="execution",
        verdict=Verdict.INCONCLUSIVE if passing else Verdict.BROKEN,
        observed=f"{type(error).__name__}: {words}",
        expected="the statement runs",
        remedy="run it by hand with these parameters",
    )


def _printable_parameters(statement: Statement, arguments: Sequence[object]) -> dict[str, str]:
    """Short strings, one per parameter; long documents and arrays are cut."""
    return {
        parameter.name: _printable(argument)
        for parameter, argument in zip(statement.parameters, arguments, strict=False)
    }


def _printable(value: object) -> str:
    if isinstance(value, list | tuple):
        shown = ", ".join(_printable(item) for item in value[:ARRAY_ITEMS_SHOWN])
        return f"[{shown}{', ...' if len(value) > ARRAY_ITEMS_SHOWN else ''}] ({len(value)})"
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return text if len(text) <= PARAMETER_LENGTH_MAX else f"{text[:PARAMETER_LENGTH_MAX]}... ({len(text)})"
