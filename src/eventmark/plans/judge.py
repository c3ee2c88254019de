"""Is a plan's work in proportion to its answer? Judged by what was touched, not by the names of nodes.

A plan is fit for a growing log when its work depends on the rows it returns or writes, and not on the
table's size. Every limit below allows what an ordered index read of scattered rows needs, with room.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventmark.engine.statements import Statement
from eventmark.judgement.verdicts import worst
from eventmark.plans.work import SEQ_SCAN_PAGES_MAX, SORT_ROWS_MAX, indexes_used, tables_joined
from eventmark.results.results import Finding, Verdict

PAGES_PER_SEARCH = 8
"""Root to leaf of a B-tree of 100 million rows is 4 or 5 pages; a few more for entries that are dead."""

PAGES_PER_ROW_READ = 3.0
"""In a log where aggregates are interleaved, each row lies on a heap page of its own: 1 page, and the
index's share of 1/50. Room for index pages half empty and for row versions that are dead. A condition that
the index cannot narrow down costs its pages by the hundred instead. Of each table that a statement joins."""

PAGES_PER_ROW_WRITTEN = 100.0
"""Heap 1 or 2, TOAST 5, a descent of 4 or 5 for each index: 30 for an event store of 5 indexes, 70 with 12.
Reading the stream before the append, event by event, passes it for an aggregate of 100 events."""

ROWS_REMOVED_PER_ROW_MAX = 1.0
"""Half of what was fetched is thrown away: beyond, an index on the filtered column saves work."""

ROWS_REMOVED_CHEAP_PER_ROW_MAX = 10.0
PAGES_PER_ROW_CHEAP = 1.0
"""Where an answer took no more than the one page per row that scattered rows take, the rows thrown away
lay on pages that were read anyway. So the planner reads past the neighbours of a tenant who has a tenth of
the log or more; that depends on the tenant's share and not on the log's length."""

ROWS_REMOVED_FREE = 10.0
"""A look-up that returns a row or two may step over a few; they cost a page or two."""

ROWS_READ_PER_ROW_MAX = 2.0
"""One row from the table and one from a joined table; where more are joined, one from each."""

ROWS_READ_FREE = 100.0
"""A bounded look around: the 25 events on either side of an instant, the last event before an append."""

SERIALIZATION_SHARE_MAX = 0.5
SERIALIZATION_MS_MIN = 1.0
"""Beyond half, writing the answer out takes the server longer than finding it. A time, so the plan is not broken by
it; and of less than a millisecond nobody gains anything."""

TOAST_PAGES_PER_ROW_MIN = 0.01  # fewer are nothing that a larger toast_tuple_target would save

_NO_INDEX = ("", "none")


def expected_index(statement: Statement) -> str:
    """The index the statement names, "" for none."""
    return "" if statement.index in _NO_INDEX else statement.index


def judge(statement: Statement, plan: dict[str, Any], work: dict[str, float]) -> list[Finding]:
    """One finding per question. ``work`` is ``work_of(plan)``."""
    tables = tables_joined(plan)
    of_work = [
        judge_pages(work, tables),
        _rows_removed(work),
        _rows_read(work, tables),
        _sequential_scan(work),
        _sort(work),
        _temporary_files(work),
        *_serialization(work),
    ]
    return [_rows(work), _index(statement, plan, worst(of_work)), *of_work]


def spends_on_serialization(work: Mapping[str, float]) -> bool:
    """Whether the server spends more than a justified share of the statement's time on writing the answer out."""
    return (
        work.get("serialization_ms", 0.0) >= SERIALIZATION_MS_MIN
        and work["serialization_share"] > SERIALIZATION_SHARE_MAX
    )


def _serialization(work: Mapping[str, float]) -> list[Finding]:
    if "serialization_ms" not in work:
        return []
    return [
        Finding(
            name="serialization",
            verdict=Verdict.MET,
            observed=f"{work['serialization_ms']:.1f} ms, {work['serialization_share']:.0%} of the statement's time;"
            f" {work['toast_pages_per_row']:.2f} pages of TOAST per row",
            expected=f"at most {SERIALIZATION_SHARE_MAX:.0%}; more is a remark, not a fault",
            remedy=_cheaper_documents(work["toast_pages_per_row"]) if spends_on_serialization(work) else "",
        )
    ]


def _cheaper_documents(toast_pages_per_row: float) -> str:
    """What lets a server write documents out in less time, as far as the plan tells."""
    if toast_pages_per_row < TOAST_PAGES_PER_ROW_MIN:
        return "if documents are jsonb, store them as json; json is written out as it is stored"
    return (
        "if documents are jsonb, store them as json, and raise toast_tuple_target: fewer are then compressed and"
        " moved to TOAST"
    )


def _rows(work: dict[str, float]) -> Finding:
    writes = work["writes"] > 0
    seen = work["rows_written"] if writes else work["rows"]
    verb = "written" if writes else "returned"
    return Finding(
        name="rows",
        verdict=Verdict.MET if seen >= 1 else Verdict.INCONCLUSIVE,
        observed=f"{seen:.0f} {verb}",
        expected=f"at least 1 {verb}, or the plan has shown nothing",
        remedy=""
        if seen >= 1
        else "check whether the parameters still fit the table, and whether an old open transaction hides rows",
    )


