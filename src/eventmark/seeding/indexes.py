"""After the load: indexes built side by side, statistics gathered, the visibility map filled."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import asyncpg

from eventmark.engine.schema import split_statements
from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError
from eventmark.seeding.ledger import Stage, set_stage
from eventmark.seeding.progress import Progress
from eventmark.stores import StoreDefinition
from eventmark.workload import SNAPSHOT_EVERY_EVENTS

INDEX_CONNECTIONS = 2

_CREATE_INDEX = re.compile(r"(--[^\n]*\n|\s)*create\s+(unique\s+)?index\s+(?P<name>\w+)", re.IGNORECASE)


async def set_next_position(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, schema: str, position: int
) -> None:
    """Let the table's own sequence, where it has one, go on after the corpus."""
    sequence = await connection.fetchval(
        "select pg_get_serial_sequence($1, $2)",
        f'{quoted_schema(schema)}."{definition.events_table}"',
        definition.columns["global_sequence_id"],
    )
    if sequence is not None:
        await connection.execute("select setval($1::text::regclass, $2)", sequence, position)


async def finish_table(
    dsn: str, definition: StoreDefinition, schema: str, progress: Progress
) -> dict[str, float]:
    """Indexes, ANALYZE, VACUUM; the seconds each took. What an interrupted run has built stays.

    Raises ``CannotRunError`` with what the server said.
    """
    script = definition.indexes_script.replace("{schema}", quoted_schema(schema))
    statements = split_statements(script)
    indexes = [statement for statement in statements if _CREATE_INDEX.match(statement)]
    others = [statement for statement in statements if not _CREATE_INDEX.match(statement)]
    seconds = {}
    connection = await asyncpg.connect(dsn)
    try:
        began_s = time.monotonic()
        await _build_side_by_side(dsn, schema, indexes, progress)
        async with connection.transaction():
            for statement in others:
                await connection.execute(statement)
            await set_stage(connection, schema, Stage.READY)
        seconds["indexes"] = time.monotonic() - began_s
        for stage in ("analyze", "vacuum"):
            began_s = time.monotonic()
            progress(stage, 0, 1)
            for table in filter(None, (definition.events_table, definition.snapshots_table)):
                await connection.execute(f'{stage} {quoted_schema(schema)}."{table}"')
            progress(stage, 1, 1)
            seconds[stage] = time.monotonic() - began_s
    except asyncpg.PostgresError as error:
        raise CannotRunError(
            f"the indexes could not be built: {str(error).partition(chr(10))[0]}",
            remedy="mend it, then run the same command again: it goes on where it stopped",
        ) from error
    finally:
        await connection.close()
    return seconds


async def _build_side_by_side(dsn: str, schema: str, statements: list[str], progress: Progress) -> None:
    """Each statement on the next free of a few connections; an index that is there already is left."""
    waiting = list(statements)
    progress("indexes", 0, len(statements))

    async def build() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            while waiting:
                statement = waiting.pop(0)
                if not await _is_built(connection, schema, statement):
                    await connection.execute(statement)
                progress("indexes", len(statements) - len(waiting), len(statements))
        finally:
            await connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(INDEX_CONNECTIONS):
            group.create_task(build())


async def _is_built(connection: asyncpg.Connection[Any], schema: str, statement: str) -> bool:
    found = _CREATE_INDEX.match(statement)
    name = found["name"] if found else ""
    built: bool = await connection.fetchval(
        "select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = $1 and c.relname = $2)",
        schema,
        name,
    )
    return built


async def remove_appended(dsn: str, definition: StoreDefinition, schema: str, events: int) -> int:
    """Take out what measuring has added to a corpus of ``events``, so that it can be used again; how many."""
    connection = await asyncpg.connect(dsn)
    try:
        table = f'{quoted_schema(schema)}."{definition.events_table}"'
        delete = f'delete from {table} where "{definition.columns["global_sequence_id"]}" > {events}'
        if definition.engine:
            done = await _delete_as_owner(connection, table, delete)
        else:
            done = await connection.execute(delete)
        removed = int(done.rpartition(" ")[2])
        if definition.snapshots_table is not None:
            snapshots = f'{quoted_schema(schema)}."{definition.snapshots_table}"'
            sequence = definition.snapshot_columns["sequence_number"]
            await connection.execute(
                f'delete from {snapshots} where "{sequence}" % {SNAPSHOT_EVERY_EVENTS} <> 0'
            )
            await connection.execute(f"vacuum analyze {snapshots}")
        if removed:
            await connection.execute(f"vacuum analyze {table}")
        return removed
    finally:
        await connection.close()


async def _delete_as_owner(connection: asyncpg.Connection[Any], table: str, delete: str) -> str:
    """The engine's store refuses to delete; its owner may all the same, and here nobody else uses it."""
    async with connection.transaction():
        await connection.execute(f"alter table {table} disable trigger domain_events_append_only")
        done: str = await connection.execute(delete)
        await connection.execute(f"alter table {table} enable always trigger domain_events_append_only")
    return done
