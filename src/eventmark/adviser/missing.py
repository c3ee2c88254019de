"""Indexes that a plan lacks: the columns it filters and sorts by without one that leads to the rows.

A proposal is no advice. It is tried, and the plans that follow say what it is worth.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eventmark.adviser.ablate import CaseKey, CaseWork
from eventmark.adviser.index_facts import IndexFacts
from eventmark.plans.judge import ROWS_REMOVED_FREE
from eventmark.plans.work import SEQ_SCAN_PAGES_MAX, SORT_ROWS_MAX, Node, nodes

PROPOSALS_MAX = 5
COLUMNS_MAX = 4

_SCANS = ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan")
_CONDITIONS = ("Index Cond", "Recheck Cond", "Filter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """An index on ``columns``, which ``statements`` want under so many conditions."""

    table: str
    columns: tuple[str, ...]
    statements: tuple[str, ...]
    cases: int
    pages: float  # touched by the dearest of them

    @property
    def name(self) -> str:
        """A name of at most 63 characters."""
        return "_".join(("advised", self.table, *self.columns))[:63]


def missing_indexes(
    work: Mapping[CaseKey, CaseWork],
    columns: Mapping[str, Sequence[str]],
    existing: Sequence[IndexFacts],
) -> list[Proposal]:
    """Proposals from all plans, what the dearest plan wants first. ``columns`` are those of each table.

    None for what an index begins with that is there: a plan that does not use it has another reason.
    """
    wanted: dict[tuple[str, tuple[str, ...]], list[tuple[str, float]]] = {}
    for (statement, _), case in work.items():
        for table, names in _wanted(case.plan, columns):
            if not any(index.table == table and _leads(index, names) for index in existing):
                wanted.setdefault((table, names), []).append((statement, case.work["buffers"]))
    proposals = [
        Proposal(
            table=table, columns=names, statements=tuple(sorted({name for name, _ in by})), cases=len(by),
            pages=max(pages for _, pages in by),
        )
        for (table, names), by in wanted.items()
    ]  # fmt: skip
    return sorted(proposals, key=lambda proposal: (-proposal.pages, proposal.columns))[:PROPOSALS_MAX]


def _leads(index: IndexFacts, columns: tuple[str, ...]) -> bool:
    return not index.predicate and set(index.expressions[: len(columns)]) == set(columns)


def _wanted(plan: Node, columns: Mapping[str, Sequence[str]]) -> Iterable[tuple[str, tuple[str, ...]]]:
    if not plan:
        return
    order = _sorted_by(plan)
    for node in nodes(plan):
        table = str(node.get("Relation Name", ""))
        if node["Node Type"] not in _SCANS or table not in columns or not (order or _throws_away(node)):
            continue
        names = _columns_of(node, columns[table], order)
        if names:
            yield table, names


def _throws_away(node: Mapping[str, Any]) -> bool:
    """Whether a scan reads much more than it hands on."""
    loops = float(node.get("Actual Loops", 0))
    removed = (node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)) * loops
    pages = node.get("Shared Hit Blocks", 0) + node.get("Shared Read Blocks", 0)
    if node["Node Type"] == "Seq Scan":
        return bool(removed > 0 and pages > SEQ_SCAN_PAGES_MAX)
    return bool(removed > max(ROWS_REMOVED_FREE, float(node.get("Actual Rows", 0)) * loops))


def _sorted_by(plan: Node) -> Sequence[str]:
    """What the plan sorts many rows by, as the server prints it."""
    for node in nodes(plan):
        children = node.get("Plans", ())
        rows = max((float(child.get("Actual Rows", 0)) for child in children), default=0.0)
        if node["Node Type"] == "Sort" and rows > SORT_ROWS_MAX:
            return list(node["Sort Key"])
    return []


def _columns_of(node: Node, columns: Sequence[str], order: Sequence[str]) -> tuple[str, ...]:
    """Columns compared with = first, then those it is sorted by, else those it is a range of."""
    condition = " ".join(str(node[name]) for name in _CONDITIONS if name in node)
    equal = [column for column in columns if re.search(rf"\b{re.escape(column)}\b\)?(::\w+)? = ", condition)]
    sorted_by = [column for key in order for column in columns if re.search(rf"\b{re.escape(column)}\b", key)]
    ranged = [
        column
        for column in sorted(columns, key=lambda column: _place(column, condition))
        if _place(column, condition) >= 0
    ]
    wanted = dict.fromkeys([*equal, *(sorted_by or ranged)])
    return tuple(wanted)[:COLUMNS_MAX]


def _place(column: str, condition: str) -> int:
    match = re.search(rf"\b{re.escape(column)}\b", condition)
    return match.start() if match else -1
