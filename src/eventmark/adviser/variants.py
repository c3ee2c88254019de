"""Variants of the table that make it anew: compression, room in pages, order and types of columns, partitions.

Each is a candidate, or says why it cannot be tried on this store.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import numpy as np

from eventmark.adviser.candidate import Candidate, Trial
from eventmark.adviser.copies import Copies
from eventmark.adviser.documents import (
    LONG_ROW_BYTES,
    Documents,
    document_candidates,
    use_of_columns,
)
from eventmark.adviser.index_facts import IndexFacts, read_indexes
from eventmark.adviser.rebuild import NOT_CARRIED_OVER, Partitioning, by_hash, by_range, rebuild_statements
from eventmark.adviser.repeats import repeated_columns
from eventmark.adviser.table_facts import (
    ColumnFacts,
    TableFacts,
    best_order,
    read_table,
    row_bytes,
    sampled_sizes,
)
from eventmark.engine.statements import quoted_schema
from eventmark.plans.sampling import quoted_name

ROOMY_FILLFACTOR = 70
SAVED_BYTES_MIN = 8.0  # of a row: rows are rounded up to it
SAMPLED_ROWS = 1000
RANGES = 4
REBUILT = "rebuilt"  # the group of variants of which each makes the table anew out of what it was

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_REBUILT = f"the table is rewritten, and locked meanwhile; {NOT_CARRIED_OVER} must be created again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The table of events as it is, and what of it is needed to say what could be otherwise."""

    table: TableFacts
    indexes: Sequence[IndexFacts]
    columns: dict[str, str]  # ours to the table's
    sizes: Sequence[dict[str, int]]
    uuid_columns: Sequence[str]
    compression_methods: Sequence[str]
    compression_default: str
    time_limits: Sequence[str]
    documents: Documents
    repeats: Mapping[str, str]

    @property
    def owner(self) -> str:
        return quoted_name(self.table.name)

    @property
    def level(self) -> tuple[str, ...]:
        """The table made anew as it is."""
        return self.rebuilt()

    def rebuilt(
        self,
        *,
        order: Sequence[ColumnFacts] | None = None,
        partitioning: Partitioning | None = None,
        values: Mapping[str, str] | None = None,
    ) -> tuple[str, ...]:
        """The table made anew otherwise, its rows in the log's order."""
        log = [
            self.columns[name] for name in ("transaction_id", "global_sequence_id") if name in self.columns
        ]
        return rebuild_statements(
            self.table, self.indexes, order=order, partitioning=partitioning, values=values, rows_by=log
        )


async def read_subject(copies: Copies, connection: asyncpg.Connection[Any], schema: str) -> Subject:
    definition = copies.definition
    table = await read_table(connection, schema, definition.events_table)
    setting = await connection.fetchrow(
        "select enumvals, setting from pg_settings where name = 'default_toast_compression'"
    )
    assert setting is not None
    relation = f"{quoted_schema(schema)}.{quoted_name(table.name)}"
    limits = None
    if "timestamp_utc" in definition.columns:
        limits = await connection.fetchval(
            f"select percentile_disc($1::float8[]) within group (order by"
            f" {quoted_name(definition.columns['timestamp_utc'])})::text[] from {relation}",
            [number / RANGES for number in range(1, RANGES)],
        )
    indexes = await read_indexes(connection, schema, [table.name])
    return Subject(
        table=table,
        indexes=indexes,
        columns=definition.read_columns,
        sizes=await sampled_sizes(connection, schema, table, SAMPLED_ROWS),
        uuid_columns=await _uuid_columns(connection, relation, table),
        compression_methods=setting["enumvals"],
        compression_default=setting["setting"],
        time_limits=list(dict.fromkeys(limits or [])),
        documents=await _read_documents(copies, connection, schema, table),
        repeats=await _read_repeats(connection, relation, table, indexes),
    )


async def _read_repeats(
    connection: asyncpg.Connection[Any], relation: str, table: TableFacts, indexes: Sequence[IndexFacts]
) -> dict[str, str]:
    """What columns of text repeat, in rows from everywhere in the table; those of indexes are kept."""
    texts = _texts(table)
    if not texts:
        return {}
    named = ", ".join(map(quoted_name, texts))
    rows = await connection.fetch(
        f"select {named} from {relation} order by hashtext({quoted_name(texts[0])} || ctid::text) limit {SAMPLED_ROWS}"
    )
    kept = {column for index in indexes for column in index.expressions}
    return repeated_columns([dict(row) for row in rows], kept)


