"""The engine's own statements are within bounds; faults planted into its schema are found."""

from __future__ import annotations

from dataclasses import replace

import asyncpg
import pytest

from eventmark.engine.statements import Parameter, Statement
from eventmark.plans import PlanCase, examine_plans, sampled_cases
from eventmark.results.results import PlanResult, Verdict
from tests.plans.conftest import COLUMNS, SCHEMA

Connection = asyncpg.Connection
Statements = dict[str, Statement]


WRITING = ("append_events", "store_snapshot")


async def _cases(connection: Connection, statements: Statements) -> list[PlanCase]:
    return await sampled_cases(
        connection, statements, SCHEMA, COLUMNS, "domain_events", "aggregate_snapshots"
    )


async def _examine(connection: Connection, statements: Statements) -> list[PlanResult]:
    return await examine_plans(connection, statements, SCHEMA, await _cases(connection, statements))


def _faults(results: list[PlanResult]) -> list[str]:
    return [
        f"{result.statement}, {result.condition}: {finding.name}: {finding.observed}; {finding.expected}"
        for result in results
        for finding in result.findings
        if finding.verdict is not Verdict.MET
    ]


def _names_of_faults(results: list[PlanResult]) -> set[str]:
    return {
        finding.name for result in results for finding in result.findings if finding.verdict is Verdict.BROKEN
    }


def _altered(statement: Statement, old: str, new: str, **changes: object) -> Statements:
    assert old in statement.template
    altered = replace(statement, template=statement.template.replace(old, new), **changes)  # type: ignore[arg-type]
    return {altered.name: altered}


async def test_every_engine_statement_is_met_as_custom_and_as_generic_plan(
    connection: Connection, statements: Statements
) -> None:
    results = await _examine(connection, statements)
    assert _faults(results) == []
    assert {(result.statement, result.plan_kind) for result in results} == {
        (name, kind) for name in statements for kind in ("custom", "generic")
    }
    assert all(result.verdict is Verdict.MET for result in results)


async def test_plans_are_met_again_after_writes_were_rolled_back(
    connection: Connection, statements: Statements
) -> None:
    await _examine(connection, {name: statements[name] for name in WRITING})
    assert _faults(await _examine(connection, statements)) == []


@pytest.mark.parametrize(
    ("index", "drop"),
    [
        ("domain_events_stream", "drop index {}"),
        ("domain_events_timestamp", "drop index {}"),
        pytest.param("domain_events_tenant_position", "drop index {}", marks=pytest.mark.long),
        pytest.param(
            "domain_events_position",
            "alter table store.domain_events drop constraint domain_events_position",
            marks=pytest.mark.long,
        ),
    ],
)
async def test_a_dropped_index_breaks_the_statements_that_name_it(
    connection: Connection, statements: Statements, index: str, drop: str
) -> None:
    cases = await _cases(connection, statements)
    await connection.execute(drop.format(f"store.{index}"))
    results = await examine_plans(connection, statements, SCHEMA, cases)
    broken = [result for result in results if result.verdict is Verdict.BROKEN]
    needs = {name for name, statement in statements.items() if statement.index == index}
    if index == "domain_events_position":
        needs.add("create_token_at")  # which goes back by it from what it found by time
    assert {result.statement for result in broken} == needs
    named = (result for result in broken if statements[result.statement].index == index)
    assert all(index in finding.expected for result in named for finding in result.findings[:1])
    # and without being told: the work gives it away
    by_work = {"pages", "rows removed", "rows read", "sequential scan", "sort"}
    assert _names_of_faults(results) & by_work
    assert "index" in _names_of_faults(results)


async def test_a_dropped_snapshot_key_breaks_both_snapshot_statements(
    connection: Connection, statements: Statements
) -> None:
    cases = await _cases(connection, statements)
    await connection.execute("alter table store.aggregate_snapshots drop constraint aggregate_snapshots_key")
    results = await examine_plans(connection, statements, SCHEMA, cases)
    broken = {result.statement: result for result in results if result.verdict is Verdict.BROKEN}
    assert set(broken) == {"store_snapshot", "read_snapshot"}
    assert "aggregate_snapshots_key" in broken["read_snapshot"].findings[0].expected
    refusal = broken["store_snapshot"].findings[-1]
    assert refusal.name == "execution" and "aggregate_snapshots_key" in refusal.observed


