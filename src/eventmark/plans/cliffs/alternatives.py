"""What a plan did, done otherwise: the same statement with the node that did most of the work taken away.

PostgreSQL says what a plan would cost by its own estimate, and not what it would do. So each alternative is run:
with that kind of node switched off, or with its index dropped in a transaction that is rolled back. The latter
is why this is for tables of our own alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from eventmark.engine.statements import Statement, quoted_schema
from eventmark.plans.capture import Changes, explain
from eventmark.plans.sampling import quoted_name
from eventmark.plans.shape import figures_of, shape_of, summary_of
from eventmark.plans.work import Node, buffers_of, nodes, work_of

DISABLED_COST = (
    1e9  # before PostgreSQL 18 a node that is switched off and used all the same costs ten times this
)

_SWITCHES = {
    "Seq Scan": ("enable_seqscan",),
    "Index Scan": ("enable_indexscan", "enable_indexonlyscan"),
    "Index Only Scan": ("enable_indexscan", "enable_indexonlyscan"),
    "Bitmap Heap Scan": ("enable_bitmapscan",),
    "Bitmap Index Scan": ("enable_bitmapscan",),
    "Sort": ("enable_sort",),
    "Incremental Sort": ("enable_incremental_sort",),
    "Hash Join": ("enable_hashjoin",),
    "Hash": ("enable_hashjoin",),
    "Merge Join": ("enable_mergejoin",),
    "Nested Loop": ("enable_nestloop",),
    "Materialize": ("enable_material",),
    "Memoize": ("enable_memoize",),
}

_CONSTRAINT_OF_INDEX = (
    "select conname, conrelid::regclass::text as relation from pg_constraint where conindid = to_regclass($1)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Another plan of the same statement: what was taken away, what it did, and what the planner thinks it costs.

    ``cost`` is None where the server's figure says nothing. ``index`` is the one it had to do without, or "".
    """

    name: str
    index: str
    work: dict[str, float]
    cost: float | None
    summary: str
    figures: str


async def try_alternatives(
    connection: asyncpg.Connection[Any],
    statement: Statement,
    schema: str,
    arguments: Sequence[object],
    plan: Node,
    *,
    generic: bool,
    timeout_s: float,
) -> tuple[Alternative, ...]:
    """Each alternative that makes another plan and runs; none where the server has no other."""
    alternatives = []
    shapes = {shape_of(plan)}
    async for name, index, changes in _changes(connection, schema, plan, timeout_s):
        try:
            other = await explain(connection, statement, schema, arguments, generic=generic, changes=changes)
        except asyncpg.PostgresError:  # there is no such plan, or it takes too long to be an alternative
            continue
        if shape_of(other) in shapes:
            continue
        shapes.add(shape_of(other))
        cost = float(other.get("Total Cost", 0.0))
        alternatives.append(
            Alternative(
                name=name, index=index, work=work_of(other), cost=cost if cost < DISABLED_COST else None,
                summary=summary_of(other), figures=figures_of(other),
            )
        )  # fmt: skip
    return tuple(alternatives)


def heaviest(plan: Node) -> Node:
    """The node that did most by itself: pages touched, then rows thrown away."""

    def own(node: Node) -> tuple[float, float]:
        below = sum(buffers_of(child) for child in node.get("Plans", ()))
        removed = float(node.get("Rows Removed by Filter", 0)) * float(node.get("Actual Loops", 0))
        return buffers_of(node) - below, removed

    return max(nodes(plan), key=own)


async def _changes(
    connection: asyncpg.Connection[Any], schema: str, plan: Node, timeout_s: float
) -> AsyncIterator[tuple[str, str, Changes]]:
    """What to take away, one after the other: its name, the index or "", and how."""
    node = heaviest(plan)
    for index in dict.fromkeys(_indexes_of(node)):
        dropping = await _drop(connection, schema, index)
        yield f"without the index {index}", index, Changes(statements=[dropping], timeout_s=timeout_s)
    kinds = [str(node["Node Type"])]
    kinds += [kind for kind in ("Sort", "Incremental Sort") if kind not in kinds and _has(plan, kind)]
    for kind in kinds:
        if kind in _SWITCHES:
            settings = dict.fromkeys(_SWITCHES[kind], "off")
            yield f"without {kind}", "", Changes(settings=settings, timeout_s=timeout_s)


def _has(plan: Node, kind: str) -> bool:
    return any(node["Node Type"] == kind for node in nodes(plan))


def _indexes_of(node: Node) -> Iterator[str]:
    """The index of a scan, or those of the bitmap below it."""
    for scan in nodes(node) if node["Node Type"] == "Bitmap Heap Scan" else [node]:
        if "Index Name" in scan:
            yield str(scan["Index Name"])


async def _drop(connection: asyncpg.Connection[Any], schema: str, index: str) -> str:
    """The statement that drops an index, with the constraint that it may belong to."""
    name = f"{quoted_schema(schema)}.{quoted_name(index)}"
    row = await connection.fetchrow(_CONSTRAINT_OF_INDEX, name)
    if row is None:
        return f"drop index {name}"
    return f"alter table {row['relation']} drop constraint {quoted_name(row['conname'])}"
