"""Cliffs are found by counters: planted ones with their reason and what avoids them, and none where there is none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
import numpy as np
import pytest

from eventmark.engine.statements import Parameter, Statement
from eventmark.experiments.cliffs.states import rounds_of
from eventmark.plans.capture import Changes, explain, explain_sixth
from eventmark.plans.cliffs.alternatives import heaviest, try_alternatives
from eventmark.plans.cliffs.cells import CUSTOM, GENERIC, PLAN_KINDS, SIXTH, Cell, State, examine_cell
from eventmark.plans.cliffs.finder import (
    OTHER_CONDITION,
    OTHER_PLAN,
    OTHER_QUESTION,
    Cliff,
    find_cliffs,
    judge_cells,
    remedy,
    where_it_happens,
    why,
)
from eventmark.plans.cliffs.questions import BATCHES_EVENTS, Question, draw_questions, pairwise_sample
from eventmark.plans.cliffs.weight import CLIFF_FACTOR, is_suspicious, times_the_work
from tests.plans.conftest import COLUMNS, EVENTS, SCHEMA

Connection = asyncpg.Connection

EVENTS_TABLE = f"{SCHEMA}.domain_events"


def statement_of(query: str, *parameters: tuple[str, str]) -> Statement:
    return Statement(
        name="asked", purpose="", parameters=tuple(Parameter(*pair) for pair in parameters), index="",
        template=query, path="asked.sql", first_line=1,
    )  # fmt: skip


def question(*arguments: object, tenant: str = "", place: str = "") -> Question:
    return Question(statement="asked", tenant=tenant, stream="", place=place, batch="", arguments=arguments)


async def cells_of(connection: Connection, statement: Statement, *questions: Question) -> list[Cell]:
    return [
        await examine_cell(connection, statement, SCHEMA, one, kind, State())
        for one in questions
        for kind in PLAN_KINDS
    ]


async def the_cliff(connection: Connection, statement: Statement, *questions: Question) -> Cliff:
    cliffs = find_cliffs(await cells_of(connection, statement, *questions))
    assert cliffs, "no cliff was found"
    return cliffs[0]


def work(**counters: float) -> dict[str, float]:
    names = (
        "rows",
        "rows_written",
        "writes",
        "buffers",
        "temp_buffers",
        "rows_read",
        "rows_removed",
        "sort_rows",
    )
    return {**dict.fromkeys(names, 0.0), "estimate_factor": 1.0, **counters}


@pytest.mark.parametrize(
    ("counters", "suspicious"),
    [
        ({"rows": 1000, "rows_read": 1000, "buffers": 1100}, False),  # each row on a page of its own
        ({"rows": 1000, "rows_read": 1000, "buffers": 11_000}, True),
        ({"rows": 0, "buffers": 60}, False),  # nothing found, a deep index with dead entries
        ({"rows": 0, "buffers": 600}, True),
        ({"rows": 1, "rows_read": 100, "buffers": 104}, False),  # a bounded look around
        ({"rows": 1, "rows_read": 1000, "buffers": 1004}, True),
        (
            {"rows": 1, "rows_read": 1, "rows_removed": 5000, "buffers": 50},
            True,
        ),  # rows that lie on few pages
        (
            {"rows": 1000, "rows_read": 1000, "sort_rows": 1000, "buffers": 1000},
            False,
        ),  # the answer itself, sorted
        ({"rows": 10, "rows_read": 20_000, "sort_rows": 20_000, "buffers": 100}, True),
        ({"rows": 10, "rows_read": 10, "buffers": 20, "temp_buffers": 900}, True),
        ({"writes": 1, "rows_written": 1, "buffers": 70}, False),  # a row and a dozen indexes
        ({"writes": 1, "rows_written": 1, "buffers": 1070}, True),
    ],
)
def test_work_is_held_against_the_answer_and_a_floor(counters: dict[str, float], suspicious: bool) -> None:
    assert is_suspicious(work(**counters)) is suspicious


def test_ten_times_the_best_plan_is_a_cliff_and_nine_times_is_none() -> None:
    best = work(rows=100, rows_read=100, buffers=300)
    assert times_the_work(work(rows=100, rows_read=100, buffers=2700), best) < CLIFF_FACTOR
    assert times_the_work(work(rows=100, rows_read=100, buffers=3100), best) >= CLIFF_FACTOR


async def test_the_sixth_execution_goes_over_to_the_generic_plan_where_that_is_no_costlier(
    connection: Connection, statements: dict[str, Statement]
) -> None:
    plan, generic = await explain_sixth(connection, statements["load_aggregate"], SCHEMA, ("big", "long", 1))
    assert generic
    assert plan["Actual Rows"] == 989
    rare = statement_of(
        f"select * from {EVENTS_TABLE} where event_type = :kind and tenant_id = any (:tenants)",
        ("kind", "text"), ("tenants", "text[]"),
    )  # fmt: skip
    _, generic = await explain_sixth(connection, rare, SCHEMA, ("OrderChanged", ["nobody"]))
    assert not generic
    count = "select count(*) from pg_prepared_statements where name like 'eventmark%'"
    assert await connection.fetchval(count) == 0


async def test_an_optional_parameter_is_a_cliff_of_the_generic_plan(connection: Connection) -> None:
    optional = statement_of(
        f"select * from {EVENTS_TABLE} where (:tenant_id::text is null or tenant_id = :tenant_id)"
        " order by transaction_id, global_sequence_id limit 100",
        ("tenant_id", "text"),
    )  # fmt: skip
    cliff = await the_cliff(connection, optional, question("small"))
    assert cliff.worst.generic
    assert cliff.kind == OTHER_CONDITION
    assert cliff.better.cost is not None
    assert "generic plan has to do for every value" in why(cliff)
    assert "force_custom_plan" in remedy(cliff)
    assert "generic plan or sixth execution (generic plan)" in where_it_happens(cliff.cells)


async def test_an_index_taken_for_its_order_is_a_cliff_that_another_index_avoids(
    connection: Connection,
) -> None:
    """The planner expects a tenant's events soon; they are not, and it passes everybody else's."""
    await connection.execute(f"drop index {SCHEMA}.domain_events_tenant_position")
    await connection.execute(f"alter table {EVENTS_TABLE} disable trigger user")
    await connection.execute(
        f"update {EVENTS_TABLE} set tenant_id = 'late', aggregate_id = 'late-' || global_sequence_id"
        f" where global_sequence_id > {EVENTS - 300}"
    )
    await connection.execute(f"create index by_tenant on {EVENTS_TABLE} (tenant_id)")
    await connection.execute(f"vacuum analyze {EVENTS_TABLE}")
    tailing = statement_of(
        f"select * from {EVENTS_TABLE} where tenant_id = :tenant_id order by transaction_id, global_sequence_id"
        " limit 5",
        ("tenant_id", "text"),
    )  # fmt: skip
    cliff = await the_cliff(connection, tailing, question("late"))
    assert cliff.kind == OTHER_PLAN
    assert "domain_events_position" in cliff.worst.summary
    assert cliff.worst.work["rows_removed"] > EVENTS / 2
    assert "the planner estimated" in why(cliff)
    assert "domain_events_position" in remedy(cliff)


async def test_where_no_plan_helps_the_statement_asked_elsewhere_shows_the_cliff(
    connection: Connection,
) -> None:
    await connection.execute(f"drop index {SCHEMA}.domain_events_timestamp")
    at = statement_of(
        f"select * from {EVENTS_TABLE} where timestamp_utc >= :at order by transaction_id, global_sequence_id limit 10",
        ("at", "timestamptz"),
    )  # fmt: skip
    early, late = (datetime(2025, 1, day, tzinfo=UTC) for day in (1, 21))
    cliff = await the_cliff(connection, at, question(early, place="near"), question(late, place="far"))
    assert cliff.kind == OTHER_QUESTION
    assert cliff.worst.question.place == "far"
    assert "there is no plan for it that does better" in why(cliff)
    assert "an index whose first columns" in remedy(cliff)


async def test_good_statements_have_no_cliff(
    connection: Connection, statements: dict[str, Statement]
) -> None:
    drawn = await draw(connection, statements, per_statement=3)
    cells = []
    for one in [one for questions in rounds_of(statements, drawn) for one in questions]:
        for kind in PLAN_KINDS:
            cells.append(
                await examine_cell(connection, statements[one.statement], SCHEMA, one, kind, State())
            )
    assert [cell.reason for cell in cells if cell.reason] == []
    assert find_cliffs(cells) == []
    assert max(one.times for one in judge_cells(cells)) < CLIFF_FACTOR / 2


async def test_a_refused_cell_has_the_server_s_words_and_no_work(connection: Connection) -> None:
    cell = await examine_cell(
        connection, statement_of("select 1 / :n", ("n", "int")), SCHEMA, question(0), CUSTOM, State()
    )
    assert "division by zero" in cell.reason
    assert judge_cells([cell]) == []
    assert find_cliffs([cell]) == []


async def test_trying_another_plan_leaves_indexes_and_settings_as_they_were(
    connection: Connection, statements: dict[str, Statement]
) -> None:
    statement, arguments = statements["stream_tenant_events"], ("small", 0, 0, 100)
    indexes = "select string_agg(indexdef, ';' order by indexname) from pg_indexes where schemaname = 'store'"
    before = await connection.fetchval(indexes)
    plan = await explain(connection, statement, SCHEMA, arguments, generic=False)
    assert heaviest(plan)["Index Name"] == "domain_events_tenant_position"
    tried = await try_alternatives(
        connection, statement, SCHEMA, arguments, plan, generic=False, timeout_s=10
    )
    assert {one.index for one in tried} == {"", "domain_events_tenant_position"}
    assert all("domain_events_tenant_position" not in one.summary for one in tried)
    assert await connection.fetchval(indexes) == before
    assert await connection.fetchval("show enable_indexscan") == "on"


async def test_a_statement_that_takes_too_long_is_ended(connection: Connection) -> None:
    with pytest.raises(asyncpg.QueryCanceledError):
        await explain(
            connection,
            statement_of("select pg_sleep(5)"),
            SCHEMA,
            (),
            generic=False,
            changes=Changes(timeout_s=0.2),
        )


async def draw(
    connection: Connection, statements: dict[str, Statement], *, per_statement: int
) -> list[Question]:
    drawn = await draw_questions(
        connection, statements, SCHEMA, COLUMNS, "domain_events", "aggregate_snapshots",
        snapshot_columns=COLUMNS, per_statement=per_statement,
    )  # fmt: skip
    assert drawn.skipped == {}
    return drawn.questions


async def test_questions_come_from_every_place_of_small_and_large_tenants_in_every_size(
    connection: Connection, statements: dict[str, Statement]
) -> None:
    questions = await draw(connection, statements, per_statement=1000)
    assert len({one.key for one in questions}) == len(questions)
    asked = [one for one in questions if one.statement == "stream_tenant_events"]
    assert {one.arguments[0]: one.tenant for one in asked} == {
        "small": "decile 1", "other": "decile 5", "big": "decile 10",
    }  # fmt: skip
    assert {one.place for one in asked} == {
        "start of the log", "middle of the log", "end of the log", "beyond the log",
    }  # fmt: skip
    assert {one.arguments[-1] for one in asked} == set(BATCHES_EVENTS)
    loads = {
        one.place: one.arguments[2]
        for one in questions
        if one.statement == "load_aggregate" and one.arguments[1] == "long"
    }
    assert loads == {
        "start of the stream": 1, "middle of the stream": 494, "end of the stream": 979, "beyond the stream": 990,
    }  # fmt: skip
    assert {one.events for one in questions if one.statement == "append_events"} == set(BATCHES_EVENTS)


async def test_beyond_the_log_there_is_nothing_to_be_read(
    connection: Connection, statements: dict[str, Statement]
) -> None:
    for one in await draw(connection, statements, per_statement=1000):
        if one.place.startswith("beyond"):
            plan = await explain(connection, statements[one.statement], SCHEMA, one.arguments, generic=False)
            assert plan["Actual Rows"] == 0, one.label


def test_of_many_questions_a_few_hold_every_pair_of_values_they_can() -> None:
    every = [
        Question(statement="s", tenant=f"t{t}", stream="", place=f"p{p}", batch=f"b{b}", arguments=())
        for t in range(10)
        for p in range(4)
        for b in range(5)
    ]
    few = pairwise_sample(every, 40, np.random.default_rng(1))
    assert len(few) == 40
    assert every[0] in few and every[-1] in few
    assert {(one.place, one.batch) for one in few} == {(f"p{p}", f"b{b}") for p in range(4) for b in range(5)}
    assert {one.tenant for one in few} == {f"t{t}" for t in range(10)}
    assert few == pairwise_sample(every, 40, np.random.default_rng(1))
    assert pairwise_sample(every, 500, np.random.default_rng(1)) == every
    assert len(pairwise_sample(every, 1, np.random.default_rng(1))) == 1


def test_labels_are_short_where_there_is_little_room() -> None:
    asked = Question(
        statement="s", tenant="decile 3", stream="long aggregate", place="middle of the log", batch="1000 events",
        arguments=(),
    )  # fmt: skip
    assert asked.short == "decile 3, long, middle, 1000"
    assert (
        replace(asked, tenant="", stream="aggregate with a snapshot", place="", batch="").short
        == "with a snapshot"
    )
    assert replace(asked, tenant="", stream="", place="beyond the log", batch="1 event").short == "beyond, 1"
    assert replace(asked, tenant="", stream="", place="", batch="").short == "any"


def test_kinds_of_plan_are_distinguished() -> None:
    cell = Cell(question=question(), kind=SIXTH, state=State(), work={}, generic=True)
    assert cell.kind_told == "sixth execution (generic plan)"
    assert replace(cell, kind=GENERIC).kind_told == "generic plan"
