"""After the load: indexes built side by side, statistics gathered, the visibility map filled."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg

from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError
from eventmark.seeding.ledger import Stage, batches_done, read_ledger, set_stage
from eventmark.seeding.progress import Progress
from eventmark.server.loop import connection_to
from eventmark.server.search_path import confined_dsn
from eventmark.stores import ScriptStatement, StoreDefinition, index_statements
from eventmark.workload import BATCH_EVENTS, SNAPSHOT_EVERY_EVENTS, transaction_ids_needed

INDEX_CONNECTIONS = 2


# The sequences that number the events: the column's own, those its default reads, and those that no column has at all,
# which functions and statements may read.
_SEQUENCES = """
with of_column (sequence, relation, attnum) as (
    select objid, refobjid, refobjsubid from pg_depend
    where classid = 'pg_class'::regclass and refclassid = 'pg_class'::regclass and deptype in ('a', 'i')
        and refobjsubid > 0
    union
    select d.refobjid, a.adrelid, a.adnum from pg_depend d join pg_attrdef a on a.oid = d.objid
    where d.classid = 'pg_attrdef'::regclass and d.refclassid = 'pg_class'::regclass
)
select c.oid::regclass::text as name from pg_class c
where c.relkind = 'S' and c.relnamespace = to_regnamespace($1) and (
    not exists (select from of_column o where o.sequence = c.oid)
    or exists (
        select from of_column o join pg_attribute a on a.attrelid = o.relation and a.attnum = o.attnum
        where o.sequence = c.oid and (
            (a.attrelid = to_regclass($2) and a.attname = $3)
            or exists (
                select from pg_rewrite r join pg_depend v on v.objid = r.oid and v.classid = 'pg_rewrite'::regclass
                where r.ev_class = to_regclass($2) and v.refobjid = a.attrelid and v.refobjsubid = a.attnum
            )
        )
    )
)
"""


async def set_next_position(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, schema: str, position: int
) -> None:
    """Let the sequences that number events go on after the corpus. Those that are further already stay."""
    rows = await connection.fetch(
        _SEQUENCES,
        quoted_schema(schema),
        f'{quoted_schema(schema)}."{definition.events_table}"',
        definition.columns["global_sequence_id"],
    )
    for row in rows:
        await connection.execute(
            f"select setval($1::text::regclass, $2) from {row['name']} where last_value <= $2",
            row["name"],
            position,
        )


async def finish_table(
    connection: asyncpg.Connection[Any], dsn: str, definition: StoreDefinition, schema: str, progress: Progress, *,
    then: Stage = Stage.READY,
) -> dict[str, float]:  # fmt: skip
    """Indexes, ANALYZE, VACUUM; the seconds each took. What an interrupted run has built stays.

    ``then`` is the stage the corpus has when its indexes are there, which are built by connections of their own.
    Raises ``CannotRunError`` with what the server said.
    """
    statements = index_statements(definition, schema)
    indexes = [statement for statement in statements if statement.index]
    others = [statement for statement in statements if not statement.index]
    began_s = time.monotonic()
    try:
        await _build_side_by_side(dsn, schema, indexes, progress)
        async with connection.transaction():
            for statement in others:
                await connection.execute(statement.sql)
            await set_stage(connection, schema, then)
    except asyncpg.PostgresError as error:
        raise CannotRunError(
            f"the indexes could not be built: {str(error).partition(chr(10))[0]}",
            remedy="correct indexes.sql or the server, then run the same command again: it goes on where it stopped",
        ) from error
    seconds = {"indexes": time.monotonic() - began_s}
    return seconds | await refresh_table(connection, schema, progress)


async def refresh_table(
    connection: asyncpg.Connection[Any], schema: str, progress: Progress
) -> dict[str, float]:
    """ANALYZE and VACUUM, as a server does by itself sooner or later; the seconds each took."""
    seconds = {}
    for stage in ("analyze", "vacuum"):
        began_s = time.monotonic()
        progress(stage, 0, 1)
        for table in await _tables(connection, schema):
            await connection.execute(f"{stage} {table}")
        progress(stage, 1, 1)
        seconds[stage] = time.monotonic() - began_s
    return seconds


async def _tables(connection: asyncpg.Connection[Any], schema: str) -> list[str]:
    """The store's tables, those besides the events' among them."""
    rows = await connection.fetch(
        "select oid::regclass::text from pg_class where relnamespace = to_regnamespace($1) and relkind in ('r', 'p')"
        " and not relispartition and relname not like 'eventmark\\_%' order by 1",
        quoted_schema(schema),
    )
    return [row[0] for row in rows]


async def _build_side_by_side(
    dsn: str, schema: str, statements: list[ScriptStatement], progress: Progress
) -> None:
    """Each statement on the next free of a few connections; an index that is there already is left."""
    waiting = list(statements)
    progress("indexes", 0, len(statements))

    async def build() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            while waiting:
                statement = waiting.pop(0)
                if not await _is_built(connection, schema, statement.index):
                    await connection.execute(statement.sql)
                progress("indexes", len(statements) - len(waiting), len(statements))
        finally:
            await connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(INDEX_CONNECTIONS):
            group.create_task(build())


async def _is_built(connection: asyncpg.Connection[Any], schema: str, name: str) -> bool:
    built: bool = await connection.fetchval(
        "select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = $1 and c.relname = $2)",
        schema,
        name,
    )
    return built


async def remove_appended(dsn: str, definition: StoreDefinition, schema: str, events: int) -> int:
    """Take out what measuring has added to a corpus of ``events``, so that it can be used again; how many.

    ``events`` are those of the corpus' plan, also while not all of them are there yet. Of a store with a seed.sql
    nothing is taken out: what its appends changed in other tables cannot be undone.
    """
    if definition.seed_script:
        return 0
    dsn = confined_dsn(dsn, schema)
    connection = await asyncpg.connect(dsn)
    try:
        table = f'{quoted_schema(schema)}."{definition.events_table}"'
        transaction = (
            definition.columns["transaction_id"] if definition.ordering == "transaction-id" else None
        )
        position = await after_the_corpus(
            connection,
            schema,
            events,
            definition.events_table,
            definition.columns["global_sequence_id"],
            transaction,
        )
        delete = f"delete from {table} where {position}"
        if definition.engine:
            done = await _delete_as_owner(connection, table, delete)
        else:
            done = await connection.execute(delete)
        removed = int(done.rpartition(" ")[2])
        if definition.snapshots_table is not None:
            snapshots = f'{quoted_schema(schema)}."{definition.snapshots_table}"'
            sequence = definition.snapshot_columns["sequence_number"]
            rows = await connection.fetch(
                "select attname, format_type(atttypid, atttypmod) as type from pg_attribute"
                " where attrelid = to_regclass($1) and attnum > 0",
                table,
            )
            types = {row["attname"]: row["type"] for row in rows}
            # By way of text: a store may keep an id as uuid in one table and as text in the other.
            same = " and ".join(
                f'e."{column}" = s."{definition.snapshot_columns[name]}"::text::{types[column]}'
                for name in ("tenant_id", "aggregate_id")
                if name in definition.columns
                for column in (definition.columns[name],)
            )
            offset = definition.first_sequence - 1
            same += f' and e."{definition.columns["sequence_number"]}" = s."{sequence}" + {offset}'
            await connection.execute(
                f'delete from {snapshots} s where "{sequence}" % {SNAPSHOT_EVERY_EVENTS} <> 0'
                f" or not exists (select from {table} e where {same})"
            )
            await connection.execute(f"vacuum analyze {snapshots}")
        if removed:
            # Also where they are few: a table that grows on must not keep their places, nor the indexes them.
            await connection.execute(f"vacuum (analyze, index_cleanup on) {table}")
        return removed
    finally:
        await connection.close()


async def after_the_corpus(
    connection: asyncpg.Connection[Any],
    schema: str,
    events: int,
    table: str,
    position: str,
    transaction: str | None,
) -> str:
    """The condition for events that are not the corpus'.

    By transaction id as well where a column ``transaction`` orders the log, so that an index finds them; unless the
    last event of the corpus has another id than the ledger knows, as after a rebase.
    """
    condition = f'"{position}" > {events}'
    corpus = await read_ledger(connection, schema)
    if corpus is None or transaction is None:
        return condition
    last = max(await batches_done(connection, schema), default=-1) * BATCH_EVENTS + BATCH_EVENTS
    last = min(last, corpus.plan.events)
    last_id = corpus.first_transaction_id + transaction_ids_needed(last) - 1
    known = await connection.fetchval(
        f'select exists (select from {quoted_schema(schema)}."{table}"'
        f' where "{transaction}" = \'{last_id}\' and "{position}" = {last})'
    )
    return f"{condition} and \"{transaction}\" > '{last_id}'" if known else condition


async def _delete_as_owner(connection: asyncpg.Connection[Any], table: str, delete: str) -> str:
    """The engine's store refuses to delete; its owner may all the same, and here nobody else uses it."""
    async with connection.transaction():
        await connection.execute(f"alter table {table} disable trigger domain_events_append_only")
        done: str = await connection.execute(delete)
        await connection.execute(f"alter table {table} enable always trigger domain_events_append_only")
    return done


async def mend_right_edges(dsn: str, definition: StoreDefinition, schema: str) -> None:
    """Rebuild the indexes that grow at their right edge, before a table grows on that something was taken out of.

    The last page of an index is never given up. Left behind empty, it takes from those that follow, whose keys come
    before it, the rule that a full last page stays full: they would be split in halves, which no log in use sees.
    Full pages are what a rebuild makes as well.
    """
    rising = ("transaction_id", "global_sequence_id", "timestamp_utc")
    async with connection_to(confined_dsn(dsn, schema)) as connection:
        rows = await connection.fetch(
            "select i.indexrelid::regclass::text as name from pg_index i"
            " join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]"
            " where i.indrelid = to_regclass($1) and a.attname = any($2::text[])",
            f'{quoted_schema(schema)}."{definition.events_table}"',
            [column for column in map(definition.columns.get, rising) if column],
        )
        for row in rows:
            await connection.execute(f"reindex index {row['name']}")
