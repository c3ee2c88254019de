"""Indexes that are too many or too few, as candidates: by their definitions, by their use, and by plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import asyncpg

from eventmark.adviser.candidate import Candidate, Trial, with_index, without_index
from eventmark.adviser.copies import Copies
from eventmark.adviser.index_facts import drop_candidates, read_indexes
from eventmark.adviser.missing import missing_indexes
from eventmark.adviser.table_facts import read_table
from eventmark.adviser.trial import State
from eventmark.plans.work import indexes_used


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexUse:
    """An index as it is: its size, and how often the store's operations and plans searched it."""

    name: str
    definition: str
    bytes: int
    scans: int


async def index_candidates(
    copies: Copies,
    connection: asyncpg.Connection[Any],
    before: State,
    operations: Mapping[str, int],
) -> tuple[list[Candidate], list[IndexUse]]:
    """What the changed copy's indexes, and the plans of ``before``, give rise to; and how each index is used.

    ``operations`` is how often each was searched while the store's operations ran.
    """
    indexes = await read_indexes(connection, copies.changed, copies.tables)
    scans = {one.name: operations.get(one.name, 0) + _searched(before, one.name) for one in indexes}
    named = {statement.index for statement in copies.definition.statements.values()}
    columns = {
        table: [one.name for one in (await read_table(connection, copies.changed, table)).columns]
        for table in copies.tables
    }
    candidates = [
        *(without_index(one) for one in drop_candidates(indexes, named=named, scans=scans)),
        *(with_index(one) for one in missing_indexes(before.work, columns, indexes)),
    ]
    use = [
        IndexUse(name=one.name, definition=one.definition, bytes=one.bytes, scans=scans[one.name])
        for one in indexes
    ]
    return candidates, use


def judged_by_reads(trial: Trial) -> Trial:
    """An index is only added for reads that it makes cheaper."""
    if trial.candidate.adds_work and not trial.refusal and not trial.better:
        return replace(trial, refusal="no statement does less with it")
    return trial


def _searched(state: State, index: str) -> int:
    """In how many of the plans the index was searched."""
    return sum(index in indexes_used(one.plan) for one in state.work.values() if one.plan)
