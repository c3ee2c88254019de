"""Work with and without: an index that is needed is missed, one that is not is not, and one that lacks is proposed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from eventmark.adviser.ablate import CaseWork, better_cases, measure_work, with_generic_plans, worse_cases
from eventmark.adviser.index_facts import read_indexes
from eventmark.adviser.missing import missing_indexes
from eventmark.adviser.table_facts import read_table
from eventmark.plans import PlanCase, sampled_cases
from eventmark.stores import find_store
from tests.plans.conftest import COLUMNS, SCHEMA

Connection = asyncpg.Connection
DEFINITION = find_store("eaf")
STATEMENTS = DEFINITION.statements
TABLES = ["domain_events", "aggregate_snapshots"]


@pytest.fixture
async def cases(connection: Connection) -> AsyncIterator[list[PlanCase]]:
    await connection.execute(f"vacuum analyze {SCHEMA}.domain_events")
    yield await sampled_cases(connection, STATEMENTS, SCHEMA, COLUMNS, *TABLES)


Work = dict[tuple[str, str], CaseWork]


@pytest.fixture(scope="module")
def measured() -> list[Work]:
    """What the first test that asks for it has measured: every database here is a copy of the same one."""
    return []


@pytest.fixture
async def before(connection: Connection, cases: list[PlanCase], measured: list[Work]) -> Work:
    """The work of a store as it is."""
    if not measured:
        measured.append(await work_with(connection, cases, ""))
    return measured[0]


async def work_with(connection: Connection, cases: list[PlanCase], change: str) -> Work:
    transaction = connection.transaction()
    await transaction.start()
    if change:
        await connection.execute(change)
    work = await measure_work(connection, STATEMENTS, SCHEMA, cases)
    await transaction.rollback()
    await connection.execute(f"vacuum {SCHEMA}.domain_events")
    return work


async def test_the_same_again_is_neither_worse_nor_better(
    connection: Connection, cases: list[PlanCase], before: Work
) -> None:
    after = await work_with(connection, cases, "")
    assert len(before) > 60
    assert not [one for one in before.values() if one.refusal]
    assert worse_cases(before, after) == []
    assert better_cases(before, after) == []


async def test_without_the_index_it_needs_a_statement_is_worse_and_no_other(
    connection: Connection, cases: list[PlanCase], before: Work
) -> None:
    after = await work_with(connection, cases, f"drop index {SCHEMA}.domain_events_timestamp")
    worse = worse_cases(before, after)
    assert {one.statement for one in worse} == {"create_token_at"}
    assert max(one.factor for one in worse) > 5
    assert {one.statement for one in better_cases(after, before)} == {"create_token_at"}


async def test_a_statement_that_the_server_refuses_without_it_is_worse(
    connection: Connection, cases: list[PlanCase], before: Work
) -> None:
    change = f"alter table {SCHEMA}.aggregate_snapshots drop constraint aggregate_snapshots_key"
    worse = [
        one
        for one in worse_cases(before, await work_with(connection, cases, change))
        if "refused" in one.what
    ]
    assert {one.statement for one in worse} == {"store_snapshot"}  # on conflict on constraint


async def test_writes_may_cost_more_where_that_is_the_price(
    connection: Connection, cases: list[PlanCase], before: Work
) -> None:
    many = ";".join(
        f"create index more_{n} on {SCHEMA}.domain_events (tenant_id, event_type, aggregate_id, stream_id)"
        for n in range(5)
    )
    after = await work_with(connection, cases, many)
    assert {one.statement for one in worse_cases(before, after)} == {"append_events"}
    assert worse_cases(before, after, writes=False) == []


@pytest.mark.parametrize(
    ("dropped", "columns", "statement"),
    [
        ("domain_events_timestamp", ("timestamp_utc",), "create_token_at"),
        ("domain_events_stream", ("tenant_id", "aggregate_id", "sequence_number"), "load_aggregate"),
    ],
)
async def test_an_index_that_is_gone_is_proposed_again_from_plans_and_worth_it(
    connection: Connection, cases: list[PlanCase], dropped: str, columns: tuple[str, ...], statement: str
) -> None:
    cases = [case for case in cases if case.statement == statement]
    table = await read_table(connection, SCHEMA, "domain_events")
    await connection.execute(f"drop index {SCHEMA}.{dropped}")
    indexes = await read_indexes(connection, SCHEMA, TABLES)
    before = await work_with(connection, cases, "")
    names = [column.name for column in table.columns]
    proposals = missing_indexes(before, {"domain_events": names}, indexes)
    assert columns in [one.columns for one in proposals]
    change = f"create index again on {SCHEMA}.domain_events ({', '.join(columns)})"
    assert better_cases(before, await work_with(connection, cases, change))


async def test_nothing_is_proposed_where_nothing_lacks(connection: Connection, before: Work) -> None:
    table = await read_table(connection, SCHEMA, "domain_events")
    indexes = await read_indexes(connection, SCHEMA, TABLES)
    names = [column.name for column in table.columns]
    assert missing_indexes(before, {"domain_events": names}, indexes) == []


def test_without_custom_plans_each_case_does_what_its_generic_plan_does() -> None:
    def pages(count: float) -> CaseWork:
        work = {"buffers": count, "writes": 0.0, "seq_scans": 0.0, "sorts": 0.0, "temp_buffers": 0.0}
        return CaseWork(work=work, plan={})

    before = {
        ("a", "any, custom plan"): pages(10), ("a", "any, generic plan"): pages(500), ("b", "any, custom plan"): pages(3),
        ("b", "any, generic plan"): pages(3),
    }  # fmt: skip
    (worse,) = worse_cases(before, with_generic_plans(before))
    assert (worse.statement, worse.condition) == ("a", "any, custom plan")
    assert with_generic_plans(before)["b", "any, custom plan"] == pages(3)
