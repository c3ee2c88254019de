"""A copy of a seeded store in a schema of its own, to do to it what must not be done to the corpus.

Nobody vacuums or analyses the copy but who made it: its statistics and its visibility map are as old as they are
left to be.
"""

from __future__ import annotations

from typing import Any

import asyncpg

from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError
from eventmark.seeding.indexes import set_next_position
from eventmark.server.search_path import confine
from eventmark.stores import StoreDefinition, drop_scratch, index_statements, install_store

_COLUMNS = (
    "select attname from pg_attribute where attrelid = to_regclass($1) and attnum > 0 and not attisdropped"
    " and attgenerated = '' order by attnum"
)
_TABLES = (
    "select relname from pg_class where relnamespace = to_regnamespace($1) and relkind = 'r'"
    " and relname not like 'eventmark\\_%'"
)


async def make_empty_copy(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, schema: str
) -> None:
    """The store's tables in ``schema``, without indexes that come after a load, in place of what was there of ours.

    From then on, unqualified names of the connection lead to the copy.
    Raises ``CannotRunError`` for a schema that is not Eventmark's, and for a store that is more than its events.
    """
    if definition.seed_script:
        raise CannotRunError(
            f"store {definition.name!r} cannot be copied: its events need the other tables that seed.sql fills",
            remedy="ask run, verify, explain and load, which work on the store itself",
        )
    await drop_scratch(connection, schema)
    await install_store(connection, definition, schema, with_indexes=False)
    await confine(connection, schema)  # what hangs on the copy's tables must not lead back to the corpus
    for row in await connection.fetch(_TABLES, quoted_schema(schema)):
        await connection.execute(
            f'alter table {quoted_schema(schema)}."{row["relname"]}"'
            " set (autovacuum_enabled = off, toast.autovacuum_enabled = off)"
        )


async def copy_events(
    connection: asyncpg.Connection[Any],
    definition: StoreDefinition,
    source: str,
    target: str,
    *,
    first: int,
    count: int,
) -> int:
    """Events ``first`` (from 0) and so many after it, in the order of the log; how many there were."""
    names = [
        definition.columns[name]
        for name in ("transaction_id", "global_sequence_id")
        if name in definition.columns
    ]
    order = ", ".join(f'"{name}"' for name in names)
    copied = await _copy_rows(
        connection, definition.events_table, source, target, f"order by {order} limit {count} offset {first}"
    )
    last = await connection.fetchval(
        f'select max("{definition.columns["global_sequence_id"]}") from {_table(target, definition.events_table)}'
    )
    if last is not None:
        await set_next_position(connection, definition, target, int(last))
    return copied


async def copy_snapshots(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, source: str, target: str
) -> int:
    """All snapshots; 0 where the store has none."""
    if definition.snapshots_table is None:
        return 0
    return await _copy_rows(connection, definition.snapshots_table, source, target, "")


async def build_indexes(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, schema: str
) -> None:
    """What the store builds after a load."""
    for statement in index_statements(definition, schema):
        await connection.execute(statement.sql)


async def tidy(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, schema: str, how: str
) -> None:
    """``how`` is ``vacuum``, ``analyze`` or ``vacuum analyze``, of the store's tables.

    A vacuum cleans the indexes as well: by itself it leaves them where few rows are dead, as after appends that were
    rolled back, and whoever reads the log's end goes through them.
    """
    how = {"vacuum": "vacuum (index_cleanup on)", "vacuum analyze": "vacuum (index_cleanup on, analyze)"}.get(
        how, how
    )
    for table in filter(None, (definition.events_table, definition.snapshots_table)):
        await connection.execute(f"{how} {_table(schema, table)}")


async def _copy_rows(
    connection: asyncpg.Connection[Any], table: str, source: str, target: str, which: str
) -> int:
    rows = await connection.fetch(_COLUMNS, _table(target, table))
    columns = ", ".join('"' + row["attname"].replace('"', '""') + '"' for row in rows)
    try:
        done = await connection.execute(
            f"insert into {_table(target, table)} ({columns}) overriding system value"
            f" select {columns} from {_table(source, table)} {which}"
        )
    except asyncpg.PostgresError as error:
        raise CannotRunError(
            f"table {table!r} could not be copied: {str(error).partition(chr(10))[0]}",
            remedy="check that the store's tables take rows with all their columns",
        ) from error
    return int(done.rpartition(" ")[2])


def _table(schema: str, table: str) -> str:
    return f'{quoted_schema(schema)}."{table}"'
