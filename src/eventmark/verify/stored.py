"""What is in the table after all: read whole, and compared with what was sent where it is."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
import numpy as np

from eventmark.domain import EventStore, SequenceNumber, Snapshot
from eventmark.engine.statements import quoted_schema
from eventmark.stores import StoreDefinition, read_shape
from eventmark.verify.history import (
    AGGREGATE_PREFIX,
    ID_PREFIX,
    NO_STREAM,
    STORED,
    STRANGER,
    TENANT_ID_PREFIX,
    TENANT_PREFIX,
    TENANTS,
    Table,
    key_of_event,
    payload_of,
    stream_id,
)
from eventmark.workload import Naming

REPLAYED_STREAMS = 20

_HEADER_BYTES = 19
_FIELDS = ("key", "stream", "sequence", "transaction_id", "number")


@dataclass(frozen=True, slots=True)
class StoredTable:
    """A store's table of events, and how its columns are read in the terms of a history.

    Whatever a column holds, reading it is no error: what the hunt did not write is a stranger.
    """

    relation: str
    columns: Mapping[str, str]
    payload_type: str
    naming: Naming
    event_id_type: str
    first_sequence: int

    @classmethod
    async def of(
        cls, connection: asyncpg.Connection[Any], schema: str, definition: StoreDefinition
    ) -> StoredTable:
        relation = f'{quoted_schema(schema)}."{definition.events_table}"'
        shape = await read_shape(connection, definition, schema)
        columns = definition.sql_columns
        if not definition.takes_event_ids:  # those that the store makes tell nothing of the event
            columns.pop("event_id", None)
        return cls(
            relation, columns, shape.type_of(definition, "payload"),
            Naming() if definition.engine else shape.naming, shape.type_of(definition, "event_id"),
            definition.first_sequence,
        )  # fmt: skip

    @property
    def is_parsed(self) -> bool:
        """Whether the server has seen to it that each document is JSON."""
        return self.payload_type in ("json", "jsonb")

    @property
    def document(self) -> str:
        """The payload as text."""
        payload = self.columns["payload"]
        return f"encode({payload}, 'escape')" if self.payload_type == "bytea" else f"{payload}::text"

    @property
    def key(self) -> str:
        """The event's key, from its id where there is one."""
        if "event_id" not in self.columns:
            return f"coalesce(substring({self.document} from '\"key\"\\s*:\\s*([0-9]{{1,18}})\\y')::bigint, {STRANGER})"
        column = self.columns["event_id"]
        digits = (
            f"encode({column}, 'hex')"
            if self.event_id_type == "bytea"
            else f"lower(replace({column}::text, '-', ''))"
        )
        return (
            f"case when {digits} ~ '{ID_PREFIX}[0-7][0-9a-f]{{15}}$'"
            f" then ('x' || right({digits}, 16))::bit(64)::bigint else {STRANGER} end"
        )

    @property
    def stream(self) -> str:
        """The number of the stream, the way back from ``history.stream_id``."""
        tenant, aggregate = self._tenant_number, self._aggregate_number
        number = aggregate if self.naming.tenant == "none" else f"{aggregate} * {TENANTS} + {tenant}"
        within = f"{aggregate} >= 0 and {tenant} between 0 and {TENANTS - 1}"
        return f"case when {within} then {number} else {NO_STREAM} end"

    @property
    def _aggregate_number(self) -> str:
        text = f"{self.columns['aggregate_id']}::text"
        if self.naming.stream in ("text", "uuid"):
            return f"case when {text} ~ '^{AGGREGATE_PREFIX}[0-9]{{12}}$' then right({text}, 12)::bigint else -1 end"
        return f"({number_of(self.columns['aggregate_id'])} - 1)"

    @property
    def _tenant_number(self) -> str:
        text, last = f"{self.columns['tenant_id']}::text", f"[0-{TENANTS - 1}]$"
        if self.naming.tenant == "none":
            return "0"
        if self.naming.tenant in ("text", "uuid"):
            name = TENANT_PREFIX if self.naming.tenant == "text" else f"{TENANT_ID_PREFIX}0{{11}}"
            return f"case when {text} ~ '^{name}{last}' then right({text}, 1)::bigint else -1 end"
        return f"({number_of(self.columns['tenant_id'])} - 1)"

    @property
    def sequence(self) -> str:
        """The sequence number, counted from 1; -1 for what is none."""
        return f"({self.number_in('sequence_number')} + {1 - self.first_sequence})"

    @property
    def transaction(self) -> str:
        """The transaction that wrote an event, where the store keeps it; nothing is asked of it elsewhere."""
        return self.number_in("transaction_id") if "transaction_id" in self.columns else "-1::bigint"

    def number_in(self, name: str) -> str:
        return number_of(self.columns[name])


def number_of(column: str) -> str:
    """A column of any type as a number; -1 for what is none, or more than any hunt comes to."""
    return f"case when {column}::text ~ '^-?[0-9]{{1,18}}$' then {column}::text::bigint else -1 end"


async def read_stored(connection: asyncpg.Connection[Any], table: StoredTable) -> Table:
    """Every event of the table, in no particular order."""
    chunks: list[bytes] = []

    async def keep(chunk: bytes) -> None:
        chunks.append(bytes(chunk))

    await connection.copy_from_query(
        f"select {table.key}, {table.stream}, {table.sequence}::bigint, {table.transaction},"
        f" {table.number_in('global_sequence_id')} from {table.relation}",
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
    """The hunt's stored events whose payload is not as their writer made it."""
    if table.is_parsed:
        with suppress(asyncpg.DataError):  # json takes what jsonb does not
            # offset: without it the server would work the key out anew wherever it is named.
            damaged: int = await connection.fetchval(
                f"with event as (select {table.key} as key, {table.columns['payload']} as payload"
                f" from {table.relation} offset 0) select count(*) from event"
                " where case when key <> $1 then payload::jsonb is distinct from"
                " jsonb_build_object('key', key, 'text', repeat(md5(key::text), (key % 8)::int)) end",
                STRANGER,
            )
            return damaged
    return await _count_damaged_texts(connection, table)


async def _count_damaged_texts(connection: asyncpg.Connection[Any], table: StoredTable) -> int:
    """Of documents that are kept as text: one that is none is a damaged one, and no error of the server's."""
    damaged = 0
    query = f"select {table.key} as key, {table.document} as document from {table.relation}"
    async with connection.transaction():
        async for row in connection.cursor(query, prefetch=10_000):
            damaged += row["key"] != STRANGER and _decoded(row["document"]) != payload_of(row["key"])
    return damaged


def _decoded(document: str | None) -> object:
    try:
        return msgspec.json.decode(document or "")
    except msgspec.MsgspecError:
        return None


async def replay_differences(store: EventStore, stored: Table, naming: Naming) -> int:
    """Of the longest streams: those whose snapshot and following events are not their full replay."""
    streams, lengths = np.unique(stored["stream"][stored["stream"] != NO_STREAM], return_counts=True)
    differences = 0
    for index in np.argsort(lengths)[::-1][:REPLAYED_STREAMS].tolist():
        differences += not await _replays_alike(store, naming, int(streams[index]), int(lengths[index]))
    return differences


async def _replays_alike(store: EventStore, naming: Naming, stream: int, length: int) -> bool:
    name, middle = stream_id(stream, naming), max(length // 2, 1)
    events = await store.load_aggregate(name.tenant_id, name.aggregate_id)
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
