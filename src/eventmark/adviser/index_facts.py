"""The indexes of a store as facts, and those that may be too many: by their definitions and by their use.

Nothing here says that an index can go. It says which are worth a trial, and why.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from eventmark.engine.statements import quoted_schema

# Pretty printed, names that the search path leads to stand unqualified: the definition is right in every schema.
_INDEXES = """
select
    c.relname::text as name,
    t.relname::text as "table",
    am.amname::text as method,
    i.indisunique as is_unique,
    i.indnullsnotdistinct as nulls_are_equal,
    i.indisreplident as is_replica_identity,
    c.relkind = 'I' as is_partitioned,
    coalesce(con.conname::text, '') as "constraint",
    array(
        select concat_ws(
            ' ', pg_get_indexdef(i.indexrelid, k, true), i.indclass[k - 1], i.indcollation[k - 1], i.indoption[k - 1]
        )
        from generate_series(1, i.indnkeyatts) as k order by k
    ) as keys,
    array(
        select pg_get_indexdef(i.indexrelid, k, true) from generate_series(i.indnkeyatts + 1, i.indnatts) as k
        order by k
    ) as included,
    coalesce(pg_get_expr(i.indpred, i.indrelid, true), '') as predicate,
    pg_get_indexdef(i.indexrelid, 0, true) as definition,
    coalesce(pg_get_constraintdef(con.oid, true), '') as constraint_definition,
    coalesce(
        (select sum(pg_relation_size(relid))::bigint from pg_partition_tree(i.indexrelid) where isleaf),
        pg_relation_size(i.indexrelid)
    ) as bytes,
    coalesce(
        (select sum(pg_stat_get_numscans(relid))::bigint from pg_partition_tree(i.indexrelid) where isleaf),
        pg_stat_get_numscans(i.indexrelid)
    ) as scans
from pg_index i
join pg_class c on c.oid = i.indexrelid
join pg_class t on t.oid = i.indrelid
join pg_am am on am.oid = c.relam
left join pg_constraint con
    on con.conindid = i.indexrelid and con.conrelid = i.indrelid and con.contype in ('p', 'u', 'x')
where t.relnamespace = $1::text::regnamespace and t.relname = any($2::text[]) and i.indisvalid
order by t.relname, c.relname
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFacts:
    """One index. ``keys`` are expressions with operator class, collation and direction: equal ones order alike.

    ``definition`` and ``constraint_definition`` are SQL without the schema's name, for a search path that leads to it.
    ``scans`` are since the server counts.
    """

    name: str
    table: str
    method: str
    is_unique: bool
    nulls_are_equal: bool
    is_replica_identity: bool
    is_partitioned: bool
    constraint: str
    keys: tuple[str, ...]
    included: tuple[str, ...]
    predicate: str
    definition: str
    constraint_definition: str
    bytes: int
    scans: int

    @property
    def expressions(self) -> tuple[str, ...]:
        """The keys without what orders them: column names, for most indexes."""
        return tuple(key.rsplit(" ", 3)[0] for key in self.keys)

    @property
    def shape(self) -> tuple[object, ...]:
        """Equal for indexes that hold the same entries in the same order."""
        return self.table, self.method, self.keys, frozenset(self.included), self.predicate


@dataclass(frozen=True, slots=True, kw_only=True)
class DropCandidate:
    """An index that may be one too many. ``kind``: duplicate, prefix, overlapping or unused."""

    index: IndexFacts
    kind: str
    reason: str


async def read_indexes(
    connection: asyncpg.Connection[Any], schema: str, tables: Sequence[str]
) -> list[IndexFacts]:
    """The valid indexes of the tables, with what the server has counted of their use."""
    async with connection.transaction():
        await connection.execute(f"set local search_path = {quoted_schema(schema)}")
        rows = await connection.fetch(_INDEXES, quoted_schema(schema), list(tables))
    return [
        IndexFacts(**{**dict(row), "keys": tuple(row["keys"]), "included": tuple(row["included"])})
        for row in rows
    ]


def drop_candidates(
    indexes: Sequence[IndexFacts], *, named: Collection[str], scans: dict[str, int]
) -> list[DropCandidate]:
    """Indexes worth a trial without them, the most obvious kind first.

    ``named`` are those that the store's statements ask for by name; ``scans`` is how often each was searched
    while every operation ran. An index that keeps rows from coming twice is none, unless another keeps them
    from it as well; nor is that of another kind of constraint, or the one that replication knows rows by.
    """
    candidates = []
    for index in indexes:
        others = [other for other in indexes if other.table == index.table and other is not index]
        if _is_kept(index, others):
            continue
        twin = next((other for other in others if _makes_superfluous(other, index, named)), None)
        if twin is not None:
            candidates.append(
                _candidate(index, "duplicate", f"{twin.name} holds the same entries in the same order")
            )
        elif index.name in named:
            continue
        elif longer := next((other for other in others if _begins_with(other, index)), None):
            candidates.append(_candidate(index, "prefix", f"{longer.name} begins with its columns"))
        elif shorter := next((other for other in others if _overlaps(index, other)), None):
            candidates.append(
                _candidate(index, "overlapping", f"{shorter.name} leads to the same rows with fewer columns")
            )
        elif not scans.get(index.name, 0):
            candidates.append(_candidate(index, "unused", "no statement of the store has searched it"))
    kinds = ("duplicate", "unused", "overlapping", "prefix")
    return sorted(
        candidates,
        key=lambda candidate: (kinds.index(candidate.kind), -candidate.index.bytes, candidate.index.name),
    )


def _candidate(index: IndexFacts, kind: str, reason: str) -> DropCandidate:
    return DropCandidate(index=index, kind=kind, reason=reason)


def _is_kept(index: IndexFacts, others: Sequence[IndexFacts]) -> bool:
    """Whether it does more than to lead to rows."""
    if index.is_replica_identity:
        return True
    if index.is_unique:
        return index.constraint_definition.startswith("PRIMARY KEY") or not _is_implied(index, others)
    return bool(index.constraint)


def _is_implied(index: IndexFacts, others: Sequence[IndexFacts]) -> bool:
    """Whether another unique index allows no row that this one refuses."""
    return not index.nulls_are_equal and any(
        other.is_unique and not other.predicate and set(other.keys) <= set(index.keys) for other in others
    )


def _makes_superfluous(other: IndexFacts, index: IndexFacts, named: Collection[str]) -> bool:
    """Of two that are alike, which stays: unique before not, a constraint's before none, named before not."""

    def rank(facts: IndexFacts) -> tuple[bool, bool, bool]:
        return facts.is_unique, bool(facts.constraint), facts.name in named

    return other.shape == index.shape and (rank(other), index.name) > (
        rank(index),
        other.name,
    )


def _begins_with(longer: IndexFacts, index: IndexFacts) -> bool:
    """Whether whatever this index finds, the longer one finds by its first columns."""
    return (
        longer.method == index.method == "btree"
        and len(longer.keys) > len(index.keys)
        and longer.keys[: len(index.keys)] == index.keys
        and longer.predicate in ("", index.predicate)
        and set(index.included) <= {*longer.included, *longer.expressions}
    )


def _overlaps(index: IndexFacts, other: IndexFacts) -> bool:
    """Whether the other begins this one, or holds all rows of one that holds some."""
    begun = other.method == index.method and other.keys == index.keys[: len(other.keys)]
    return begun and other.predicate in ("", index.predicate) and other.shape != index.shape
