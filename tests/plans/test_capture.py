"""Plans are captured as they are run, and leave nothing behind."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import asyncpg
import pytest

from eventmark.engine.statements import Parameter, Statement
from eventmark.plans import examine_plans, sampled_cases
from eventmark.plans.capture import explain
from eventmark.plans.judge import judge
from eventmark.plans.work import nodes, work_of
from eventmark.results.results import Verdict
from tests.plans.conftest import COLUMNS, EVENTS, SCHEMA

Connection = asyncpg.Connection


def _conditions(plan: dict[str, object]) -> str:
    return " ".join(str(node.get("Index Cond", "")) for node in nodes(plan))


def _statement(template: str, *parameters: tuple[str, str]) -> Statement:
    return Statement(
        name="any", purpose="", parameters=tuple(Parameter(*pair) for pair in parameters), index="",
        template=template, path="any.sql", first_line=1,
    )  # fmt: skip


async def test_a_generic_plan_holds_parameters_and_a_custom_plan_their_values(
    connection: Connection, statements: dict[str, Statement]
) -> None:
    for generic, seen, unseen in ((True, "$1", "'big'"), (False, "'big'", "$1")):
        plan = await explain(
            connection, statements["load_aggregate"], SCHEMA, ("big", "long", 1), generic=generic
        )
        assert seen in _conditions(plan)
        assert unseen not in _conditions(plan)
        assert plan["Actual Rows"] == 989


async def test_a_write_under_explain_leaves_no_row_no_statement_and_no_setting_behind(
    connection: Connection, statements: dict[str, Statement]
) -> None:
    writes = {name: statements[name] for name in ("append_events", "store_snapshot")}
    before = await connection.fetchval("select md5(string_agg(s::text, '')) from store.aggregate_snapshots s")
    cases = await sampled_cases(connection, writes, SCHEMA, COLUMNS, "domain_events", "aggregate_snapshots")
    results = await examine_plans(connection, writes, SCHEMA, cases)
    assert sum(result.work["rows_written"] for result in results) > 100
    assert await connection.fetchval("select count(*) from store.domain_events") == EVENTS
    after = await connection.fetchval("select md5(string_agg(s::text, '')) from store.aggregate_snapshots s")
    assert after == before
    own = "select count(*) from pg_prepared_statements where name like 'eventmark%'"
    assert await connection.fetchval(own) == 0
    assert await connection.fetchval("show plan_cache_mode") == "auto"


async def test_a_refused_statement_leaves_no_transaction_open(connection: Connection) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        await explain(connection, _statement("select 1 / :n::int", ("n", "int")), SCHEMA, (0,), generic=True)
    assert not connection.is_in_transaction()
    assert await connection.fetchval("select count(*) from pg_prepared_statements where name like 'ev%'") == 0


async def test_arguments_reach_the_server_unchanged(connection: Connection) -> None:
    document = json.dumps({"quote'": 'back\\slash "and" ${}; --', "ü": None})
    instant = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    values = ("it's \\ $1", [document, document], instant, 2**63, [None, "a,b", '"'])
    types = ("text", "jsonb[]", "timestamptz", "xid8", "text[]")
    await connection.execute(
        f"create table {SCHEMA}.seen (t text, d jsonb[], i timestamptz, x xid8, a text[])"
    )
    await connection.execute(f"insert into {SCHEMA}.seen values ($1, $2, $3, $4, $5)", *values)
    statement = _statement(
        "select from {schema}.seen where t = :t and d = :d and i = :i and x = :x and a is not distinct from :a",
        *zip("tdixa", types, strict=True),
    )
    for generic in (True, False):
        plan = await explain(connection, statement, SCHEMA, values, generic=generic)
        assert plan["Actual Rows"] == 1


async def test_the_wrong_number_of_arguments_is_refused(connection: Connection) -> None:
    with pytest.raises(ValueError, match="takes 1 arguments, got 2"):
        await explain(connection, _statement("select :n", ("n", "int")), SCHEMA, (1, 2), generic=False)


async def test_what_writing_out_an_answer_takes_is_seen_where_the_server_shows_it(
    connection: Connection,
) -> None:
    await connection.execute(
        "create table toasted as select (select jsonb_agg(md5((g * n)::text)) from generate_series(1, 400) n) as payload"
        " from generate_series(1, 100) g"
    )
    statement = _statement("select payload from public.toasted")
    plan = await explain(connection, statement, SCHEMA, (), generic=False)
    work = work_of(plan)
    await connection.execute("drop table toasted")
    if connection.get_server_version().major < 17:
        assert not any("serializ" in name or "toast" in name for name in work)
        return
    assert work["toast_pages_per_row"] > 2
    assert 1_000 < work["serialized_kb"] < 2_000
    assert 0.5 < work["serialization_share"] < 1
    assert work["serialization_ms"] < work["execution_ms"]
    assert work["planning_memory_kb"] > 0
    (finding,) = [one for one in judge(statement, plan, work) if one.name == "serialization"]
    assert finding.verdict is Verdict.MET and "store them as json" in finding.remedy
    assert f"{work['toast_pages_per_row']:.2f} pages of TOAST per row" in finding.observed
