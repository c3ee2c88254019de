"""An event store that is nothing but SQL files: the statements of a store's folder, run as they are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import asyncpg

from eventmark.domain import (
    AppendResult,
    Capabilities,
    EventBatch,
    GlobalSequence,
    NewEvent,
    SequenceNumber,
    Snapshot,
    StreamId,
    TrackingToken,
    TransactionId,
)
from eventmark.domain.tokens import tenant_mark
from eventmark.engine.appending import version_conflict
from eventmark.engine.pool import Pool, Session
from eventmark.engine.receiving import BATCH_BYTES_MAX, Cutter
from eventmark.engine.records import EventRecord
from eventmark.engine.schema import Marker, read_marker
from eventmark.engine.translation import (
    DRIVER_ERRORS,
    is_connection_lost,
    translated_read_error,
    translated_write_error,
)
from eventmark.engine.turns import NO_TENANT
from eventmark.errors import (
    CannotRunError,
    DuplicateEventError,
    EventStoreError,
    OutcomeUnknownError,
    StoreUnavailableError,
    TokenRefusedError,
)
from eventmark.server.search_path import confined_dsn
from eventmark.stores.answers import NOT_TOLD, append_result_of, token_of_row
from eventmark.stores.conflict import is_conflict
from eventmark.stores.definition import StoreDefinition
from eventmark.stores.parameters import PER_EVENT_PARAMETERS, append_values, event_values, snapshot_values
from eventmark.stores.shape import read_shape
from eventmark.stores.sql_transaction import SqlStoreTransaction
from eventmark.stores.values import Encoder, read_encoders
from eventmark.workload import Naming

POLL_INTERVAL_S = 0.02
ACQUIRE_TIMEOUT_S = 30.0
OPERATION_TIMEOUT_S = 60.0
_UNMARKED = UUID(int=0)
"""The identity of a store that Eventmark did not make: its tokens are of this process alone."""


class SqlEventStore:
    """A store described by its folder. Statements get their parameters by name."""

    def __init__(
        self,
        pool: Pool,
        definition: StoreDefinition,
        marker: Marker | None,
        encoders: Mapping[str, tuple[Encoder | None, ...]],
        naming: Naming,
    ) -> None:
        self.pool = pool
        self.definition = definition
        self.capabilities: Capabilities = definition.capabilities
        self.store_id = marker.store_id if marker else _UNMARKED
        self.epoch = marker.epoch if marker else 1
        self._cutter = Cutter()
        self.naming = naming
        self._parameters = {
            name: tuple(parameter.name for parameter in statement.parameters)
            for name, statement in definition.statements.items()
        }
        self.encoders = {
            name: encoders.get(name, (None,) * len(parameters))
            for name, parameters in self._parameters.items()
        }

    @classmethod
    async def connect(
        cls, dsn: str, definition: StoreDefinition, *, schema: str, pool_min: int = 1, pool_max: int = 20,
        marked: bool = True, tenant_pool_max: int | None = None,
    ) -> Self:  # fmt: skip
        """Open the store in ``schema``. Raises ``CannotRunError`` where there is none.

        One that Eventmark did not make is not ``marked``. Tenants that wait for a connection take turns, as the
        engine's do, and ``tenant_pool_max`` bounds the connections of one of them.
        """
        sql = {name: statement.sql(schema) for name, statement in definition.statements.items()}
        pool = Pool(
            confined_dsn(dsn, schema),
            sql,
            record_class=EventRecord,
            size_max=pool_max,
            acquire_timeout_s=ACQUIRE_TIMEOUT_S,
            operation_timeout_s=OPERATION_TIMEOUT_S,
            application_name="eventmark",
            settings={},  # its statements are measured with the server's own defaults
            tenant_max=tenant_pool_max,
        )
        try:
            session = await pool.acquire()
            try:
                marker = await read_marker(session.connection, schema) if marked else None
                encoders = await read_encoders(session.connection, sql if marker or not marked else {})
                naming = (await read_shape(session.connection, definition, schema)).naming
            finally:
                pool.release(session)
            if marked and marker is None:
                raise CannotRunError(f"there is no event store in schema {schema!r}", remedy="seed one")
            await pool.fill(pool_min)
        except BaseException as error:
            await pool.close()
            if isinstance(error, DRIVER_ERRORS):
                raise translated_read_error(error) from error
            raise
        return cls(pool, definition, marker, encoders, naming)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self.pool.close()

    async def append_events(
        self, stream: StreamId, events: Sequence[NewEvent], *, expected_version: int
    ) -> AppendResult:
        """One statement for the batch, or one per event in a transaction, as the file's parameters say."""
        async with self._session(stream.tenant_id) as session:
            return await self._append(session, stream, events, expected_version)

    def transaction(self) -> SqlStoreTransaction:
        """Appends and statements of the caller's own in one database transaction; see ``PooledTransaction``."""
        return SqlStoreTransaction(self.pool, self._append)

    async def load_aggregate(
        self, tenant_id: str, aggregate_id: str, *, from_sequence: int = 1
    ) -> Sequence[EventRecord]:
        return await self._read(
            "load_aggregate",
            {"tenant_id": tenant_id, "aggregate_id": aggregate_id, "from_sequence": from_sequence},
        )

    async def stream_events(
        self,
        token: TrackingToken,
        *,
        limit: int = 1000,
        tenant_id: str | None = None,
        wait_s: float = 0.0,
    ) -> EventBatch:
        """As the statement orders them; waiting is polling."""
        if token.store_id != self.store_id or token.epoch != self.epoch:
            raise TokenRefusedError("the token belongs to another store or another epoch")
        if token.tenant and (tenant_id is None or token.tenant != tenant_mark(tenant_id)):
            raise TokenRefusedError("the token is of one tenant's events")
        deadline = time.monotonic() + wait_s
        while True:
            batch = await self._read_after(token, limit, tenant_id)
            if batch.events or time.monotonic() >= deadline:
                return batch
            await asyncio.sleep(POLL_INTERVAL_S)

    async def store_snapshot(self, snapshot: Snapshot) -> None:
        await self._read("store_snapshot", snapshot_values(snapshot, self.naming))

    async def read_snapshot(self, tenant_id: str, aggregate_id: str) -> Snapshot | None:
        rows = await self._read("read_snapshot", {"tenant_id": tenant_id, "aggregate_id": aggregate_id})
        if not rows:
            return None
        row: Mapping[str, Any] = dict(rows[0])
        payload = row["payload"]
        return Snapshot(
            stream=StreamId(
                tenant_id=tenant_id,
                aggregate_type=row.get("aggregate_type", ""),
                aggregate_id=aggregate_id,
            ),
            sequence_number=SequenceNumber(row["sequence_number"]),
            payload=payload.decode(errors="replace") if isinstance(payload, bytes) else payload,
            payload_type=row.get("payload_type", ""),
            payload_revision=row.get("payload_revision", ""),
            timestamp=row.get("timestamp_utc", datetime.min),
        )

    async def create_tail_token(self) -> TrackingToken:
        """Before the first event. Needs no round trip."""
        return self._token({})

    async def create_head_token(self) -> TrackingToken:
        rows = await self._read("create_head_token", {})
        return self._token(dict(rows[0]) if rows else {})

    async def create_token_at(self, instant: datetime) -> TrackingToken:
        rows = await self._read("create_token_at", {"instant": instant})
        if not rows:
            return await (
                self.create_head_token() if self.capabilities.head_token else self.create_tail_token()
            )
        row = dict(rows[0])
        row["global_sequence_id"] = row.get("global_sequence_id", 1) - 1
        return self._token(row)

    async def _append(
        self, session: Session, stream: StreamId, events: Sequence[NewEvent], expected_version: int
    ) -> AppendResult:
        values = append_values(stream, events, expected_version, self.naming)
        try:
            if set(self._parameters["append_events"]) & set(PER_EVENT_PARAMETERS):
                return await self._append_one_by_one(session, stream, values)
            rows = await session.fetch("append_events", *self._arguments("append_events", values))
        except DRIVER_ERRORS as error:
            raise self.append_error(error, stream, expected_version, values["event_ids"]) from error
        return append_result_of(session, rows, stream, expected_version, len(events))

    async def _append_one_by_one(
        self, session: Session, stream: StreamId, values: Mapping[str, Any]
    ) -> AppendResult:
        """All or nothing: an event that is refused takes those before it back."""
        async with session.connection.transaction():
            for index in range(len(values["event_ids"])):
                event = {**values, **event_values(values, index)}
                rows = await session.fetch("append_events", *self._arguments("append_events", event))
                result = append_result_of(session, rows, stream, event["expected_version"], 1)
        return result

    def append_error(
        self, error: Exception, stream: StreamId, expected_version: int, event_ids: Sequence[UUID]
    ) -> EventStoreError:
        """The driver's error of an append as one of ours."""
        if isinstance(error, asyncpg.UniqueViolationError) and self._is_about_the_event_id(error):
            return DuplicateEventError(tenant_id=stream.tenant_id, event_ids=tuple(event_ids))
        if is_conflict(error, self.definition.conflict):
            return version_conflict(stream, expected_version, NOT_TOLD)
        return translated_write_error(error, stream.tenant_id, event_ids)

    def _is_about_the_event_id(self, error: asyncpg.UniqueViolationError) -> bool:
        """By the columns the server names in the error's detail: ``Key (id)=(...) already exists.``"""
        columns = self.definition.columns
        named = (error.detail or "").partition("(")[2].partition(")")[0].replace('"', "").split(", ")
        return columns.get("event_id") in named and columns["sequence_number"] not in named

    async def _read_after(self, token: TrackingToken, limit: int, tenant_id: str | None) -> EventBatch:
        values = {
            "transaction_id": token.transaction_id,
            "global_sequence": token.global_sequence,
            "tenant_id": tenant_id,
        }
        name = "stream_events" if tenant_id is None else "stream_tenant_events"

        async def read(count: int) -> list[EventRecord]:
            return await self._read(name, {**values, "batch_size": count}, is_single=count == 1)

        events = await self._cutter.read(read, limit)
        if not events:
            return EventBatch(events, token)
        tenant = 0 if tenant_id is None else tenant_mark(tenant_id)
        return EventBatch(events, replace(self._token(dict(events[-1])), tenant=tenant))

    async def _read(
        self, name: str, values: Mapping[str, Any], *, is_single: bool = False
    ) -> list[EventRecord]:
        if name not in self._parameters:
            raise EventStoreError(f"store {self.definition.name!r} has no {name}.sql", remedy="write it")
        try:
            async with self._session(values.get("tenant_id") or NO_TENANT) as session:
                bytes_max = None if is_single else BATCH_BYTES_MAX
                return await session.fetch_bounded(bytes_max, name, *self._arguments(name, values))
        except DRIVER_ERRORS as error:
            raise translated_read_error(error) from error

    def _arguments(self, name: str, values: Mapping[str, Any]) -> list[Any]:
        return [
            values[parameter] if encode is None else encode(values[parameter])
            for parameter, encode in zip(self._parameters[name], self.encoders[name], strict=True)
        ]

    @asynccontextmanager
    async def _session(self, tenant: str) -> AsyncIterator[Session]:
        try:
            session = await self.pool.acquire(tenant)
        except DRIVER_ERRORS as error:
            raise StoreUnavailableError(f"no connection to the server: {error}") from error
        try:
            yield session
        except BaseException as error:
            lost = isinstance(error, OutcomeUnknownError) or is_connection_lost(error)
            if isinstance(error, Exception) and not lost:
                self.pool.release(session)
            else:
                self.pool.discard(session)  # what the server still does on it is not known
            raise
        self.pool.release(session)

    def _token(self, row: Mapping[str, Any]) -> TrackingToken:
        tail = TrackingToken(self.store_id, self.epoch, TransactionId(0), GlobalSequence(0))
        return token_of_row(tail, row, by_transaction=self.definition.ordering == "transaction-id")
