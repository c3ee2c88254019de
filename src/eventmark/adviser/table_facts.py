"""A table's columns, checks and triggers as facts, and what alignment leaves empty between its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from eventmark.engine.statements import quoted_schema

ALIGNMENT_BYTES = {"c": 1, "s": 2, "i": 4, "d": 8}
TUPLE_BYTES = 8  # a row's length is rounded up to it
SHORT_BYTES_MAX = 127  # a value of variable length up to here has one byte of header, and is not aligned
TOAST_ROW_BYTES = 2008  # beyond, the longest values go to the TOAST table; the row's header is left out
TOAST_POINTER_BYTES = 18

_COLUMNS = """
select
    a.attname::text as name,
    format_type(a.atttypid, a.atttypmod) as sql_type,
    a.attlen::integer as length,
    a.attalign::text as alignment,
    a.attstorage::text as storage,
    a.attcompression::text as compression,
    a.attnotnull as is_not_null,
    a.attidentity::text as identity,
    a.attgenerated::text as generated,
    coalesce(pg_get_expr(d.adbin, d.adrelid, true), '') as default_expression,
    coalesce(pg_get_serial_sequence($1, a.attname)::regclass::text, '') as sequence,
    case when a.attcollation <> t.typcollation then a.attcollation::regcollation::text else '' end as collation
from pg_attribute a
join pg_type t on t.oid = a.atttypid
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attrelid = $1::text::regclass and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""

_CHECKS = """
select conname::text as name, pg_get_constraintdef(oid, true) as definition
from pg_constraint where conrelid = $1::text::regclass and contype = 'c' order by conname
"""

# tgtype: 1 row, 2 before, 4 insert
_TRIGGERS = """
select
    t.tgname::text as name,
    (t.tgtype & 5) = 5 as is_per_row,
    (t.tgtype & 2) = 2 as is_before,
    pg_get_triggerdef(t.oid, true) as definition,
    t.tgenabled::text as enabled,
    p.prosrc as source
from pg_trigger t join pg_proc p on p.oid = t.tgfoid
where t.tgrelid = $1::text::regclass and not t.tgisinternal and t.tgenabled <> 'D'
order by t.tgname
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFacts:
    """One column. ``length`` is -1 where it varies; ``alignment`` is the catalogue's letter."""

    name: str
    sql_type: str
    length: int
    alignment: str
    storage: str
    compression: str
    is_not_null: bool
    identity: str
    generated: str
    default_expression: str
    sequence: str
    collation: str

    @property
    def compresses(self) -> bool:
        """Whether long values are compressed: of variable length, and not stored as they are."""
        return self.length == -1 and self.storage in ("x", "m")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFacts:
    name: str
    definition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerFacts:
    """A trigger that is switched on. ``is_per_row``: run for each row inserted."""

    name: str
    is_per_row: bool
    is_before: bool
    definition: str
    enabled: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """A table. ``options`` are its storage parameters, such as ``fillfactor=70``."""

    name: str
    columns: tuple[ColumnFacts, ...]
    checks: tuple[CheckFacts, ...]
    triggers: tuple[TriggerFacts, ...]
    options: tuple[str, ...]
    is_partitioned: bool


async def read_table(connection: asyncpg.Connection[Any], schema: str, table: str) -> TableFacts:
    """The table's facts; SQL in them does not name the schema."""
    relation = f'{quoted_schema(schema)}."{table}"'
    async with connection.transaction():
        await connection.execute(f"set local search_path = {quoted_schema(schema)}")
        columns = await connection.fetch(_COLUMNS, relation)
        checks = await connection.fetch(_CHECKS, relation)
        triggers = await connection.fetch(_TRIGGERS, relation)
        row = await connection.fetchrow(
            "select coalesce(reloptions, '{}') as options, relkind = 'p' as is_partitioned from pg_class"
            " where oid = $1::text::regclass",
            relation,
        )
    assert row is not None
    return TableFacts(
        name=table,
        columns=tuple(ColumnFacts(**dict(column)) for column in columns),
        checks=tuple(CheckFacts(**dict(check)) for check in checks),
        triggers=tuple(TriggerFacts(**dict(trigger)) for trigger in triggers),
        options=tuple(row["options"]),
        is_partitioned=row["is_partitioned"],
    )


async def sampled_sizes(
    connection: asyncpg.Connection[Any], schema: str, table: TableFacts, rows: int
) -> list[dict[str, int]]:
    """Of some rows, the bytes each column takes in them; a column that is null is left out."""
    sizes = ", ".join(f'pg_column_size("{column.name}")' for column in table.columns)
    fetched = await connection.fetch(
        f'select {sizes} from {quoted_schema(schema)}."{table.name}" limit $1', rows
    )
    names = [column.name for column in table.columns]
    return [
        {name: size for name, size in zip(names, row, strict=True) if size is not None} for row in fetched
    ]


def best_order(columns: Sequence[ColumnFacts]) -> list[ColumnFacts]:
    """The columns so that alignment leaves the least empty: widest first, then those of variable length.

    Within a width, and among the latter, their order stays.
    """

    def rank(column: ColumnFacts) -> tuple[bool, int]:
        return column.length < 0, 0 if column.length < 0 else -_boundary(column)

    return sorted(columns, key=rank)


def row_bytes(columns: Sequence[ColumnFacts], sizes: Mapping[str, int]) -> int:
    """Bytes of a row's values in this order of columns, without its header; ``sizes`` by column.

    After the server's rules: a value is aligned to its type's boundary, unless it is of variable length and
    short, or lies in the TOAST table.
    """
    offset, in_row = 0, _in_row(sizes)
    for column in columns:
        size = in_row.get(column.name)
        if size is None:
            continue
        if column.length >= 0 or size > SHORT_BYTES_MAX:
            offset += -offset % _boundary(column)
        offset += size
    return offset + -offset % TUPLE_BYTES


def _in_row(sizes: Mapping[str, int]) -> dict[str, int]:
    """The sizes with pointers for the values that go to the TOAST table, the longest first."""
    left = dict(sizes)
    while sum(left.values()) > TOAST_ROW_BYTES:
        longest = max(left, key=lambda name: left[name])
        if left[longest] <= TOAST_POINTER_BYTES:
            break
        left[longest] = TOAST_POINTER_BYTES
    return left


def _boundary(column: ColumnFacts) -> int:
    return ALIGNMENT_BYTES[column.alignment]
