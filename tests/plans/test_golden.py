"""Golden plans: shapes hold what matters and nothing that moves; changes are found and can be read."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest

from eventmark.engine.statements import Statement
from eventmark.errors import CannotRunError, UsageError
from eventmark.experiments.run.golden import compared_section
from eventmark.plans import PlanCase, examine_plans
from eventmark.plans.golden import (
    PINNED_SETTINGS,
    differences,
    folder_of,
    read_golden,
    texts_of,
    write_golden,
)
from eventmark.plans.shape import masked, shape_of, summary_of
from eventmark.results.results import PlanResult, Verdict
from eventmark.stores import find_store
from tests.plans.conftest import SCHEMA

Connection = asyncpg.Connection

CORPUS = "30,000 events"
CASES = [
    PlanCase("load_aggregate", "long aggregate", ("big", "long", 1)),
    PlanCase("load_aggregate", "short aggregate", ("small", "a-7", 1)),
    PlanCase("stream_events", "start of the log", (0, 0, 1000)),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Golden plans of a statement that the store has no longer."""
    place = folder_of(tmp_path, 18)
    write_golden(place, {"gone": f"statement: gone\ncorpus: {CORPUS}\n"})
    return place


async def examined(connection: Connection, statements: dict[str, Statement]) -> list[PlanResult]:
    return await examine_plans(
        connection, {case.statement: statements[case.statement] for case in CASES}, SCHEMA, CASES
    )


@pytest.mark.parametrize(
    ("condition", "mask"),
    [
        ("(tenant_id = 'it''s'::text)", "(tenant_id = ?)"),
        ("(tenant_id = $1)", "(tenant_id = ?)"),
        ("(at >= '2026-01-01 00:00:00+00'::timestamp with time zone)", "(at >= ?)"),
        ("(id = ANY ('{a,b}'::uuid[]))", "(id = ANY (?))"),
        ("(ROW(a_1, b) > ROW('5'::xid8, $2::bigint))", "(ROW(a_1, b) > ROW(?, ?))"),
        ("((n + 1) > -12.5)", "((n + ?) > ?)"),
        ("(t = store.own_tenant())", "(t = own_tenant())"),
    ],
)
def test_values_parameters_and_schemas_are_masked(condition: str, mask: str) -> None:
    assert masked(condition) == mask


async def test_a_shape_is_the_same_whatever_the_values_the_schema_and_the_kind_of_plan(
    connection: Connection, statements: dict[str, Statement]
) -> None:
    shapes = {
        shape_of(plan.plan)
        for plan in await examined(connection, statements)
        if plan.statement == "load_aggregate"
    }
    (shape,) = shapes
    assert shape.splitlines()[0] == "Index Scan using domain_events_stream on domain_events"
    assert "sequence_number >= ?" in shape
    for absent in (SCHEMA, "cost", "rows", "long"):
        assert absent not in shape


async def test_another_index_another_condition_and_a_sort_change_the_shape(connection: Connection) -> None:
    async def shape(query: str) -> str:
        plan = await connection.fetchval(f"explain (format json) {query}")
        return shape_of(json.loads(plan)[0]["Plan"])

    events = f"{SCHEMA}.domain_events"
    shapes = [
        await shape(f"select from {events} where tenant_id = 'small' order by transaction_id limit 3"),
        await shape(
            f"select from {events} where tenant_id = 'small' and event_type = 'x' order by transaction_id limit 3"
        ),
        await shape(f"select from {events} where tenant_id = 'small' order by event_type limit 3"),
        await shape(f"select from {events} order by transaction_id desc limit 3"),
    ]
    assert len(set(shapes)) == 4
    assert "Sort by event_type" in shapes[2]
    assert "Backward" in shapes[3]


async def test_plans_as_approved_show_no_difference_and_files_hold_no_more_than_the_statements(
    connection: Connection, statements: dict[str, Statement], folder: Path
) -> None:
    found = texts_of(await examined(connection, statements), CORPUS)
    write_golden(folder, found)
    approved = read_golden(folder, CORPUS)
    assert approved == found
    assert set(approved) == {"load_aggregate", "stream_events"}
    assert differences(approved, found) == []
    assert compared_section(approved, found, 18).verdict is Verdict.MET


async def test_a_dropped_index_is_a_difference_that_can_be_read(
    connection: Connection, statements: dict[str, Statement]
) -> None:
    approved = texts_of(await examined(connection, statements), CORPUS)
    await connection.execute(f"drop index {SCHEMA}.domain_events_stream")
    found = texts_of(await examined(connection, statements), CORPUS)
    (changed,) = differences(approved, found)
    assert changed.statement == "load_aggregate"
    assert "-    Index Scan using domain_events_stream on domain_events" in changed.diff.splitlines()
    section = compared_section(approved, found, 18)
    assert section.verdict is Verdict.BROKEN
    assert [block.language for block in section.blocks] == ["diff"]


def test_statements_that_came_or_went_are_differences() -> None:
    changed = differences({"a": "x\n", "b": "y\n"}, {"a": "x\n", "c": "z\n"})
    assert [one.statement for one in changed] == ["b", "c"]
    assert "-y" in changed[0].diff and "+z" in changed[1].diff


def test_without_approved_plans_nothing_is_decided() -> None:
    assert compared_section({}, {"a": "x"}, 18).verdict is Verdict.INCONCLUSIVE


def test_what_was_not_examined_then_or_now_is_no_proof() -> None:
    text = "statement: a\n\nany\n    not examined\n"
    assert compared_section({"a": text}, {"a": text}, 18).verdict is Verdict.INCONCLUSIVE


def test_plans_of_another_corpus_are_refused_and_it_is_named(folder: Path) -> None:
    with pytest.raises(
        UsageError, match=r"gone\.txt: plans of another corpus.*30,000 events.*this is 1 event"
    ):
        read_golden(folder, "1 event")
    (folder / "gone.txt").write_bytes(b"\xff")
    with pytest.raises(CannotRunError, match="cannot be read"):
        read_golden(folder, CORPUS)


async def test_a_summary_names_scans_and_sorts(
    connection: Connection, statements: dict[str, Statement]
) -> None:
    plans = {plan.statement: plan for plan in await examined(connection, statements)}
    assert (
        summary_of(plans["stream_events"].plan) == "Index Scan using domain_events_position on domain_events"
    )


def test_every_pinned_setting_is_one_of_the_servers(database: str) -> None:
    async def known() -> set[str]:
        connection = await asyncpg.connect(database)
        rows = await connection.fetch("select name from pg_settings where context = 'user'")
        await connection.close()
        return {row["name"] for row in rows}

    assert set(PINNED_SETTINGS) <= asyncio.run(known())


def test_golden_plans_of_the_bundled_stores_are_there_for_the_majors_that_tests_run_on() -> None:
    for major in (15, 18):
        assert any(folder_of(find_store("eaf").directory, major).glob("*.txt"))
    assert set(find_store("eaf").statements) == {
        path.stem for path in folder_of(find_store("eaf").directory, 18).glob("*.txt")
    }
    assert summary_of({"Node Type": "Result"}) == "Result"