async def test_an_invalid_index_counts_as_missing(connection: Connection, statements: Statements) -> None:
    cases = await _cases(connection, statements)
    await connection.execute(
        "update pg_index set indisvalid = false where indexrelid = 'store.domain_events_timestamp'::regclass"
    )
    results = await examine_plans(connection, statements, SCHEMA, cases)
    assert {result.statement for result in results if result.verdict is Verdict.BROKEN} == {"create_token_at"}


async def test_a_condition_that_no_index_can_use_is_found_by_the_rows_it_removes(
    connection: Connection, statements: Statements
) -> None:
    planted = _altered(
        statements["stream_tenant_events"], "tenant_id = :tenant_id", "tenant_id || '' = :tenant_id"
    )
    results = await _examine(connection, planted)
    assert {"rows removed", "index"} <= _names_of_faults(results)


async def test_an_order_that_no_index_has_is_found_as_a_sort(
    connection: Connection, statements: Statements
) -> None:
    planted = _altered(
        statements["stream_events"],
        "order by transaction_id, global_sequence_id",
        "order by event_type, event_id",
    )
    results = await _examine(connection, planted)
    assert {"sort", "rows read"} <= _names_of_faults(results)


async def test_a_sort_of_no_more_than_the_answer_is_found_as_well(
    connection: Connection, statements: Statements
) -> None:
    planted = _altered(
        statements["load_aggregate"], "order by sequence_number", "order by sequence_number + 0"
    )
    assert "sort" in _names_of_faults(await _examine(connection, planted))


async def test_a_sort_that_spills_is_found_as_temporary_files(
    connection: Connection, statements: Statements
) -> None:
    planted = _altered(
        statements["stream_events"], "order by transaction_id, global_sequence_id", "order by payload::text"
    )
    case = PlanCase("stream_events", "the whole log", (0, 0, 100_000))
    await connection.execute("set work_mem = '64kB'")
    results = await examine_plans(connection, planted, SCHEMA, [case])
    assert "temporary files" in _names_of_faults(results)


async def test_counting_what_could_be_looked_up_is_found_as_rows_read(
    connection: Connection, statements: Statements
) -> None:
    planted = _altered(
        statements["stream_version"],
        statements["stream_version"].template,
        "select count(*) as sequence_number from {schema}.domain_events"
        " where tenant_id = :tenant_id and aggregate_id = :aggregate_id",
    )
    results = await _examine(connection, planted)
    assert "rows read" in _names_of_faults(results)


async def test_an_append_that_reads_the_whole_stream_first_is_found(
    connection: Connection, statements: Statements
) -> None:
    planted = _altered(
        statements["append_events"],
        "order by sequence_number desc\n    limit 1",
        "and payload is not null order by payload::text desc, sequence_number desc limit 1",
    )
    case = next(case for case in await _cases(connection, statements) if case.statement == "append_events")
    results = await examine_plans(connection, planted, SCHEMA, [case])
    assert {"pages", "rows read", "sort"} <= _names_of_faults(results)


async def test_a_parameter_nobody_knows_is_inconclusive_and_named(
    connection: Connection, statements: Statements
) -> None:
    planted = _altered(
        statements["stream_version"],
        statements["stream_version"].template,
        "select sequence_number from {schema}.domain_events where event_type = :colour",
        parameters=(Parameter("colour", "text"),),
    )
    (result,) = await _examine(connection, planted)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "colour" in result.findings[0].observed


async def test_a_statement_the_server_refuses_is_broken_in_the_servers_words(
    connection: Connection, statements: Statements
) -> None:
    planted = _altered(statements["load_aggregate"], "payload_revision", "no_such_column")
    results = await _examine(connection, planted)
    assert all(result.verdict is Verdict.BROKEN for result in results)
    assert "no_such_column" in results[0].findings[-1].observed
    assert await connection.fetchval("select 1") == 1


