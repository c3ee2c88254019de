"""What a store's tables are in the server's catalogue: types of columns, what fills them, how ids look."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg

from eventmark.engine.statements import quoted_schema
from eventmark.errors import StoreDefinitionError
from eventmark.stores.definition import StoreDefinition
from eventmark.text_files import read_text
from eventmark.workload import Naming

_RELATION = "select relkind::text as kind from pg_class where oid = to_regclass($1)"
# A domain is what it is made of, however many lie one over the other.
_COLUMNS = """
with recursive typed as (
    select attnum, atttypid as type from pg_attribute
    where attrelid = to_regclass($1) and attnum > 0 and not attisdropped
    union all
    select attnum, t.typbasetype from typed join pg_type t on t.oid = typed.type where t.typtype = 'd'
)
select a.attname::text as name, format_type(a.atttypid, a.atttypmod) as declared,
    -- "character" alone would be of one character, wherever it is written
    case when t.oid = 'bpchar'::regtype then 'bpchar' else format_type(t.oid, null) end as type,
    t.typtype::text as kind, a.attgenerated <> '' as generated, a.attidentity = 'a' as identity,
    a.attnotnull and not a.atthasdef and a.attidentity = '' as needed,
    (select typdefault is not null from pg_type d where d.oid = a.atttypid) as domain_default,
    coalesce(pg_get_expr(d.adbin, d.adrelid), '') as expression,
    (select coalesce(array_agg(enumlabel::text order by enumsortorder), '{}') from pg_enum
        where enumtypid = t.oid) as labels