def _texts(table: TableFacts) -> list[str]:
    return [column.name for column in table.columns if column.sql_type.startswith(("text", "character var"))]


def _repeats(subject: Subject) -> list[Candidate | Trial]:
    """Told, not tried: statements would have to be written otherwise."""
    candidates: list[Candidate | Trial] = []
    for column, repeated in subject.repeats.items():
        sizes = [row[column] for row in subject.sizes if column in row]
        told = f"{np.mean(sizes):.0f} bytes in each row looked at" if sizes else "in each row looked at"
        reason = f"{told}; it can go when no statement writes or reads it"
        candidates.append(not_tried("repeated column", f"{column} repeats {repeated}", reason))
    return candidates


async def _read_documents(
    copies: Copies, connection: asyncpg.Connection[Any], schema: str, events: TableFacts
) -> Documents:
    definition = copies.definition
    others = [await read_table(connection, schema, table) for table in copies.tables if table != events.name]
    tables = [
        events,
        *(other for other in others if any(column.sql_type == "jsonb" for column in other.columns)),
    ]
    columns = {definition.columns[name] for name in ("payload", "metadata") if name in definition.columns}
    jsonb = {column.name for table in tables for column in table.columns if column.sql_type == "jsonb"}
    lengths = " + ".join(
        f"coalesce(octet_length({quoted_name(column.name)}{'' if column.sql_type == 'bytea' else '::text'}), 0)"
        for column in events.columns
    )
    share = await connection.fetchval(
        f"select avg((({lengths}) > {LONG_ROW_BYTES})::int)::float8 from"
        f" (select * from {quoted_schema(schema)}.{quoted_name(events.name)} limit {SAMPLED_ROWS}) as looked_at"
    )
    return Documents(
        tables=tables, names=frozenset(columns), uses=use_of_columns(definition.statements, frozenset(jsonb)),
        long_rows_share=share or 0.0, of_engine=bool(definition.engine),
    )  # fmt: skip


def variants(subject: Subject) -> list[Candidate | Trial]:
    """Everything that is known to make a difference on some store; what cannot be tried is a trial refused."""
    return [
        *document_candidates(subject.documents),
        _compression(subject),
        _fillfactor(subject),
        _order(subject),
        *_types(subject),
        *_repeats(subject),
        _partitions_by_tenant(subject),
        _partitions_by_time(subject),
    ]


def not_tried(kind: str, name: str, reason: str) -> Trial:
    return Trial(
        candidate=Candidate(kind=kind, name=name, reason="", apply=(), script=(), risk=""), refusal=reason
    )


async def _uuid_columns(connection: asyncpg.Connection[Any], relation: str, table: TableFacts) -> list[str]:
    """Columns of text whose values, as far as looked at, are all UUIDs."""
    texts = _texts(table)
    if not texts:
        return []
    rows = await connection.fetch(
        f"select {', '.join(map(quoted_name, texts))} from {relation} limit {SAMPLED_ROWS}"
    )
    return [name for name in texts if rows and all(_UUID.fullmatch(row[name] or "") for row in rows)]


def _compression(subject: Subject) -> Candidate | Trial:
    kind, name = "compression", "compress long values by lz4"
    if "lz4" not in subject.compression_methods:
        return not_tried(kind, name, "the server was built without lz4")
    documents = {subject.columns[name] for name in ("payload", "metadata") if name in subject.columns}
    methods = {"l": "lz4", "p": "pglz"}
    changed = [
        column
        for column in subject.table.columns
        if column.name in documents
        and column.compresses
        and methods.get(column.compression, subject.compression_default) != "lz4"
    ]
    if not changed:
        return not_tried(kind, name, "they already are, or nothing is compressed")
    script = tuple(
        f"alter table {subject.owner} alter column {quoted_name(column.name)} set compression lz4"
        for column in changed
    )
    order = [
        replace(column, compression="l") if column in changed else column for column in subject.table.columns
    ]
    return Candidate(
        kind=kind, name=name, reason="documents are compressed by pglz, which takes more of the processor",
        apply=subject.rebuilt(order=order, values={column.name: _anew(column) for column in changed}),
        script=script, risk="rows that are stored stay as they are; lz4 may take a little more room",
        level=subject.level, group=REBUILT,
    )  # fmt: skip


def _anew(column: ColumnFacts) -> str:
    """The value made again, so that it is compressed again."""
    name = quoted_name(column.name)
    return f"({name}::text)::{column.sql_type}" if column.sql_type.startswith("json") else f"({name} || '')"


