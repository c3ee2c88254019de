"""The work a plan did, counted from what the server measured while running it.

Per-loop averages are multiplied by the loops they are averages of. The server rounds some of these
averages to whole rows, so less than half a row per loop is not seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Node = dict[str, Any]

ROWS_WRITTEN = "Rows Written"
"""Beside the keys of a plan's root: rows in the table that the statement wrote most to, where it writes."""

SEQ_SCAN_PAGES_MAX = 100  # 800 kB: a table that is read whole about as quickly as it is searched
SORT_ROWS_MAX = 100  # a bounded handful, such as a look around one place in the log

_REMOVED = ("Rows Removed by Filter", "Rows Removed by Index Recheck", "Rows Removed by Join Filter")
_INDEX_SCANS = ("Index Scan", "Index Only Scan", "Bitmap Index Scan")
_TABLE_SCANS = (
    "Seq Scan", "Sample Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Tid Scan",
    "Tid Range Scan",
)  # fmt: skip
_JOINS = ("Nested Loop", "Hash Join", "Merge Join")
_SORTS = ("Sort", "Incremental Sort")


def nodes(plan: Node) -> Iterator[Node]:
    """The node and all below it, parents first."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def indexes_used(plan: Node) -> set[str]:
    """Names of the indexes that were searched, and of those that decided ON CONFLICT."""
    used = set()
    for node in nodes(plan):
        if "Index Name" in node and _loops(node) > 0:
            used.add(node["Index Name"])
        used.update(node.get("Conflict Arbiter Indexes", ()))
    return used


def tables_joined(plan: Node) -> int:
    """How many tables each row of the answer is put together from."""
    return 1 + sum(node["Node Type"] in _JOINS for node in nodes(plan))


def work_of(plan: Node) -> dict[str, float]:
    """Totals of one execution.

    ``rows`` returned; ``rows_written``; ``rows_read`` from tables and indexes; ``rows_removed`` after
    having been read. ``*_per_row`` is per row written where the statement writes, else per row returned,
    and per statement where there was no such row. ``buffers`` are pages touched in shared memory or read
    into it; ``small_scan_buffers`` those of sequential scans of at most ``SEQ_SCAN_PAGES_MAX`` pages, which
    count neither as ``seq_scans`` nor as rows read or removed. ``sorts`` handled more than
    ``SORT_ROWS_MAX`` rows. ``estimate_factor`` is how many times more rows than planned came from the
    scan that was most underestimated. Where the server tells it: ``serialization_ms``, a part of ``execution_ms``, and
    ``serialization_share``; ``serialized_kb``; ``toast_pages_per_row``, pages that writing out an answer looked at.
    """
    every = list(nodes(plan))
    small = [node for node in every if _is_small_scan(node)]
    judged = [node for node in every if not _is_small_scan(node)]
    writes = [node for node in every if node["Node Type"] == "ModifyTable"]
    # A function that writes is one node: what it wrote was counted by the server
    hidden = 0.0 if writes else float(plan.get(ROWS_WRITTEN, 0))
    rows, written = _rows(plan), sum(_rows_written(node) for node in writes) + hidden
    basis = max(1.0, written if writes or hidden else rows)
    # Not the root's figure alone: a WITH that writes and is not read to its end runs after the root
    buffers = max(buffers_of(node) for node in every)
    removed = sum(_rows_removed(node) for node in judged)
    sorted_rows = [_rows_sorted(node) for node in every if node["Node Type"] in _SORTS]
    return {
        "rows": rows,
        "writes": float(len(writes) or hidden > 0),
        "rows_written": written,
        "rows_read": sum(_rows(node) for node in judged if node["Node Type"] in _TABLE_SCANS),
        "rows_removed": removed,
        "rows_removed_per_row": removed / basis,
        "buffers": buffers,
        "buffers_per_row": buffers / basis,
        "small_scan_buffers": sum(buffers_of(node) for node in small),
        "index_searches": float(sum(n["Node Type"] in _INDEX_SCANS and _loops(n) > 0 for n in every)),
        "heap_fetches": float(sum(node.get("Heap Fetches", 0) for node in every)),
        "sorts": float(sum(count > SORT_ROWS_MAX for count in sorted_rows)),
        "sort_rows": max(sorted_rows, default=0.0),
        "seq_scans": float(sum(node["Node Type"] == "Seq Scan" for node in judged)),
        "seq_scan_buffers": sum(buffers_of(node) for node in judged if node["Node Type"] == "Seq Scan"),
        "temp_buffers": max(_temp_buffers(node) for node in every),
        "wal_bytes": float(max(node.get("WAL Bytes", 0) for node in every)),
        "estimate_factor": max((_estimate_factor(node) for node in every), default=1.0),
        "execution_ms": float(plan.get("Execution Time", 0.0)),
        "planning_ms": float(plan.get("Planning Time", 0.0)),
        **_serialization(plan, max(1.0, rows)),
    }


def _serialization(plan: Node, rows: float) -> dict[str, float]:
    """Of PostgreSQL 17 and later. What has been fetched from TOAST lay outside of the pages that the nodes count."""
    if not (told := plan.get("Serialization")):
        return {}
    spent, whole = float(told["Time"]), float(plan["Execution Time"])
    return {
        "serialization_ms": spent,
        "serialization_share": spent / whole if whole else 0.0,
        "serialized_kb": float(told["Output Volume"]),
        "toast_pages_per_row": buffers_of(told) / rows,
        "planning_memory_kb": float(plan.get("Planning", {}).get("Memory Used", 0)),
    }


def _loops(node: Node) -> float:
    return float(node.get("Actual Loops", 0))


def _rows(node: Node) -> float:
    return float(node.get("Actual Rows", 0)) * _loops(node)


def buffers_of(node: Node) -> float:
    return float(node.get("Shared Hit Blocks", 0) + node.get("Shared Read Blocks", 0))


def _temp_buffers(node: Node) -> float:
    return float(node.get("Temp Read Blocks", 0) + node.get("Temp Written Blocks", 0))


def _rows_removed(node: Node) -> float:
    return float(sum(node.get(key, 0) for key in _REMOVED)) * _loops(node)


def _is_small_scan(node: Node) -> bool:
    return node["Node Type"] == "Seq Scan" and buffers_of(node) <= SEQ_SCAN_PAGES_MAX


def _rows_written(node: Node) -> float:
    """What a ModifyTable was given; without the rows that ON CONFLICT DO NOTHING left out."""
    if node.get("Conflict Resolution") == "NOTHING":
        return float(node.get("Tuples Inserted", 0))
    return sum(_rows(child) for child in node.get("Plans", ()) if child.get("Parent Relationship") == "Outer")


def _rows_sorted(node: Node) -> float:
    """Rows that one sort handled at once; an incremental sort handles a group at a time."""
    given = sum(
        float(child.get("Actual Rows", 0))
        for child in node.get("Plans", ())
        if child.get("Parent Relationship") == "Outer"
    )
    groups = sum(
        node.get(kind, {}).get("Group Count", 0) for kind in ("Full-sort Groups", "Pre-sorted Groups")
    )
    return float(given / max(1, groups))


def _estimate_factor(node: Node) -> float:
    """Rows that came for each row that was planned, per loop; never below 1.

    Fewer than planned is what every scan under a LIMIT gives, and says nothing of the plan.
    """
    if node["Node Type"] not in _TABLE_SCANS or not _loops(node):
        return 1.0
    actual, planned = max(1.0, float(node["Actual Rows"])), max(1.0, float(node["Plan Rows"]))
    return actual / planned if actual > planned else 1.0
