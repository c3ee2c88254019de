"""Streams and instants drawn from the table itself, for the operations to work on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import asyncpg
import numpy as np

from eventmark.domain import StreamId
from eventmark.engine.statements import quoted_schema
from eventmark.seeding.ledger import longest_streams
from eventmark.stores import Shape, StoreDefinition, instant_sql, read_shape
from eventmark.workload import Naming, example_payloads

STREAMS_MAX = 4000
SNAPSHOTS_MAX = 5000
PAGES_PERCENT_MAX = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledStream:
    """A stream and its version when it was drawn."""

    stream: StreamId
    version: int

    @classmethod
    def of(cls, key: tuple[str, str], kind: str, version: int) -> SampledStream:
        """``key`` is tenant and aggregate."""
        stream = StreamId(tenant_id=key[0], aggregate_type=kind or "Order", aggregate_id=key[1])
        return cls(stream=stream, version=version)


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusSample:
    """What the operations draw from.

    ``long_streams`` have exactly 1000 events, of large and small tenants; ``streams`` are drawn at random
    over the whole log, long ones left out; ``positions`` are places (transaction id, global sequence) and
    ``instants`` timestamps, both spread over the log; ``payloads`` what appended events hold, where the corpus' are
    made after samples.
    """

    long_streams: list[SampledStream]
    streams: list[SampledStream]
    snapshot_streams: list[StreamId]
    positions: list[tuple[int, int]]
    instants: list[datetime]
    events: int
    naming: Naming = field(default_factory=Naming)
    payloads: list[str] = field(default_factory=list)

    def example_payloads(self, count: int, random: np.random.Generator) -> list[str]:
        """``count`` payloads of events to append."""
        if self.payloads:
            return [
                self.payloads[integer] for integer in random.integers(0, len(self.payloads), count).tolist()
            ]
        return example_payloads(count, random)


async def sample_corpus(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, *, schema: str, events: int
) -> CorpusSample:
    """Draw the sample; reads a few thousand rows, whatever the corpus' size. The same draws each time."""
    shape = await read_shape(connection, definition, schema)
    table = f'{quoted_schema(schema)}."{definition.events_table}"'
    rows = await drawn_rows(connection, definition, shape, table, _percent(events))
    long_keys = await longest_streams(connection, schema)
    keys = list({(row["tenant"], row["aggregate"]) for row in rows} | set(long_keys))
    versions = await versions_of(connection, definition, shape, table, keys)
    kinds = {(row["tenant"], row["aggregate"]): row["kind"] for row in rows}
    long_set = set(long_keys)

    def sampled(key: tuple[str, str]) -> SampledStream:
        return SampledStream.of(key, kinds.get(key, ""), versions[key])

    short = [key for key in kinds if key not in long_set and key in versions]
    return CorpusSample(
        long_streams=[sampled(key) for key in long_keys if versions.get(key) == 1000],
        streams=[sampled(key) for key in short],
        snapshot_streams=await streams_with_snapshots(connection, definition, schema),
        positions=sorted((row["transaction"], row["position"]) for row in rows),
        instants=[row["at"] for row in rows if row["at"] is not None],
        events=events,
        naming=shape.naming,
    )


async def drawn_rows(
    connection: asyncpg.Connection[Any],
    definition: StoreDefinition,
    shape: Shape,
    table: str,
    percent: float,
) -> list[asyncpg.Record]:
    """At most ``STREAMS_MAX`` events from so many percent of the table's pages; of a view, from all of it."""
    names = definition.sql_columns
    drawn = table if shape.kind == "v" else f"{table} tablesample system ({percent:.4f}) repeatable (1)"
    at = instant_of(definition, shape)
    kind = names.get("aggregate_type", "''")
    transaction = names["transaction_id"] if "transaction_id" in definition.place_columns else ""
    rows: list[asyncpg.Record] = await connection.fetch(
        f"select {names['tenant_id']}::text as tenant, {names['aggregate_id']}::text as aggregate,"
        f" {kind}::text as kind,"
        f" {f'{transaction}::text::bigint' if transaction else '0::bigint'} as transaction,"
        f" {names['global_sequence_id']}::bigint as position, {at} as at"
        f" from {drawn}"
        f" order by hashint8({names['global_sequence_id']}::bigint) limit {STREAMS_MAX}"
    )
    return rows


def instant_of(definition: StoreDefinition, shape: Shape) -> str:
    """An event's time as SQL, with its zone; null where the store keeps none."""
    if "timestamp_utc" not in definition.columns:
        return "null::timestamptz"
    return instant_sql(definition.sql_columns["timestamp_utc"], shape.type_of(definition, "timestamp_utc"))


def _percent(events: int) -> float:
    return min(PAGES_PERCENT_MAX, 300.0 * STREAMS_MAX / events)


async def refreshed_sample(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, schema: str, sample: CorpusSample
) -> CorpusSample:
    """The sample with the versions that its ``streams`` have now: somebody may have appended to them."""
    table = f'{quoted_schema(schema)}."{definition.events_table}"'
    shape = await read_shape(connection, definition, schema)
    keys = [(stream.stream.tenant_id, stream.stream.aggregate_id) for stream in sample.streams]
    versions = await versions_of(connection, definition, shape, table, keys)
    streams = [
        replace(sampled, version=versions[key])
        for sampled, key in zip(sample.streams, keys, strict=True)
        if key in versions
    ]
    return replace(sample, streams=streams)


async def streams_with_snapshots(
    connection: asyncpg.Connection[Any], definition: StoreDefinition, schema: str
) -> list[StreamId]:
    """Streams of the first snapshots in the table, whatever it has."""
    if definition.snapshots_table is None:
        return []
    names = definition.sql_snapshot_columns
    rows = await connection.fetch(
        f"select distinct {names['tenant_id']}::text as tenant, {names['aggregate_id']}::text as aggregate"
        f' from (select * from {quoted_schema(schema)}."{definition.snapshots_table}" limit {SNAPSHOTS_MAX}) s'
    )
    return [
        StreamId(tenant_id=row["tenant"], aggregate_type="Order", aggregate_id=row["aggregate"])
        for row in sorted(rows, key=lambda row: row["aggregate"])
    ]


async def versions_of(
    connection: asyncpg.Connection[Any],
    definition: StoreDefinition,
    shape: Shape,
    table: str,
    keys: list[tuple[str, str]],
) -> dict[tuple[str, str], int]:
    """Each stream's last sequence number, by the store's own index on streams."""
    rows = await connection.fetch(
        versions_query(definition, shape, table),
        [tenant for tenant, _ in keys],
        [aggregate for _, aggregate in keys],
    )
    later = 1 - definition.first_sequence
    return {
        (row["tenant"], row["aggregate"]): row["version"] + later
        for row in rows
        if row["version"] is not None
    }


def versions_query(definition: StoreDefinition, shape: Shape, table: str) -> str:
    """The last sequence number, as the table has it, of the streams of tenants ``$1`` and aggregates ``$2``."""
    names = definition.sql_columns
    # In the columns' own types: an index on them is of no use to a comparison of texts.
    types = {name: shape.type_of(definition, name) or "text" for name in ("tenant_id", "aggregate_id")}
    return (
        f"select k.tenant, k.aggregate, (select max({names['sequence_number']}) from {table}"
        f" where {names['tenant_id']} = k.tenant::{types['tenant_id']}"
        f" and {names['aggregate_id']} = k.aggregate::{types['aggregate_id']})::bigint as version"
        " from unnest($1::text[], $2::text[]) as k (tenant, aggregate)"
    )
