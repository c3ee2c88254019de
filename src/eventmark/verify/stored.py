"""What is in the table after all: read whole, and compared with what was sent where it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
import numpy as np

from eventmark.domain import EventStore, SequenceNumber, Snapshot
from eventmark.engine.statements import quoted_schema
from eventmark.stores import StoreDefinition
from eventmark.verify.history import STORED, TENANTS, Table, key_of_event, stream_id, tenant_of

REPLAYED_STREAMS = 20

_HEADER_BYTES = 19
_FIELDS = ("key", "stream", "sequence", "transaction_id", "number")


@dataclass(frozen=True, slots=True)
class StoredTable:
    """A store's table of events, and how its columns are read in the terms of a history."""

    relation: str
    columns: Mapping[str, str]
    document: str  # the payload as jsonb

    @classmethod
    async def of(
        cls, connection: asyncpg.Connection[Any], schema: str, definition: StoreDefinition
    ) -> StoredTable:
        relation = f'{quoted_schema(schema)}."{definition.events_table}"'
        columns = {name: f'"{column}"' for name, column in definition.columns.items()}
        kind = await connection.fetchval(
            "select format_type(atttypid, null) from pg_attribute"
            " where attrelid = to_regclass($1) and attname = $2",
            relation,
            definition.columns["payload"],
        )
        payload = columns["payload"]
        return cls(relation, columns, payload if kind == "jsonb" else f"({payload}::text)::jsonb")

    @property
    def key(self) -> str:
        """The event's key, from its id where there is one."""
        if "event_id" not in self.columns:
            return f"({self.document} ->> 'key')::bigint"
        return f"('x' || right(replace({self.columns['event_id']}::text, '-', ''), 16))::bit(64)::bigint"

    @property
    def stream(self) -> str:
        return f"right({self.columns['aggregate_id']}::text, 12)::bigint"

    @property
    def transaction(self) -> str:
        """The transaction that wrote an event; the server knows it where the table does not."""
        return f"{self.columns.get('transaction_id', 'xmin')}::text::bigint"


async def read_stored(connection: asyncpg.Connection[Any], table: StoredTable) -> Table:
    """Every event of the table, in no particular order."""
    chunks: list[bytes] = []

    async def keep(chunk: bytes) -> None:
        chunks.append(bytes(chunk))

    await connection.copy_from_query(
        f"select {table.key}, {table.stream}, {table.columns['sequence_number']}::bigint, {table.transaction},"
        f" {table.columns['global_sequence_id']}::bigint from {table.relation}",
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


async def count_damaged(connection: asyncpg.Connection[Any], table: StoredTable) -> int:
    """Stored events whose payload or tenant is not as their writer made it."""
    damaged: int = await connection.fetchval(
        f"with event as (select {table.key} as key, {table.document} as payload,"
        f" {table.columns['tenant_id']}::text as tenant_id, {table.stream} as stream from {table.relation})"
        " select count(*) from event where tenant_id <> 'tenant-' || stream % $1 or payload is distinct from"
        " jsonb_build_object('key', key, 'text', repeat(md5(key::text), (key % 8)::int))",
        TENANTS,
    )
    return damaged


async def replay_differences(store: EventStore, stored: Table) -> int:
    """Of the longest streams: those whose snapshot and following events are not their full replay."""
    streams, lengths = np.unique(stored["stream"], return_counts=True)
    differences = 0
    for place in np.argsort(lengths)[::-1][:REPLAYED_STREAMS].tolist():
        differences += not await _replays_alike(store, int(streams[place]), int(lengths[place]))
    return differences


async def _replays_alike(store: EventStore, stream: int, length: int) -> bool:
    name, middle = stream_id(stream), max(length // 2, 1)
    events = await store.load_aggregate(tenant_of(stream), name.aggregate_id)
    full = [key_of_event(event) for event in events]
    await store.store_snapshot(
        Snapshot(
            stream=name,
            sequence_number=SequenceNumber(middle),
            payload={"seen": full[:middle]},
            payload_type="Seen",
            timestamp=datetime.now(UTC),
        )
    )
    snapshot = await store.read_snapshot(name.tenant_id, name.aggregate_id)
    if snapshot is None:
        return False
    following = await store.load_aggregate(
        name.tenant_id, name.aggregate_id, from_sequence=snapshot.sequence_number + 1
    )
    seen: list[int] = msgspec.json.decode(str(snapshot.payload))["seen"]
    return [*seen, *(key_of_event(event) for event in following)] == full
