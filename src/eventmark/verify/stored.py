"""What is in the table after all: read whole, and compared with what was sent where it is."""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec
import numpy as np

from eventmark.domain import SequenceNumber, Snapshot
from eventmark.engine import PostgresEventStore
from eventmark.verify.history import STORED, TENANTS, Table, stream_id, tenant_of

REPLAYED_STREAMS = 20

_KEY = "('x' || right(replace(event_id::text, '-', ''), 16))::bit(64)::bigint"
_HEADER_BYTES = 19
_FIELDS = ("key", "stream", "sequence", "transaction_id", "number")


async def read_stored(connection: asyncpg.Connection[Any], schema: str) -> Table:
    """Every event of the schema, in no particular order."""
    chunks: list[bytes] = []

    async def keep(chunk: bytes) -> None:
        chunks.append(bytes(chunk))

    await connection.copy_from_query(
        f"select {_KEY}, aggregate_id::bigint, sequence_number, transaction_id::text::bigint,"
        f' global_sequence_id from "{schema}".domain_events',
        output=keep,
        format="binary",
    )
    layout: list[tuple[str, str]] = [("columns", ">i2")]
    for name in _FIELDS:
        layout += [(f"{name}_bytes", ">i4"), (name, ">i8")]
    row = np.dtype(layout)
    data = b"".join(chunks)
    rows = np.frombuffer(data, row, count=(len(data) - _HEADER_BYTES) // row.itemsize, offset=_HEADER_BYTES)
    stored = np.empty(len(rows), STORED)
    for name in _FIELDS:
        stored[name] = rows[name]
    return stored


async def count_damaged(connection: asyncpg.Connection[Any], schema: str) -> int:
    """Stored events whose payload or tenant is not as their writer made it."""
    damaged: int = await connection.fetchval(
        f"with event as (select {_KEY} as key, payload, tenant_id, aggregate_id::bigint as stream"
        f' from "{schema}".domain_events)'
        " select count(*) from event where tenant_id <> 'tenant-' || stream % $1 or payload is distinct from"
        " jsonb_build_object('key', key, 'text', repeat(md5(key::text), (key % 8)::int))",
        TENANTS,
    )
    return damaged


async def replay_differences(store: PostgresEventStore, stored: Table) -> int:
    """Of the longest streams: those whose snapshot and following events are not their full replay."""
    streams, lengths = np.unique(stored["stream"], return_counts=True)
    differences = 0
    for place in np.argsort(lengths)[::-1][:REPLAYED_STREAMS].tolist():
        differences += not await _replays_alike(store, int(streams[place]), int(lengths[place]))
    return differences


async def _replays_alike(store: PostgresEventStore, stream: int, length: int) -> bool:
    name, middle = stream_id(stream), max(length // 2, 1)
    events = await store.load_aggregate(tenant_of(stream), name.aggregate_id)
    full = [str(event.event_id) for event in events]
    await store.store_snapshot(
        Snapshot(
            stream=name,
            sequence_number=SequenceNumber(middle),
            payload={"seen": full[:middle]},
            payload_type="Seen",
            timestamp=events[middle - 1].timestamp,
        )
    )
    snapshot = await store.read_snapshot(name.tenant_id, name.aggregate_id)
    if snapshot is None:
        return False
    following = await store.load_aggregate(
        name.tenant_id, name.aggregate_id, from_sequence=snapshot.sequence_number + 1
    )
    seen: list[str] = msgspec.json.decode(str(snapshot.payload))["seen"]
    return [*seen, *(str(event.event_id) for event in following)] == full
