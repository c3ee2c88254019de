"""A restored store made usable again: its events before everything new, tokens kept elsewhere refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from eventmark.domain import GlobalSequence, TrackingToken, TransactionId
from eventmark.engine.carrying import events_read, read_tokens, tokens_after, tokens_kept, write_tokens
from eventmark.engine.fence import refuse_clients, set_fence
from eventmark.engine.orderings import ORDERINGS
from eventmark.engine.roles import safety_script
from eventmark.engine.schema import Marker, events_are_ahead, read_marker
from eventmark.engine.sessions import owner_transaction
from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError

# Every index that holds a place in the log; a constraint's is made anew by way of the constraint.
_INDEXES = """
select distinct on (i.indexrelid)
    c.relname as name, pg_catalog.pg_get_indexdef(i.indexrelid) as definition, k.conname as constraint_name,
    pg_catalog.pg_get_constraintdef(k.oid) as constraint_definition
from pg_index i
join pg_class c on c.oid = i.indexrelid
join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
left join pg_constraint k on k.conindid = i.indexrelid and k.conrelid = i.indrelid and k.contype in ('p', 'u')
where i.indrelid = pg_catalog.to_regclass($1)::oid and a.attname in ('transaction_id', 'global_sequence_id')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebased:
    """What was done: the new epoch, how many events were given new places (0: theirs were good), and how many
    processors' segments go on where they were. ``refused_processors`` have tokens of an older epoch: reset them.
    """

    epoch: int
    events_moved: int
    segments_carried: int
    refused_processors: tuple[str, ...]


async def rebase_store(connection: asyncpg.Connection[Any], schema: str) -> Rebased:
    """Begin a new epoch of a store that was restored or failed over, in one transaction that locks it.

    Events of transactions that this server has not come to yet are given places below all that it will
    write, in their old order, where the store's ordering has transaction ids in its places. The store gets an id that
    no store has had: restored twice from one dump, it becomes two stores. Tokens of the store's own processors are
    carried over, each to the same place; all others are refused from then on. Raises
    ``CannotRunError`` for a role that does not own the store, and while clients of it are connected.
    """
    marker = await read_marker(connection, schema)
    if marker is None:
        raise CannotRunError(
            f"there is no event store in schema {schema!r}", remedy="name another with --schema"
        )
    quoted = quoted_schema(schema)
    try:
        async with owner_transaction(connection):
            await connection.execute(
                f"lock table {quoted}.eventmark_store, {quoted}.domain_events in access exclusive mode"
            )
            await refuse_clients(connection, "rebase")
            done = await _rebase_locked(connection, schema, marker)
    except asyncpg.InsufficientPrivilegeError as error:
        raise CannotRunError(
            f"this role may not rebase schema {schema!r}: {error}",
            remedy=f"connect as the schema's owner, or grant {schema}_owner to this role",
        ) from error
    if done.events_moved:  # each moved row has left a dead one behind
        await connection.execute(f"vacuum (analyze) {quoted}.domain_events")
    return done


async def _rebase_locked(connection: asyncpg.Connection[Any], schema: str, marker: Marker) -> Rebased:
    quoted = quoted_schema(schema)
    table = f"{quoted}.domain_events"
    if marker.row_level_security:  # an owner whom the policies bind would see no row
        await connection.execute(f"alter table {table} no force row level security")
    # sorted by transaction, a log that is read by number would have another order
    by_transaction_id = marker.ordering not in ORDERINGS or ORDERINGS[marker.ordering].by_transaction_id
    tokens, refused = await read_tokens(connection, schema, _tail(marker.store_id, marker.epoch))
    identity = await connection.fetchrow(
        f"update {quoted}.eventmark_store set store_id = pg_catalog.gen_random_uuid(), epoch = epoch + 1"
        " returning store_id, epoch"
    )
    tail = _tail(*identity)
    moved = 0
    if by_transaction_id and await events_are_ahead(connection, schema):
        counts = await events_read(connection, schema, tokens)
        moved = await _move_events(connection, schema)
        tokens = await tokens_after(connection, schema, tokens, counts, tail)
    elif tokens:
        tokens = await tokens_kept(connection, schema, tokens, tail, by_transaction_id=by_transaction_id)
    await write_tokens(connection, schema, tokens)
    await set_fence(connection, schema)
    if marker.row_level_security:
        await connection.execute(f"alter table {table} force row level security")
    return Rebased(
        epoch=tail.epoch,
        events_moved=moved,
        segments_carried=len(tokens),
        refused_processors=refused,
    )


def _tail(store_id: UUID, epoch: int) -> TrackingToken:
    return TrackingToken(store_id, epoch, TransactionId(0), GlobalSequence(0))


async def _move_events(connection: asyncpg.Connection[Any], schema: str) -> int:
    table = f"{quoted_schema(schema)}.domain_events"
    indexes = await connection.fetch(_INDEXES, table)
    await connection.execute(f"alter table {table} disable trigger domain_events_append_only")
    for index in indexes:  # a new place may be one that another row still has
        await _drop_index(connection, schema, index)
    moved = int((await connection.execute(safety_script("rebase", schema))).rpartition(" ")[2])
    for index in indexes:
        await _create_index(connection, table, index)
    await connection.execute(f"alter table {table} enable always trigger domain_events_append_only")
    await connection.execute(
        "select pg_catalog.setval(pg_catalog.pg_get_serial_sequence($1, 'global_sequence_id'),"
        " greatest($2, pg_catalog.nextval(pg_catalog.pg_get_serial_sequence($1, 'global_sequence_id'))))",
        table,
        moved,
    )
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