async def test_a_second_statement_behind_a_semicolon_is_refused_and_not_run(
    connection: Connection, statements: Statements
) -> None:
    planted = _altered(statements["create_head_token"], "limit 1", "limit 1; drop table store.domain_events")
    results = await _examine(connection, planted)
    assert all(result.verdict is Verdict.BROKEN for result in results)
    assert await connection.fetchval("select to_regclass('store.domain_events') is not null")


async def test_a_plan_that_a_setting_of_the_server_alone_puts_out_of_bounds_is_not_the_stores_fault(
    connection: Connection, statements: Statements
) -> None:
    await connection.execute("set random_page_cost = 30")
    results = await _examine(connection, statements)
    assert _names_of_faults(results) == set(), _faults(results)
    told = [one for result in results for one in result.findings if one.verdict is Verdict.INCONCLUSIVE]
    assert told
    assert all(
        "with random_page_cost = 1.1 the plan is within bounds, here it is 30" in one.observed for one in told
    )
    assert all("set random_page_cost = 1.1" in one.remedy for one in told)
    await connection.execute("drop index store.domain_events_stream")
    results = await _examine(connection, {"load_aggregate": statements["load_aggregate"]})
    assert "sequential scan" in _names_of_faults(results)  # no setting makes up for an index that lacks


async def test_no_rows_where_rows_were_expected_is_inconclusive(
    connection: Connection, statements: Statements
) -> None:
    case = PlanCase("load_aggregate", "an aggregate that is not there", ("big", "nobody", 1))
    results = await examine_plans(
        connection, {"load_aggregate": statements["load_aggregate"]}, SCHEMA, [case]
    )
    assert [result.verdict for result in results] == [Verdict.INCONCLUSIVE] * 2


async def test_an_empty_store_is_inconclusive(connection: Connection, statements: Statements) -> None:
    await connection.execute(
        "alter table store.domain_events disable trigger user; truncate store.domain_events, store.aggregate_snapshots"
    )
    results = await _examine(connection, statements)
    assert {result.statement for result in results} == set(statements)
    assert all(result.verdict is Verdict.INCONCLUSIVE for result in results)


async def test_a_small_table_may_be_read_whole(connection: Connection, statements: Statements) -> None:
    await connection.execute(
        "alter table store.domain_events disable trigger user; delete from store.domain_events where transaction_id > '150'"
    )
    await connection.execute(
        "delete from store.aggregate_snapshots s where not exists (select from store.domain_events e"
        " where e.tenant_id = s.tenant_id and e.aggregate_id = s.aggregate_id"
        " and e.sequence_number >= s.sequence_number)"
    )
    await connection.execute("vacuum full analyze")
    cases = await _cases(connection, statements)
    await connection.execute("set enable_indexscan = off; set enable_bitmapscan = off")
    await connection.execute("set enable_indexonlyscan = off")
    results = await examine_plans(connection, {"stream_version": statements["stream_version"]}, SCHEMA, cases)
    of_version = [result for result in results if result.statement == "stream_version"]
    assert any("Seq Scan" in str(result.plan) for result in of_version)
    assert _faults(of_version) == []


async def test_statements_without_a_case_and_cases_without_a_statement_are_inconclusive(
    connection: Connection, statements: Statements
) -> None:
    given = {"stream_version": statements["stream_version"]}
    results = await examine_plans(connection, given, SCHEMA, [PlanCase("gone", "any", ())])
    assert [(result.statement, result.verdict) for result in results] == [
        ("gone", Verdict.INCONCLUSIVE),
        ("stream_version", Verdict.INCONCLUSIVE),
    ]


async def test_progress_ends_at_the_number_of_plans(connection: Connection, statements: Statements) -> None:
    told: list[tuple[int, int]] = []
    given = {"load_aggregate": statements["load_aggregate"]}
    cases = await _cases(connection, given)
    results = await examine_plans(
        connection, given, SCHEMA, cases, progress=lambda done, of: told.append((done, of))
    )
    assert told[-1] == (len(results), len(results))