from typed join pg_attribute a on a.attrelid = to_regclass($1) and a.attnum = typed.attnum
join pg_type t on t.oid = typed.type and t.typtype <> 'd'
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
order by a.attnum
"""
_KEY_OF_DOCUMENT = re.compile(r"""\(*("?)(?P<column>\w+)\1 ->> '(?P<key>[^']+)'::text\)*(::[a-z0-9 ]+\)?)*""")

TEXTS = ("text", "character varying", "bpchar", "citext")
_NUMBERS = ("smallint", "integer", "bigint", "numeric")
_IDS = (*TEXTS, "uuid", "smallint", "integer", "bigint", "numeric")
_DOCUMENTS = ("jsonb", "json", *TEXTS, "bytea")
_TIMES = ("timestamp with time zone", "timestamp without time zone", *TEXTS, "bigint")

_OPTIONAL = ("expected_version", "timestamp_utc", "event_id", "stream_id", "payload_revision", "metadata")

TAKEN_TYPES: dict[str, tuple[str, ...]] = {
    "global_sequence_id": ("integer", "bigint", "numeric"),
    "transaction_id": ("xid8", "bigint", "numeric"),
    "sequence_number": _NUMBERS,
    "expected_version": _NUMBERS,
    "timestamp_utc": _TIMES,
    "event_id": ("uuid", *TEXTS, "bytea"),
    "tenant_id": _IDS,
    "stream_id": TEXTS,
    "aggregate_type": (*TEXTS, "enum"),
    "aggregate_id": tuple(name for name in _IDS if name != "smallint"),
    "event_type": (*TEXTS, "enum"),
    "payload_type": TEXTS,
    "payload_revision": TEXTS,
    "payload": _DOCUMENTS,
    "metadata": _DOCUMENTS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """``type`` is what a domain is made of, or "enum"; ``declared`` is how the table has it.

    ``needed``: a row cannot be without a value for it. ``key`` is the document's column and key that a generated
    column takes its value from.
    """

    name: str
    type: str
    declared: str
    generated: bool
    identity: bool
    needed: bool
    labels: tuple[str, ...]
    key: tuple[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The columns of both tables by their own names; ``kind`` is the relation's: "r", "p" or "v"."""

    kind: str
    events: Mapping[str, Column]
    snapshots: Mapping[str, Column]
    naming: Naming

    def type_of(self, definition: StoreDefinition, name: str) -> str:
        """The type of Eventmark's column ``name``; "" for one that is not mapped."""
        column = self.events.get(definition.columns.get(name, ""))
        return column.type if column else ""


async def read_shape(connection: asyncpg.Connection[Any], definition: StoreDefinition, schema: str) -> Shape:
    """The shape of the store in ``schema``. Raises ``StoreDefinitionError`` for what cannot be filled or read."""
    kind, events = await _columns(connection, schema, definition.events_table)
    snapshots: dict[str, Column] = {}
    if definition.snapshots_table is not None:
        _, snapshots = await _columns(connection, schema, definition.snapshots_table)
    types = {name: events[column].type for name, column in definition.columns.items() if column in events}
    return Shape(kind=kind, events=events, snapshots=snapshots, naming=_naming(definition, types))


async def read_naming(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, schema: str
) -> Naming:
    """How the store in ``schema`` names what is put into it."""
    return Naming() if definition.engine else (await read_shape(connection, definition, schema)).naming


def check_shape(definition: StoreDefinition, shape: Shape) -> None:
    """Raises ``StoreDefinitionError`` by the line of store.toml for a column that the seeder cannot fill."""
    for error in _mistakes(definition, shape):
        raise error


def check_types(definition: StoreDefinition, shape: Shape) -> None:
    """Raises ``StoreDefinitionError`` by the line of store.toml for a column of a type that it cannot stand for."""
    for name, own in definition.columns.items():
        if own not in definition.seeded_columns and shape.events[own].type not in TAKEN_TYPES[name]:
            raise _wrong_type(definition, shape.events[own], name)


def _naming(definition: StoreDefinition, types: Mapping[str, str]) -> Naming:
    def form(name: str) -> str:
        sql_type = types.get(name, "text")
        return "bigint" if sql_type == "numeric" else sql_type if sql_type not in TEXTS else "text"

    return Naming(
        tenant=form("tenant_id") if definition.has_tenants else "none",
        stream=form("aggregate_id"),
        event_types=definition.event_types,
        aggregate_types=definition.aggregate_types,
    )


async def _columns(
    connection: asyncpg.Connection[Any], schema: str, table: str
) -> tuple[str, dict[str, Column]]:
    relation = f'{quoted_schema(schema)}."{table}"'
    kind: str = await connection.fetchval(_RELATION, relation) or ""
    columns = {}
    for row in await connection.fetch(_COLUMNS, relation):
        key = _KEY_OF_DOCUMENT.fullmatch(row["expression"]) if row["generated"] else None
        columns[row["name"]] = Column(
            name=row["name"], type="enum" if row["kind"] == "e" else row["type"], declared=row["declared"],
            generated=row["generated"], identity=row["identity"], needed=row["needed"] and not row["domain_default"],
            labels=tuple(row["labels"]), key=(key["column"], key["key"]) if key else None,
        )  # fmt: skip
    return kind, columns


def _mistake(
    definition: StoreDefinition, column: Column, name: str, reason: str, remedy: str
) -> StoreDefinitionError:
    toml = definition.directory / "store.toml"
    return StoreDefinitionError(
        f"column {column.name!r} (for {name}) {reason}",
        path=str(toml),
        line=line_of(toml, column.name),
        remedy=remedy,
    )


def _wrong_type(definition: StoreDefinition, column: Column, name: str) -> StoreDefinitionError:
    known = ", ".join(TAKEN_TYPES[name])
    reason = f"is {column.declared}, which Eventmark does not fill"
    leave = "; or leave the line out" if name in _OPTIONAL else ""
    return _mistake(definition, column, name, reason, f"it may be {known}{leave}")


def _mistakes(definition: StoreDefinition, shape: Shape) -> Iterator[StoreDefinitionError]:
    toml = definition.directory / "store.toml"
    documents = {definition.columns.get(name) for name in ("payload", "metadata")}
    table = definition.events_table
    if shape.kind not in ("r", "p", "v"):
        yield StoreDefinitionError(
            f"{table!r} is neither a table nor a view", path=str(toml), line=line_of(toml, table),
            remedy="name the table that holds the events, or a view of it",
        )  # fmt: skip
    if shape.kind == "v" and not definition.seed_script:
        yield StoreDefinitionError(
            f"{table!r} is a view, which the seeder cannot fill", path=str(toml), line=line_of(toml, table),
            remedy="write seed.sql: it inserts seeded_events into the tables that the view reads",
        )  # fmt: skip
    mistake = partial(_mistake, definition)

    for name, own in definition.columns.items():
        column = shape.events[own]
        if own in definition.seeded_columns:
            continue
        if column.type not in TAKEN_TYPES[name]:
            yield _wrong_type(definition, column, name)
        if column.type == "enum" and not (kinds := _kinds(definition, name)):
            labels = ", ".join(f'"{label}"' for label in column.labels)
            yield mistake(column, name, f"takes only {labels}", f"write above [tables]: {name}s = [{labels}]")
        elif column.type == "enum" and (foreign := set(kinds) - set(column.labels)):
            yield mistake(column, name, f"does not take {sorted(foreign)[0]!r}", f"change the line {name}s")
        if column.generated and (column.key is None or column.key[0] not in documents):
            yield mistake(
                column, name, "is generated by an expression that the seeder cannot invert",
                f"write into [seeded_columns] an SQL expression for the column that {own!r} is made from",
            )  # fmt: skip
    if definition.seed_script:
        return
    mapped = {*definition.columns.values(), *definition.seeded_columns}
    for column in shape.events.values():
        if column.needed and column.name not in mapped and not column.generated:
            yield StoreDefinitionError(
                f"column {column.name!r} of {definition.events_table!r} is NOT NULL without a default,"
                " and nothing fills it",
                path=str(toml),
                remedy=f'map it in [columns], or write an SQL expression: [seeded_columns], {column.name} = "..."',
            )


def _kinds(definition: StoreDefinition, name: str) -> tuple[str, ...]:
    return definition.event_types if name == "event_type" else definition.aggregate_types


def instant_sql(column: str, sql_type: str) -> str:
    """A column of instants as SQL with its zone, whatever type it has."""
    if sql_type == "bigint":
        return f"to_timestamp({column} / 1000.0)"
    if sql_type == "timestamp without time zone":
        return f"({column} at time zone 'UTC')"
    return column if sql_type == "timestamp with time zone" else f"{column}::timestamptz"


def line_of(path: Path, value: str) -> int:
    """Where ``= "value"`` stands in a settings file; its first line where that is not to be found."""
    lines = read_text(path).split("\n") if path.exists() else []
    return next((number for number, line in enumerate(lines, 1) if f'= "{value}"' in line), 1)