def _index(statement: Statement, plan: dict[str, Any], of_work: Verdict) -> Finding:
    """The named index. One that is not used is a fault when the work is out of bounds, else a choice."""
    index, used = expected_index(statement), sorted(indexes_used(plan))
    observed = f"used {', '.join(used)}" if used else "used no index"
    if not index:
        return Finding(name="index", verdict=Verdict.MET, observed=observed, expected="no index is named")
    if index in used:
        return Finding(name="index", verdict=Verdict.MET, observed=observed, expected=f"the index {index}")
    if of_work is Verdict.MET:
        return Finding(
            name="index",
            verdict=Verdict.MET,
            observed=f"{observed}; the work is within bounds without {index}",
            expected=f"{index}, or no more work without it",
        )
    return Finding(
        name="index",
        verdict=Verdict.BROKEN,
        observed=observed,
        expected=f"the index {index}",
        remedy=f"check that {index} exists and is valid, that its first columns are compared with = to bare "
        "parameters of the columns' types, and that the table was analyzed",
    )


def judge_pages(work: dict[str, float], tables: int) -> Finding:
    """Whether the pages touched are in proportion to the rows returned or written, joined from so many tables."""
    writes = work["writes"] > 0
    rows = max(1.0, work["rows_written"] if writes else work["rows"])
    per_row = PAGES_PER_ROW_WRITTEN if writes else PAGES_PER_ROW_READ * tables
    looked_at = min(ROWS_READ_FREE, max(0.0, work["rows_read"] - work["rows"]))
    allowed = (
        per_row * rows
        + PAGES_PER_ROW_READ * looked_at
        + PAGES_PER_SEARCH * work["index_searches"]
        + work["small_scan_buffers"]
    )
    met = work["buffers"] <= allowed
    return Finding(
        name="pages",
        verdict=Verdict.MET if met else Verdict.BROKEN,
        observed=f"{work['buffers']:,.0f} pages for {rows:,.0f} row{'s' * (rows != 1)}, "
        f"{work['buffers'] / rows:.1f} per row",
        expected=f"at most {allowed:,.0f}: {per_row:g} per row, {PAGES_PER_SEARCH} per index searched",
        remedy=""
        if met
        else "create an index that begins with the columns compared with =, then the one that orders; if there "
        "is one, vacuum (dead rows) or reindex (an index grown sparse)",
    )


def _rows_removed(work: dict[str, float]) -> Finding:
    removed, per_row = work["rows_removed"], work["rows_removed_per_row"]
    cheap = not work["writes"] and work["buffers_per_row"] <= PAGES_PER_ROW_CHEAP
    allowed = ROWS_REMOVED_CHEAP_PER_ROW_MAX if cheap else ROWS_REMOVED_PER_ROW_MAX
    met = removed <= ROWS_REMOVED_FREE or per_row <= allowed
    return Finding(
        name="rows removed",
        verdict=Verdict.MET if met else Verdict.BROKEN,
        observed=f"{removed:,.0f} rows read and thrown away, {per_row:.3g} per row returned",
        expected=f"at most {allowed:g} per row"
        + (f", with no more than {PAGES_PER_ROW_CHEAP:g} page read per row" if cheap else ""),
        remedy=""
        if met
        else "put the filtered column into the index, and compare it bare: no function or cast on it",
    )


def _rows_read(work: dict[str, float], tables: int) -> Finding:
    rows = max(1.0, work["rows"], work["rows_written"])
    allowed = ROWS_READ_FREE + max(ROWS_READ_PER_ROW_MAX, tables) * rows
    met = work["rows_read"] <= allowed
    return Finding(
        name="rows read",
        verdict=Verdict.MET if met else Verdict.BROKEN,
        observed=f"{work['rows_read']:,.0f} rows read for {rows:,.0f} returned",
        expected=f"at most {allowed:.0f}",
        remedy=""
        if met
        else "read only the rows that are returned: an ordered index and a limit, not an aggregate, sort or join",
    )


def _sequential_scan(work: dict[str, float]) -> Finding:
    met = not work["seq_scans"]
    return Finding(
        name="sequential scan",
        verdict=Verdict.MET if met else Verdict.BROKEN,
        observed="none" if met else f"{work['seq_scan_buffers']:,.0f} pages scanned",
        expected=f"no scan of more than {SEQ_SCAN_PAGES_MAX} pages",
        remedy="" if met else "create an index for the statement's conditions and order",
    )


def _sort(work: dict[str, float]) -> Finding:
    met = not work["sorts"]
    return Finding(
        name="sort",
        verdict=Verdict.MET if met else Verdict.BROKEN,
        observed=f"{work['sort_rows']:.0f} rows sorted" if work["sort_rows"] else "none",
        expected=f"none of more than {SORT_ROWS_MAX} rows",
        remedy=""
        if met
        else "create an index in the order asked for; if there is one, the planner expected it to cost more than "
        "sorting: analyze the table",
    )


def _temporary_files(work: dict[str, float]) -> Finding:
    met = not work["temp_buffers"]
    return Finding(
        name="temporary files",
        verdict=Verdict.MET if met else Verdict.BROKEN,
        observed=f"{work['temp_buffers']:.0f} pages" if not met else "none",
        expected="none",
        remedy=""
        if met
        else "a sort, hash or bitmap of many rows spills to disk: avoid it, or raise work_mem",
    )
