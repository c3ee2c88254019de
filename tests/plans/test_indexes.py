"""Which indexes are worth a trial: by their definitions, by their use, and never those that do more than find."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from eventmark.adviser.index_facts import IndexFacts, drop_candidates, read_indexes
from eventmark.adviser.indexes import brin_candidates
from eventmark.stores import find_store, make_scratch_store


def index(name: str, *columns: str, **more: Any) -> IndexFacts:
    facts: dict[str, Any] = {
        "name": name, "table": "events", "method": "btree", "is_unique": False, "nulls_are_equal": False,
        "is_replica_identity": False, "is_partitioned": False, "constraint": "",
        "keys": tuple(f"{column} 1 0 0" for column in columns), "included": (), "predicate": "",
        "definition": f"create index {name}", "constraint_definition": "", "bytes": 100, "scans": 0,
    }  # fmt: skip
    return IndexFacts(**(facts | more))


def found(
    *indexes: IndexFacts, named: tuple[str, ...] = (), searched: tuple[str, ...] | None = None
) -> dict[str, str]:
    """Candidates by name with their kind; every index was searched unless told."""
    names = [one.name for one in indexes] if searched is None else searched
    candidates = drop_candidates(indexes, named=named, scans=dict.fromkeys(names, 1))
    return {one.index.name: one.kind for one in candidates}


def test_of_two_that_are_alike_one_is_a_candidate_and_which_one_is_settled() -> None:
    assert found(index("a", "t", "s"), index("b", "t", "s")) == {"b": "duplicate"}
    assert found(index("a", "t", "s"), index("b", "t", "s"), named=("b",)) == {"a": "duplicate"}
    assert found(index("a", "t", "s"), index("b", "t", "s", is_unique=True)) == {"a": "duplicate"}
    two_keys = (index("a", "t", is_unique=True), index("b", "t", is_unique=True, constraint="b"))
    assert found(*two_keys) == {"a": "duplicate"}


@pytest.mark.parametrize(
    "other",
    [
        index("b", "s", "t"),
        index("b", "t", "s", method="hash"),
        index("b", "t", "s", predicate="s > 1"),
        index("b", "t", "s", included=("x",)),
        index("b", "t", "s", keys=("t 1 0 0", "s 1 0 3")),  # descending
        index("b", "t", "s", table="others"),
    ],
)
def test_what_differs_in_order_method_rows_or_table_is_no_duplicate(other: IndexFacts) -> None:
    assert "duplicate" not in found(index("a", "t", "s"), other).values()


def test_the_beginning_of_another_and_what_goes_on_from_another_are_candidates_both() -> None:
    short, long = index("short", "t", "s"), index("long", "t", "s", "at")
    assert found(short, long) == {"short": "prefix", "long": "overlapping"}
    assert found(short, long, named=("short",)) == {"long": "overlapping"}
    assert found(index("whole", "t", "s"), index("part", "t", "s", predicate="s > 1")) == {
        "part": "overlapping"
    }


def test_an_index_that_nothing_has_searched_is_a_candidate_unless_a_statement_names_it() -> None:
    assert found(index("a", "t"), index("b", "s"), searched=("a",)) == {"b": "unused"}
    assert found(index("a", "t"), index("b", "s"), named=("b",), searched=("a",)) == {}


def test_what_keeps_rows_apart_is_none_unless_another_does_it_as_well() -> None:
    primary = index("p", "id", is_unique=True, constraint="p", constraint_definition="PRIMARY KEY (id)")
    assert found(primary, index("u", "t", "s", is_unique=True), searched=()) == {}
    implied = index("u", "id", "t", is_unique=True)
    assert found(primary, implied, searched=()) == {"u": "overlapping"}
    assert found(primary, index("u", "id", "t", is_unique=True, nulls_are_equal=True), searched=()) == {}
    assert (
        found(index("r", "t", is_replica_identity=True), index("x", "t", "s", constraint="x"), searched=())
        == {}
    )


async def test_the_catalogue_shows_definitions_without_the_schema(database: str) -> None:
    await make_scratch_store(database, find_store("eaf-v3"), "copied")
    connection = await asyncpg.connect(database)
    try:
        indexes = await read_indexes(connection, "copied", ["domain_events"])
        assert len(indexes) == 12
        assert not any("copied" in one.definition + one.predicate for one in indexes)
        by_name = {one.name: one for one in indexes}
        assert by_name["domain_events_pkey"].constraint_definition == "PRIMARY KEY (global_sequence_id)"
        assert by_name["idx_events_streaming"].expressions == (
            "tenant_id",
            "global_sequence_id",
            "timestamp_utc",
        )
        await connection.execute("set search_path = copied")
        await connection.execute("drop index idx_events_business_critical")
        await connection.execute(by_name["idx_events_business_critical"].definition)
        again = await read_indexes(connection, "copied", ["domain_events"])
        assert {one.name: one.shape for one in again} == {one.name: one.shape for one in indexes}
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("one", "correlation", "is_tried"),
    [
        (index("i", "at"), 0.99, True),
        (index("i", "at"), -0.99, True),
        (index("i", "at"), 0.5, False),
        (index("i", "t", "at"), 0.99, False),
        (index("i", "at", is_unique=True), 0.99, False),
        (index("i", "at", predicate="at > now()"), 0.99, False),
        (index("i", "at", method="brin"), 0.99, False),
        (index("i", "lower(at)"), 0.99, False),
    ],
)
def test_brin_is_tried_where_rows_lie_in_the_order_of_one_column(
    one: IndexFacts, correlation: float, is_tried: bool
) -> None:
    tried = brin_candidates([one], {("events", "at"): correlation, ("events", "t"): correlation})
    assert [candidate.name for candidate in tried] == (["index i as BRIN"] if is_tried else [])
    for candidate in tried:
        assert candidate.apply == ('create index "i_brin" on "events" using brin ("at")', 'drop index "i"')
        assert candidate.revert == ('drop index "i_brin"', "create index i")
        assert candidate.script[1] == 'drop index concurrently if exists "i"'
