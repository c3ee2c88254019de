"""Indexes that are too many or too few, as candidates: by their definitions, by their use, and by plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg

from eventmark.adviser.candidate import Candidate, Trial, with_index, without_index
from eventmark.adviser.copies import Copies
from eventmark.adviser.index_facts import IndexFacts, drop_candidates, read_indexes
from eventmark.adviser.missing import missing_indexes
from eventmark.adviser.table_facts import read_table
from eventmark.adviser.trial import SchemaState
from eventmark.adviser.wal import AppendWal
from eventmark.plans.sampling import quoted_name
from eventmark.plans.work import indexes_used

IN_ORDER_MIN = 0.95
"""Of ``pg_stats.correlation``, either way: below, a range of pages holds values from all over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexUse:
    """An index as it is: its size, and how often the store's operations and plans searched it.

    ``wal_share`` is its part of the WAL of an append; None where that is not known.
    """

    name: str
    definition: str
    bytes: int
    scans: int
    wal_share: float | None = None


async def index_candidates(
    copies: Copies,
    connection: asyncpg.Connection[Any],
    before: SchemaState,
    operations: Mapping[str, int],
    wal: AppendWal,
) -> tuple[list[Candidate], list[IndexUse]]:
    """What the changed copy's indexes, and the plans of ``before``, give rise to; and how each index is used.

    ``operations`` is how often each was searched while the store's operations ran.
    """
    indexes = await read_indexes(connection, copies.changed, copies.tables)
    scans = {index.name: operations.get(index.name, 0) + _searched(before, index.name) for index in indexes}
    named = {statement.index for statement in copies.definition.statements.values()} | copies.protected
    columns = {
        table: [column.name for column in (await read_table(connection, copies.changed, table)).columns]
        for table in copies.tables
    }
    correlations = await _correlations(connection, copies.changed)
    candidates = [
        *brin_candidates([index for index in indexes if index.name not in copies.protected], correlations),
        *(
            without_index(drop_candidate)
            for drop_candidate in drop_candidates(indexes, named=named, scans=scans)
        ),
        *(with_index(missing_index) for missing_index in missing_indexes(before.work, columns, indexes)),
    ]
    use = [
        IndexUse(
            name=index.name,
            definition=index.definition,
            bytes=index.bytes,
            scans=scans[index.name],
            wal_share=wal.share(index.name),
        )
        for index in indexes
    ]
    return candidates, use


async def _correlations(connection: asyncpg.Connection[Any], schema: str) -> dict[tuple[str, str], float]:
    """Of columns whose values the server has seen to lie in order, or not, by table and column."""
    rows = await connection.fetch(
        "select tablename::text, attname::text, correlation from pg_stats where schemaname = $1"
        " and correlation is not null",
        schema,
    )
    return {(row["tablename"], row["attname"]): row["correlation"] for row in rows}


def brin_candidates(
    indexes: Sequence[IndexFacts], correlations: Mapping[tuple[str, str], float]
) -> list[Candidate]:
    """BRIN in place of trees on one column whose rows lie in its order. What it gives no order to has to sort then."""
    return [
        _as_brin(index, correlation)
        for index in indexes
        if index.method == "btree"
        and not (index.is_unique or index.is_partitioned or index.predicate or index.included)
        and len(index.expressions) == 1
        and abs(correlation := correlations.get((index.table, index.expressions[0]), 0.0)) >= IN_ORDER_MIN
    ]  # fmt: skip


def _as_brin(index: IndexFacts, correlation: float) -> Candidate:
    column, old, new = index.expressions[0], quoted_name(index.name), quoted_name(f"{index.name[:57]}_brin")
    on = f"on {quoted_name(index.table)} using brin ({quoted_name(column)})"
    return Candidate(
        kind="index",
        name=f"index {index.name} as BRIN",
        reason=f"rows lie in the order of {column} (correlation {correlation:.2f}): a range of pages needs one entry",
        apply=(f"create index {new} {on}", f"drop index {old}"),
        revert=(f"drop index {new}", index.definition),
        script=(
            f"create index concurrently if not exists {new} {on}",
            f"drop index concurrently if exists {old}",
        ),
        risk="BRIN gives no order, and rows that come late make its ranges overlap",
    )


def judged_by_reads(trial: Trial) -> Trial:
    """An index is only added for reads that it makes cheaper."""
    if trial.candidate.adds_work and not trial.refusal and not trial.better:
        return replace(trial, refusal="no statement does less with it")
    return trial


def _searched(state: SchemaState, index: str) -> int:
    """In how many of the plans the index was searched."""
    return sum(index in indexes_used(case.plan) for case in state.work.values() if case.plan)
