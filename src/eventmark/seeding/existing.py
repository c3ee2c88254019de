"""Streams and places drawn from tables that were there already, without reading them whole.

Rows come from a bounded number of pages spread over the table, everything else by the store's indexes: one look at the
end of each stream, one at the end of the log. What no index answers is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncpg

from eventmark.engine.statements import quoted_schema
from eventmark.errors import CannotRunError
from eventmark.seeding.sample import (
    STREAMS_MAX,
    CorpusSample,
    SampledStream,
    drawn_rows,
    streams_with_snapshots,
    versions_of,
    versions_query,
)
from eventmark.stores import StoreDefinition, large_tables, read_shape, would_scan

PAGES_MAX = 2048
"""Pages of the table that rows are drawn from, 16 MB."""

LONG_EVENTS = 1000
BEHIND_END_EVENTS = 2000
"""Places to read 1000 events from are so far from the log's end, where others are appending."""

_SIZE = """
select coalesce(sum(pg_relation_size(c.oid)), 0)::float8 / current_setting('block_size')::int as pages,
    coalesce(sum(pg_total_relation_size(c.oid)), 0)::float8 as bytes,
    coalesce(sum(greatest(c.reltuples, 0)), 0)::float8 as analysed
from pg_class c
where c.relkind = 'r' and c.oid in (
    select relid from pg_partition_tree($1::text::regclass) union select $1::text::regclass
)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSize:
    """The table of events with its partitions. ``events`` are estimated."""

    pages: float
    bytes: float
    events: int


async def table_size(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, schema: str
) -> TableSize:
    """By the catalogue; where the table was never analysed, events are counted in a part of its pages."""
    table = _table(definition, schema)
    row = await connection.fetchrow(_SIZE, table)
    assert row is not None
    events = row["analysed"]
    if not events:
        percent = _percent(row["pages"])
        counted = await connection.fetchval(
            f"select count(*) from {table} tablesample system ({percent:.4f})"
        )
        events = counted * 100 / percent
    return TableSize(pages=row["pages"], bytes=row["bytes"], events=round(events))


def _percent(pages: float) -> float:
    """Of the table's pages, so that about ``PAGES_MAX`` are read."""
    return min(100.0, 100.0 * PAGES_MAX / max(pages, 1.0))


async def sample_existing(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, *, schema: str, scans: bool
) -> CorpusSample:
    """Draw the sample. ``long_streams`` have 1000 events or more. ``scans`` allows to read the table whole.

    Raises ``CannotRunError`` for a table without an index that leads to a stream's events.
    """
    shape = await read_shape(connection, definition, schema)
    size = await table_size(connection, definition, schema)
    table = _table(definition, schema)
    large = frozenset() if scans else await large_tables(connection, schema)
    query = versions_query(definition, shape, table)
    if await would_scan(connection, large, query, ["0"] * STREAMS_MAX, ["0"] * STREAMS_MAX):
        raise _without_index(definition, schema, ("tenant_id", "aggregate_id", "sequence_number"))
    rows = await drawn_rows(connection, definition, shape, table, _percent(size.pages))
    if not rows:
        raise CannotRunError(
            f"no event was found in {PAGES_MAX:,} pages of {table}",
            remedy="most of its pages are empty: vacuum the table",
        )
    keys = list({(row["tenant"], row["aggregate"]) for row in rows})
    versions = await versions_of(connection, definition, shape, table, keys)
    kinds = {(row["tenant"], row["aggregate"]): row["kind"] for row in rows}
    streams = [
        SampledStream.of(key, kinds[key], versions[key])
        for key in sorted(versions, key=lambda key: -versions[key])
    ]
    long = [stream for stream in streams if _is_loaded_by_1000(definition, stream.version)]
    end = await _last_place(connection, definition, table, large)
    return CorpusSample(
        long_streams=long,
        streams=[stream for stream in streams if stream not in long],
        snapshot_streams=await streams_with_snapshots(connection, definition, schema),
        positions=sorted(
            position for row in rows if (position := (row["transaction"], row["position"])) <= end
        ),
        instants=[row["at"] for row in rows if row["at"] is not None],
        events=size.events,
        naming=shape.naming,
    )


def _is_loaded_by_1000(definition: StoreDefinition, version: int) -> bool:
    """Whether 1000 events of a stream can be asked for: its last ones, or all where the statement cannot begin late."""
    asked = {parameter.name for parameter in definition.statements["load_aggregate"].parameters}
    return version >= LONG_EVENTS and ("from_sequence" in asked or version <= 1.1 * LONG_EVENTS)


async def _last_place(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, table: str, large: frozenset[str]
) -> tuple[int, int]:
    """The last place with enough events after it; before all others where there is none, or no index leads to it."""
    names = definition.sql_columns
    order = ", ".join(f"{names[name]} desc" for name in definition.place_columns)
    is_first = "transaction_id" in definition.place_columns
    transaction = f"{names['transaction_id']}::text::bigint" if is_first else "0::bigint"
    query = (
        f"select {transaction} as transaction, {names['global_sequence_id']}::bigint as position"
        f" from {table} order by {order} offset {BEHIND_END_EVENTS} limit 1"
    )
    row = None if await would_scan(connection, large, query) else await connection.fetchrow(query)
    return (row["transaction"], row["position"]) if row else (-1, -1)


def _without_index(definition: StoreDefinition, schema: str, columns: tuple[str, ...]) -> CannotRunError:
    names = [definition.columns[name] for name in columns if name in definition.columns]
    return CannotRunError(
        f"no index of {schema}.{definition.events_table} leads to a stream's events, so the whole table would be read",
        remedy=f"create an index on ({', '.join(names)}), or allow it with --allow-scans",
    )


def _table(definition: StoreDefinition, schema: str) -> str:
    return f'{quoted_schema(schema)}."{definition.events_table}"'
