"""Seeding of tables that are not laid out as Eventmark's own: by way of a temporary table, in SQL.

A batch of the corpus is copied into ``_RAW``, in Eventmark's columns and types. The view ``seeded_events`` shows it
under the same names in the types of the store's columns. From there seed.sql fills what has to be there besides the
events, and one INSERT puts the events into their table, unless seed.sql does that too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg

from eventmark.engine.statements import quoted_schema
from eventmark.errors import StoreDefinitionError
from eventmark.stores.definition import EVENT_COLUMNS, StoreDefinition
from eventmark.stores.script import ScriptStatement, seed_statements
from eventmark.stores.shape import TEXTS, Column, Shape

RAW = "eventmark_staged"
SEEDED = "seeded_events"

RAW_TYPES = {
    "global_sequence_id": "bigint", "transaction_id": "xid8", "sequence_number": "bigint", "expected_version": "bigint",
    "timestamp_utc": "timestamptz", "event_id": "uuid", "payload": "json", "metadata": "json",
}  # fmt: skip
_ISO = """to_char({0} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
# From Eventmark's types to those of a column, where a cast of the text is not what is wanted.
_CONVERSIONS = {
    ("timestamptz", "timestamp with time zone"): "{0}",
    ("timestamptz", "timestamp without time zone"): "({0} at time zone 'UTC')",
    ("timestamptz", "bigint"): "(extract(epoch from {0}) * 1000)::bigint",
    ("uuid", "bytea"): "uuid_send({0})",
    ("json", "bytea"): "convert_to({0}::text, 'UTF8')",
    **{("timestamptz", text): _ISO for text in TEXTS},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """``prepare`` once for a connection; for each batch, once it is in ``RAW``, ``before`` and then ``insert``."""

    prepare: tuple[str, ...]
    before: tuple[ScriptStatement, ...]
    insert: str

    async def fill(self, connection: asyncpg.Connection[Any]) -> None:
        """From ``RAW`` into the store's tables. Errors are the driver's."""
        for statement in self.before:
            await connection.execute(statement.sql)
        if self.insert:
            await connection.execute(self.insert)

    async def fill_beside(self, connection: asyncpg.Connection[Any]) -> None:
        """Only what has to be there besides the events."""
        for statement in self.before if self.insert else ():
            try:
                await connection.execute(statement.sql)
            except asyncpg.PostgresError as error:
                raise StoreDefinitionError(
                    str(error).partition("\n")[0], path=str(statement.path), line=statement.line
                ) from None


def staging_of(definition: StoreDefinition, shape: Shape, schema: str) -> Staging:
    """Raises ``StoreDefinitionError`` for a seed.sql that does what it may not do."""
    before = tuple(seed_statements(definition, schema))
    inserts = any(definition.events_table in statement.inserts_into for statement in before)
    raw = ", ".join(f"{name} {RAW_TYPES.get(name, 'text')}" for name in EVENT_COLUMNS)
    shown = ", ".join(f"{_shown(definition, shape, name)} as {name}" for name in EVENT_COLUMNS)
    return Staging(
        prepare=(
            f"create temporary table if not exists {RAW} ({raw}) on commit delete rows",
            f"create or replace temporary view {SEEDED} as select {shown} from {RAW}",
        ),
        before=before,
        insert="" if inserts or (shape.kind == "v" and before) else _insert(definition, shape, schema),
    )


def _shown(definition: StoreDefinition, shape: Shape, name: str) -> str:
    raw = RAW_TYPES.get(name, "text")
    value = name if name != "sequence_number" else f"({name} + {definition.first_sequence - 1})"
    column = shape.events.get(definition.columns.get(name, ""))
    if column is None:
        return value
    conversion = _CONVERSIONS.get((raw, column.type))
    if conversion is not None:
        return conversion.format(value)
    # Never to a length: a cast would cut off what an insert refuses.
    return value if column.type == raw else f"{value}::text::{_type_name(column)}"


def _type_name(column: Column) -> str:
    return column.declared if column.type == "enum" else column.type


def _insert(definition: StoreDefinition, shape: Shape, schema: str) -> str:
    filled = dict(_filled(definition, shape))
    columns = ", ".join(f'"{column}"' for column in filled)
    overriding = (
        " overriding system value" if any(column.identity for column in shape.events.values()) else ""
    )
    return (
        f'insert into {quoted_schema(schema)}."{definition.events_table}" ({columns}){overriding}'
        f" select {', '.join(filled.values())} from {SEEDED} order by global_sequence_id"
    )


def _filled(definition: StoreDefinition, shape: Shape) -> Iterator[tuple[str, str]]:
    """The table's columns and what they are filled with; keys that others are generated from go into documents."""
    keys: dict[str, list[str]] = {}
    for name, own in definition.columns.items():
        if (key := shape.events[own].key) is not None:
            keys.setdefault(key[0], []).append(f"'{key[1]}', {name}")
    for name, own in definition.columns.items():
        if own in definition.seeded_columns or shape.events[own].generated:
            continue
        if own in keys:
            yield (
                own,
                f"({name}::jsonb || jsonb_build_object({', '.join(keys[own])}))::{shape.events[own].type}",
            )
        else:
            yield own, name
    for own, expression in definition.seeded_columns.items():
        yield own, f"({expression})"
