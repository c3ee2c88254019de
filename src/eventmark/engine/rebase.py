"""A restored store made usable again: its events before everything new, its old tokens refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncpg

from eventmark.engine.orderings import ORDERINGS
from eventmark.engine.roles import safety_script
from eventmark.engine.schema import Marker, events_are_ahead, read_marker
from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError

# Every index that holds a place in the log; a constraint's is made anew by way of the constraint.
_INDEXES = """
select distinct on (i.indexrelid)
    c.relname as name, pg_get_indexdef(i.indexrelid) as definition, k.conname as constraint_name,
    pg_get_constraintdef(k.oid) as constraint_definition
from pg_index i
join pg_class c on c.oid = i.indexrelid
join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
left join pg_constraint k on k.conindid = i.indexrelid and k.conrelid = i.indrelid and k.contype in ('p', 'u')
where i.indrelid = to_regclass($1) and a.attname in ('transaction_id', 'global_sequence_id')
"""
_OTHERS = """
select count(*) from pg_stat_activity
where datname = current_database() and application_name = 'eventmark' and pid <> pg_backend_pid()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebased:
    """What was done: the new epoch, and how many events were given new places (0: theirs were good)."""

    epoch: int
    events_moved: int


async def rebase_store(connection: asyncpg.Connection[Any], schema: str) -> Rebased:
    """Begin a new epoch of a store that was restored from a dump, in one transaction that locks it.

    Events of transactions that this server has not come to yet are given places below all that it will
    write, in their old order, where the store's ordering has transaction ids in its places; every token of an
    older epoch is refused from then on. Raises
    ``CannotRunError`` for a role that does not own the store, and while clients of it are connected.
    """
    marker = await read_marker(connection, schema)
    if marker is None:
        raise CannotRunError(
            f"there is no event store in schema {schema!r}", remedy="name another with --schema"
        )
    quoted = quoted_schema(schema)
    try:
        async with connection.transaction():
            await connection.execute(
                f"lock table {quoted}.eventmark_store, {quoted}.domain_events in access exclusive mode"
            )
            await _refuse_clients(connection)
            moved = await _move_events(connection, schema, marker)
            epoch = await connection.fetchval(
                f"update {quoted}.eventmark_store set epoch = epoch + 1 returning epoch"
            )
    except asyncpg.InsufficientPrivilegeError as error:
        raise CannotRunError(
            f"this role may not rebase schema {schema!r}: {error}",
            remedy=f"connect as the schema's owner, or grant {schema}_owner to this role",
        ) from error
    if moved:  # each moved row has left a dead one behind
        await connection.execute(f"vacuum (analyze) {quoted}.domain_events")
    return Rebased(epoch=epoch, events_moved=moved)


async def _refuse_clients(connection: asyncpg.Connection[Any]) -> None:
    """A client that is connected knows the old epoch, and would go on with old tokens at new places.

    Asked under the lock: a client that connects now reads the marker, and so the new epoch, after it.
    """
    clients = await connection.fetchval(_OTHERS)
    if clients:
        raise CannotRunError(
            f"{clients} connections of the event store are open in this database",
            remedy="stop appenders and consumers, rebase, start them again",
        )


async def _move_events(connection: asyncpg.Connection[Any], schema: str, marker: Marker) -> int:
    if marker.ordering in ORDERINGS and not ORDERINGS[marker.ordering].by_transaction_id:
        return 0  # sorted by transaction, a log that is read by number would have another order
    table = f"{quoted_schema(schema)}.domain_events"
    if marker.row_level_security:  # an owner whom the policies bind would move no row
        await connection.execute(f"alter table {table} no force row level security")
    moved = 0
    if await events_are_ahead(connection, schema):
        indexes = await connection.fetch(_INDEXES, table)
        await connection.execute(f"alter table {table} disable trigger domain_events_append_only")
        for index in indexes:  # a new place may be one that another row still has
            await _drop_index(connection, schema, index)
        moved = int((await connection.execute(safety_script("rebase", schema))).rpartition(" ")[2])
        for index in indexes:
            await _create_index(connection, table, index)
        await connection.execute(f"alter table {table} enable always trigger domain_events_append_only")
        await connection.execute(
            "select setval(pg_get_serial_sequence($1, 'global_sequence_id'),"
            " greatest($2, nextval(pg_get_serial_sequence($1, 'global_sequence_id'))))",
            table,
            moved,
        )
    if marker.row_level_security:
        await connection.execute(f"alter table {table} force row level security")
    return moved


async def _drop_index(connection: asyncpg.Connection[Any], schema: str, index: asyncpg.Record) -> None:
    quoted = quoted_schema(schema)
    if index["constraint_name"] is None:
        await connection.execute(f'drop index {quoted}."{index["name"]}"')
    else:
        await connection.execute(
            f'alter table {quoted}.domain_events drop constraint "{index["constraint_name"]}"'
        )


async def _create_index(connection: asyncpg.Connection[Any], table: str, index: asyncpg.Record) -> None:
    if index["constraint_name"] is None:
        await connection.execute(index["definition"])
    else:
        await connection.execute(
            f'alter table {table} add constraint "{index["constraint_name"]}" {index["constraint_definition"]}'
        )
