"""The WAL of an append by table and index, as pg_walinspect reads it: what each of them takes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from eventmark.adviser.appends import append_call
from eventmark.adviser.copies import Copies
from eventmark.plans.capture import explain
from eventmark.server.extensions import extension_schema, missing_extension

_FLUSHED_WITHIN_S = 5.0
_READS_BLOCKS = "PostgreSQL 16 and later list the WAL of each relation"

# A record counts for the relation of its first page; whole pages, which follow a checkpoint, are left out. Of TOAST the
# table has the account.
_BY_RELATION = """
with records as (
    select distinct on (b.start_lsn) b.reltablespace, b.relfilenode,
        b.record_length - sum(b.block_fpi_length) over (partition by b.start_lsn) as bytes
    from {place}.pg_get_wal_block_info($1, $2, false) as b
    where b.reldatabase = (select oid from pg_database where datname = current_database())
    order by b.start_lsn, b.block_id
), relations as (
    select c.oid, c.relname::text as name from pg_class c where c.relnamespace = $3::text::regnamespace
    union all
    select t.oid, c.relname::text from pg_class c join pg_class t on t.oid = c.reltoastrelid
    where c.relnamespace = $3::text::regnamespace
    union all
    select i.indexrelid, c.relname::text from pg_class c join pg_index i on i.indrelid = c.reltoastrelid
    where c.relnamespace = $3::text::regnamespace
)
select r.name, sum(w.bytes)::bigint as bytes
from records w join relations r on r.oid = pg_filenode_relation(w.reltablespace, w.relfilenode)
group by r.name
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendWal:
    """Bytes of WAL by table and index; ``missing`` says why they are not known."""

    bytes: Mapping[str, int] = field(default_factory=dict)
    missing: str = ""

    def share(self, relation: str) -> float | None:
        """Of the WAL that all of them took; None where that is not known."""
        whole = sum(self.bytes.values())
        return self.bytes.get(relation, 0) / whole if whole else None


async def append_wal(copies: Copies, connection: asyncpg.Connection[Any], schema: str) -> AppendWal:
    """Of appends of one event to the corpus' own kinds of streams, rolled back: their WAL is the same."""
    if missing := await missing_extension(connection, "pg_walinspect", ours=copies.job.server.ours):
        return AppendWal(missing=missing)
    extension_schema_name = await extension_schema(connection, "pg_walinspect")
    if connection.get_server_version().major < 16:
        return AppendWal(missing=_READS_BLOCKS)
    statement = copies.definition.statements["append_events"]
    begin = await connection.fetchval("select pg_current_wal_insert_lsn()")
    for number in range(copies.effort.cost_appends):
        template = copies.templates[number % len(copies.templates)]
        call = append_call(statement, template, number=number, neighbour=9)
        await explain(connection, statement, schema, call.arguments, generic=False)
    end = await connection.fetchval("select pg_current_wal_insert_lsn()")
    await _flushed(connection, end)
    try:
        rows = await connection.fetch(_BY_RELATION.format(place=extension_schema_name), begin, end, schema)
    except asyncpg.PostgresError as error:
        return AppendWal(missing=str(error).partition("\n")[0])
    return AppendWal(bytes={row["name"]: row["bytes"] for row in rows})


async def _flushed(connection: asyncpg.Connection[Any], end: str) -> None:
    """Until the WAL is on disk up to there: before, it cannot be read. The server writes it a few times a second."""
    for _ in range(int(_FLUSHED_WITHIN_S / 0.05)):
        if await connection.fetchval("select pg_current_wal_flush_lsn() >= $1", end):
            return
        await asyncio.sleep(0.05)
