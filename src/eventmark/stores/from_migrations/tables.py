"""What migrations have made, from the server's catalogue."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

_TABLES = """
select c.oid::bigint as id, c.relname::text as name, quote_ident(c.relname) as sql
from pg_class c
where c.relnamespace = $1::text::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
    and c.relname not like 'eventmark%'
order by c.oid
"""
# A domain is what it is made of, however many lie one over the other.
_COLUMNS = """
with recursive typed as (
    select attrelid, attnum, atttypid as type from pg_attribute
    where attrelid = any($1::bigint[]::oid[]) and attnum > 0 and not attisdropped
    union all
    select attrelid, attnum, t.typbasetype from typed join pg_type t on t.oid = typed.type where t.typtype = 'd'
)
select a.attrelid::bigint as id, a.attname::text as name, quote_ident(a.attname) as sql,
    case when t.typtype = 'e' then 'enum' else format_type(t.oid, null) end as type,
    format_type(t.oid, null) as declared,
    a.attnotnull as required, a.attidentity::text as identity, a.attgenerated <> '' as generated,
    coalesce(pg_get_expr(d.adbin, d.adrelid), '') as expression,
    (select coalesce(array_agg(enumlabel::text order by enumsortorder), '{}') from pg_enum where enumtypid = t.oid)
        as labels
from typed join pg_attribute a using (attrelid, attnum) join pg_type t on t.oid = typed.type and t.typtype <> 'd'
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
order by a.attrelid, a.attnum
"""
_INDEXES = """
select i.indrelid::bigint as id, c.relname::text as name, i.indisunique and i.indpred is null as is_unique,
    array(
        select coalesce(a.attname::text, '')
        from unnest(i.indkey[0:i.indnkeyatts - 1]) with ordinality k (number, place)
        left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number order by place
    ) as columns
from pg_index i join pg_class c on c.oid = i.indexrelid
where i.indrelid = any($1::bigint[]::oid[]) order by i.indisprimary desc, c.oid
"""
_REFERENCES = """
select k.conrelid::bigint as id, k.confrelid::bigint as target,
    array(select a.attname::text from unnest(k.conkey) with ordinality n (number, place)
        join pg_attribute a on a.attrelid = k.conrelid and a.attnum = n.number order by place) as columns,
    array(select a.attname::text from unnest(k.confkey) with ordinality n (number, place)
        join pg_attribute a on a.attrelid = k.confrelid and a.attnum = n.number order by place) as targets
from pg_constraint k
where k.contype = 'f' and k.conrelid = any($1::bigint[]::oid[]) and k.conparentid = 0
"""
_CHECKS = """
select conrelid::bigint as id, pg_get_constraintdef(oid) as definition from pg_constraint
where contype = 'c' and conrelid = any($1::bigint[]::oid[])
"""
_FUNCTIONS = """
select quote_ident(proname) as name from pg_proc
where pronamespace = $1::text::regnamespace and prorettype <> 'trigger'::regtype and proname not like 'eventmark%'
    and prosrc ~* 'insert[[:space:]]+into' order by 1
"""
_SEQUENCES = """
select c.relname::text as name from pg_class c
where c.relkind = 'S' and c.relnamespace = $1::text::regnamespace
    and not exists (
        select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'i'
    )
    and not exists (
        select from pg_depend d where d.classid = 'pg_attrdef'::regclass and d.refclassid = 'pg_class'::regclass
            and d.refobjid = c.oid
    )
order by 1
"""
_ANY_OF = re.compile(r'\(\(*"?(?P<column>\w+)"?\)?(?:::text)? = ANY \(\(?ARRAY\[(?P<values>.*?)\]')
_VALUE = re.compile(r"'((?:[^']|'')*)'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """``type`` is what a domain is made of, or "enum"; ``values`` are all that it takes, where they are few."""

    name: str
    sql: str
    type: str
    declared: str
    required: bool
    is_identity: bool
    generated: bool
    expression: str
    values: tuple[str, ...]

    @property
    def counts(self) -> bool:
        """Whether a sequence fills it."""
        return self.is_identity or "nextval(" in self.expression

    @property
    def needed(self) -> bool:
        """Whether a row cannot be without a value for it."""
        return self.required and not (self.is_identity or self.generated or self.expression)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Its columns in order; an expression is ""."""

    name: str
    is_unique: bool
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A foreign key: to which table, and which columns to which."""

    table: str
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of the migrations'; ``columns`` by name, in order."""

    name: str
    sql: str
    columns: Mapping[str, Column]
    indexes: tuple[Index, ...]
    references: tuple[Reference, ...]

    def index_on(self, *columns: str) -> str:
        """The name of an index that begins with these columns, the first ones in any order but the last; or ""."""
        for index in self.indexes:
            first = index.columns[: len(columns)]
            if set(first) == set(columns) and first[-1] == columns[-1]:
                return index.name
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Everything that matters of a schema.

    ``functions`` are those that insert, triggers' left out; ``sequences`` are those that fill no column by themselves.
    """

    tables: Mapping[str, Table]
    functions: tuple[str, ...]
    sequences: tuple[str, ...]


async def read_made(connection: asyncpg.Connection[Any], schema: str) -> Made:
    """What is in ``schema``, which must be first on the search path."""
    tables = await connection.fetch(_TABLES, schema)
    ids = [row["id"] for row in tables]
    columns, indexes, references, checks = [
        await connection.fetch(query, ids) for query in (_COLUMNS, _INDEXES, _REFERENCES, _CHECKS)
    ]
    names = {row["id"]: row["name"] for row in tables}
    made = {}
    for table in tables:
        values = dict(_values(row["definition"]) for row in checks if row["id"] == table["id"])
        made[table["name"]] = Table(
            name=table["name"],
            sql=table["sql"],
            columns={
                row["name"]: _column(row, values.get(row["name"], ()))
                for row in columns if row["id"] == table["id"]
            },
            indexes=tuple(
                Index(name=row["name"], is_unique=row["is_unique"], columns=tuple(row["columns"]))
                for row in indexes if row["id"] == table["id"]
            ),
            references=tuple(
                Reference(
                    table=names.get(row["target"], ""), columns=dict(zip(row["columns"], row["targets"], strict=True))
                )
                for row in references if row["id"] == table["id"]
            ),
        )  # fmt: skip
    functions = await connection.fetch(_FUNCTIONS, schema)
    sequences = await connection.fetch(_SEQUENCES, schema)
    return Made(
        tables=made,
        functions=tuple(row["name"] for row in functions),
        sequences=tuple(row["name"] for row in sequences),
    )


def _column(row: asyncpg.Record, values: tuple[str, ...]) -> Column:
    return Column(
        name=row["name"], sql=row["sql"], type=row["type"], required=row["required"],
        declared="text" if row["type"] == "character" else row["declared"],  # a cast to it would cut
        is_identity=row["identity"] != "", generated=row["generated"],
        expression="" if row["generated"] else row["expression"], values=tuple(row["labels"]) or values,
    )  # fmt: skip


def _values(definition: str) -> tuple[str, tuple[str, ...]]:
    """The column of a check that lists all values, and these; nothing of any other check."""
    match = _ANY_OF.search(definition)
    if match is None:
        return "", ()
    return match["column"], tuple(value.replace("''", "'") for value in _VALUE.findall(match["values"]))