def _fillfactor(subject: Subject) -> Candidate | Trial:
    kind, name = "fillfactor", f"indexes filled to {ROOMY_FILLFACTOR}% when built"
    trees = [index for index in subject.indexes if index.method == "btree" and not index.is_partitioned]
    if not trees:
        return not_tried(kind, name, "the table has no such index")
    sets = [f"alter index {quoted_name(tree.name)} set (fillfactor = {ROOMY_FILLFACTOR})" for tree in trees]
    return Candidate(
        kind=kind, name=name, reason="entries that come in between find room, and pages are split less often",
        apply=(*sets, f"reindex table {subject.owner}"),
        script=(*sets, f"reindex table concurrently {subject.owner}"),
        risk="indexes are a quarter larger; it lasts until the room is used up",
        level=(f"reindex table {subject.owner}",),
    )  # fmt: skip


def _order(subject: Subject) -> Candidate | Trial:
    kind, name = "column order", "columns ordered by alignment"
    order = best_order(subject.table.columns)
    now, then = (_mean_bytes(columns, subject.sizes) for columns in (subject.table.columns, order))
    text = f"a row's values take {now:.1f} bytes, and {then:.1f} in the order that aligns best"
    if now - then < SAVED_BYTES_MIN:
        return not_tried(kind, name, f"{text}: nothing to be gained")
    rebuilt = subject.rebuilt(order=order)
    return Candidate(
        kind=kind, name=name, reason=text, apply=rebuilt, script=rebuilt, risk=_REBUILT,
        level=subject.level, group=REBUILT,
    )  # fmt: skip


def _mean_bytes(order: Sequence[ColumnFacts], sizes: Sequence[dict[str, int]]) -> float:
    return float(np.mean([row_bytes(order, size) for size in sizes])) if sizes else 0.0


def _types(subject: Subject) -> list[Candidate | Trial]:
    """Text that holds nothing but UUIDs."""
    candidates: list[Candidate | Trial] = []
    ours = {column: name for name, column in subject.columns.items()}
    for column in subject.uuid_columns:
        name = quoted_name(column)
        holding = sum(column in index.expressions for index in subject.indexes)
        order = [
            replace(facts, sql_type="uuid") if facts.name == column else facts
            for facts in subject.table.columns
        ]
        rebuilt = subject.rebuilt(order=order, values={column: f"{name}::uuid"})
        change = f"alter table {subject.owner} alter column {name} type uuid using {name}::uuid"
        candidates.append(
            Candidate(
                kind="column type", name=f"{column} as uuid",
                reason=f"all values looked at are UUIDs: 16 bytes instead of 37, in the table and {holding} indexes",
                apply=rebuilt, script=(change,), risk=_REBUILT, level=subject.level, group=REBUILT,
                weakens=f"other values of {column} than UUIDs would be refused",
                parameter_types={ours[column]: "uuid"} if column in ours else {},
            )
        )  # fmt: skip
    return candidates or [
        not_tried("column type", "text as uuid", "no column of text holds nothing but UUIDs")
    ]


def _partitions_by_tenant(subject: Subject) -> Candidate | Trial:
    column = subject.columns.get("tenant_id")
    if column is None:
        return not_tried("partitions", "partitioned by tenant", "the store has no tenants")
    return _partitioned(subject, "by tenant", column, by_hash(column))


def _partitions_by_time(subject: Subject) -> Candidate | Trial:
    column = subject.columns.get("timestamp_utc")
    if column is None:
        return not_tried("partitions", "partitioned by time", "the store keeps no time of its events")
    return _partitioned(subject, "by time", column, by_range(column, subject.time_limits))


def _partitioned(subject: Subject, how: str, column: str, partitioning: Partitioning) -> Candidate | Trial:
    kind, name = "partitions", f"partitioned {how}"
    if subject.table.is_partitioned:
        return not_tried(kind, name, "the table is partitioned already")
    lacking = [index.name for index in subject.indexes if index.is_unique and column not in index.expressions]
    if lacking:
        return not_tried(
            kind,
            name,
            f"PostgreSQL requires {column} in every unique index, and {lacking[0]} lacks it",
        )
    rebuilt = subject.rebuilt(partitioning=partitioning)
    return Candidate(
        kind=kind, name=name, reason=f"smaller indexes, and old rows that can be detached; {partitioning.by}",
        apply=rebuilt, script=rebuilt, risk=_REBUILT, level=subject.level,
        group=REBUILT,
    )  # fmt: skip
