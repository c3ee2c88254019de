"""The limits, on plans written down by hand: each is passed just below and broken just above."""

from __future__ import annotations

from typing import Any

import pytest

from eventmark.engine.statements import Statement
from eventmark.plans.judge import judge
from eventmark.plans.work import indexes_used, work_of
from eventmark.results.results import Finding, Verdict

Node = dict[str, Any]


def _node(
    kind: str, *children: Node, rows: float = 1, loops: int = 1, pages: int = 0, **keys: object
) -> Node:
    return {
        "Node Type": kind, "Parent Relationship": "Outer", "Actual Rows": rows, "Plan Rows": rows,
        "Actual Loops": loops, "Shared Hit Blocks": pages, "Shared Read Blocks": 0, "Plans": list(children),
        **{key.replace("_", " "): value for key, value in keys.items()},
    }  # fmt: skip


def _index_scan(*, rows: float, pages: int, removed: float = 0, loops: int = 1) -> Node:
    keys = {"Index_Name": "the_index", "Rows_Removed_by_Filter": removed}
    return _node("Index Scan", rows=rows, pages=pages, loops=loops, **keys)


def _findings(plan: Node, index: str = "the_index") -> list[Finding]:
    statement = Statement(
        name="any", purpose="", parameters=(), index=index, template="select", path="any.sql", first_line=1
    )
    return judge(statement, plan, work_of(plan))


def _verdicts(plan: Node, index: str = "the_index") -> dict[str, Verdict]:
    return {finding.name: finding.verdict for finding in _findings(plan, index)}


def _broken(plan: Node, index: str = "the_index") -> set[str]:
    return {name for name, verdict in _verdicts(plan, index).items() if verdict is Verdict.BROKEN}


def test_one_heap_page_per_row_and_the_way_down_the_index_is_met() -> None:
    assert _broken(_index_scan(rows=1000, pages=1025)) == set()
    assert _broken(_index_scan(rows=1, pages=5)) == set()


def test_pages_by_the_hundred_for_one_row_are_out_of_bounds() -> None:
    assert _broken(_index_scan(rows=1, pages=11)) == set()
    assert _broken(_index_scan(rows=1, pages=12)) == {"pages"}


@pytest.mark.parametrize(
    ("pages", "beside", "broken"),
    [(9324, 189, set()), (9325, 189, {"pages"}), (3408, 1100, set()), (3408, 1101, {"rows read"})],
)
def test_a_row_of_each_table_that_is_joined_and_its_page_are_in_proportion(
    pages: int, beside: int, broken: set[str]
) -> None:
    places = _index_scan(rows=1000, pages=30)
    two = _node("Nested Loop", places, _index_scan(rows=1, pages=378, loops=beside), rows=1000, pages=408)
    events = _index_scan(rows=1, pages=pages - 408, loops=1000)
    assert _broken(_node("Nested Loop", two, events, rows=1000, pages=pages)) == broken


def test_rows_removed_are_multiplied_by_the_loops_they_are_averages_of() -> None:
    plan = _node("Nested Loop", _index_scan(rows=1, pages=300, removed=5, loops=100), rows=100, pages=300)
    assert work_of(plan)["rows_removed_per_row"] == 5
    assert _broken(plan) == {"rows removed"}


@pytest.mark.parametrize(
    ("removed", "pages", "broken"),
    [(100, 200, set()), (101, 200, {"rows removed"}), (1000, 100, set()), (1001, 100, {"rows removed"})],
)
def test_removing_rows_is_judged_more_mildly_on_pages_that_are_read_anyway(
    removed: float, pages: int, broken: set[str]
) -> None:
    assert _broken(_index_scan(rows=100, pages=pages, removed=removed)) == broken


def test_a_sequential_scan_counts_by_its_pages() -> None:
    small = _node("Seq Scan", pages=100, Rows_Removed_by_Filter=5000)
    assert _broken(small) == set()
    large = _node("Seq Scan", pages=101, Rows_Removed_by_Filter=5000)
    assert _broken(large) == {"index", "pages", "rows removed", "sequential scan"}


def test_a_sort_counts_by_its_input_and_not_by_what_a_limit_let_through() -> None:
    def top_of(rows: float) -> Node:
        return _node("Limit", _node("Sort", _index_scan(rows=rows, pages=50), rows=1, pages=50), pages=50)

    assert _broken(top_of(100)) == set()
    assert _broken(top_of(101)) == {"sort"}
    assert {"sort", "rows read"} <= _broken(top_of(103))


def test_an_incremental_sort_counts_by_its_groups() -> None:
    groups = {"Full-sort Groups": {"Group Count": 20}}
    plan = _node("Incremental Sort", _index_scan(rows=1000, pages=1000), rows=1000, pages=1000) | groups
    assert _broken(plan) == set()


def test_another_index_is_no_fault_when_it_does_no_more_work() -> None:
    assert _broken(_index_scan(rows=10, pages=12), "another_index") == set()
    assert "index" in _broken(_index_scan(rows=10, pages=500), "another_index")


def test_an_index_in_a_part_of_the_plan_that_never_ran_is_not_used() -> None:
    plan = _node("Append", _index_scan(rows=0, pages=0, loops=0), _node("Seq Scan", pages=5000), pages=5000)
    assert indexes_used(plan) == set()


def test_writing_is_judged_per_row_written_and_not_per_row_returned() -> None:
    batch = _node("Function Scan", rows=100)
    plan = _node("Aggregate", _node("ModifyTable", batch, rows=100, pages=3000), pages=3000)
    assert work_of(plan)["buffers_per_row"] == 30
    assert _broken(plan, "") == set()
    nothing = _node("ModifyTable", _node("Result", rows=0), rows=0, pages=4)
    assert _verdicts(nothing, "none")["rows"] is Verdict.INCONCLUSIVE


def test_conflicts_left_out_are_not_counted_as_written() -> None:
    keys = {"Conflict Resolution": "NOTHING", "Tuples Inserted": 3, "Conflicting Tuples": 7}
    plan = _node("ModifyTable", _node("Function Scan", rows=10), rows=0, pages=40) | keys
    assert work_of(plan)["rows_written"] == 3


def test_a_write_that_runs_after_the_root_is_counted() -> None:
    late = _node("ModifyTable", _node("Result", rows=1), rows=1, pages=900)
    assert "pages" in _broken(_node("Result", late, pages=0), "")


def test_anything_spilled_is_out_of_bounds() -> None:
    assert _broken(_index_scan(rows=10, pages=10) | {"Temp Written Blocks": 1}) == {"temporary files"}


def test_fractional_rows_and_whole_rows_are_read_alike() -> None:
    assert work_of(_index_scan(rows=0.5, pages=3, loops=10))["rows"] == 5


@pytest.mark.parametrize(
    ("spent_ms", "whole_ms", "remarked"), [(0.9, 1.0, False), (2.0, 4.1, False), (2.1, 4.0, True)]
)
def test_a_statement_that_is_mostly_serialization_gets_a_remark_and_no_fault(
    spent_ms: float, whole_ms: float, remarked: bool
) -> None:
    plan = _index_scan(rows=100, pages=50)
    plan |= {"Execution Time": whole_ms, "Serialization": {"Time": spent_ms, "Output Volume": 90}}
    (finding,) = [one for one in _findings(plan) if one.name == "serialization"]
    assert (finding.verdict, bool(finding.remedy)) == (Verdict.MET, remarked)
