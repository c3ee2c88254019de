"""The event storage engine for PostgreSQL: one statement and one round trip per operation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Self, TypeVar
from uuid import UUID

import asyncpg

from eventmark.domain import (
    AppendResult,
    Capabilities,
    EventBatch,
    GlobalSequence,
    NewEvent,
    Snapshot,
    StreamId,
    TrackingToken,
    TransactionId,
)
from eventmark.domain.tokens import tenant_mark
from eventmark.engine import encoding
from eventmark.engine.appending import (
    append_result,
    check_stored,
    conflict_or_stored,
    group_rows,
    version_conflict,
)
from eventmark.engine.encoding import CheckedBatch
from eventmark.engine.notifications import Listener, Notifier, wait_for_event
from eventmark.engine.opening import open_pool
from eventmark.engine.orderings import ORDERINGS, Ordering
from eventmark.engine.parameters import SECONDS_MAX, checked_count, checked_seconds
from eventmark.engine.pool import Pool
from eventmark.engine.reads import Reads, check_limit
from eventmark.engine.receiving import BATCH_BYTES_MAX
from eventmark.engine.records import EventRecord
from eventmark.engine.schema import Marker
from eventmark.engine.sessions import one_server
from eventmark.engine.transaction import StoreTransaction
from eventmark.engine.translation import (
    DRIVER_ERRORS,
    STREAM_CONSTRAINT,
    translated_write_error,
)
from eventmark.errors import (
    AlreadyStoredError,
    TokenRefusedError,
    VersionConflictError,
)

_Answer = TypeVar("_Answer")

POLL_INTERVAL_S = 0.1
NOTIFY_INTERVAL_S = 0.005
ACQUIRE_TIMEOUT_S = 30.0
OPERATION_TIMEOUT_S = 60.0


class PostgresEventStore:
    """A multi-tenant event store in one schema of a PostgreSQL database, 15 or later.

    ``ordering`` is how consumers read the log; it was chosen when the schema was installed.
    """

    def __init__(
        self,
        pool: Pool,
        marker: Marker,
        *,
        channel: str,
        notify: bool,
        reads_every_tenant: bool = True,
        poll_interval_s: float = POLL_INTERVAL_S,
        batch_bytes_max: int = BATCH_BYTES_MAX,
    ) -> None:
        self.pool = pool
        self.poll_interval_s = poll_interval_s
        self.ordering: Ordering = ORDERINGS[marker.ordering]
        self.capabilities = Capabilities(all_tenants_stream=self.ordering.all_tenants)
        self.store_id = marker.store_id
        self.epoch = marker.epoch
        self._tail = TrackingToken(marker.store_id, marker.epoch, TransactionId(0), GlobalSequence(0))
        self._reads = Reads(pool, batch_bytes_max, self.ordering.statements())
        self._read, self._fetch = self._reads.read, self._reads.fetch
        self._reader = self.ordering.reader(self._reads.read, self._tail)
        self._single_reader = self.ordering.reader(self._reads.read_single, self._tail)
        self._reads_every_tenant = reads_every_tenant
        self.row_level_security = marker.row_level_security
        self._channel = channel
        # LISTEN is a state of a session, of which a pooler has none.
        self._listener = None if pool.transaction_pooling else Listener(pool.connect, channel)
        self._notifier = Notifier(self._send_notification, interval_s=NOTIFY_INTERVAL_S) if notify else None

    @classmethod
    async def connect(
        cls,
        dsn: str,
        *,
        schema: str = "eventmark",
        pool_min: int = 1,
        pool_max: int = 20,
        acquire_timeout_s: float = ACQUIRE_TIMEOUT_S,
        operation_timeout_s: float = OPERATION_TIMEOUT_S,
        notify: bool = True,
        poll_interval_s: float = POLL_INTERVAL_S,
        batch_bytes_max: int = BATCH_BYTES_MAX,
        transaction_pooling: bool = False,
        tenant_pool_max: int | None = None,
    ) -> Self:
        """Open the store in ``schema``. Raises ``CannotRunError`` where there is none.

        With ``notify``, appends wake consumers that wait; without, consumers find events by polling, every
        ``poll_interval_s``. A statement that is not answered within ``operation_timeout_s`` is given up, with its
        connection. What one read brings is at most ``batch_bytes_max`` bytes, or a single event: batches are cut
        there. ``transaction_pooling`` is for a pooler that hands out another server process for each
        transaction and keeps no prepared statements, such as PgBouncer before 1.21: each operation is then a
        transaction of four round trips, and consumers poll.

        Tenants that wait for a connection are served in turn. ``tenant_pool_max`` bounds the connections of one
        tenant while other tenants are present (within the last second), so that one tenant's load occupies neither
        the pool nor the server; a tenant that is alone may use them all. Transactions, groups of appends and
        reads of all tenants are not bounded.
        """
        checked_seconds(poll_interval_s, "poll_interval_s")
        checked_count(batch_bytes_max, "batch_bytes_max")
        pool, marker, every_tenant = await open_pool(
            dsn,
            schema,
            pool_min=pool_min,
            pool_max=pool_max,
            acquire_timeout_s=acquire_timeout_s,
            operation_timeout_s=operation_timeout_s,
            transaction_pooling=transaction_pooling,
            tenant_pool_max=tenant_pool_max,
        )
        return cls(
            pool, marker, channel=f"eventmark_{schema}", notify=notify, reads_every_tenant=every_tenant,
            poll_interval_s=poll_interval_s, batch_bytes_max=batch_bytes_max,
        )  # fmt: skip

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Operations under way are finished, those that wait for a connection refused."""
        if self._notifier is not None:
            await self._notifier.close()
        if self._listener is not None:
            await self._listener.close()
        await self.pool.close()

    async def append_events(
        self, stream: StreamId, events: Sequence[NewEvent], *, expected_version: int
    ) -> AppendResult:
        """Append ``events`` as ``expected_version + 1, + 2, ...``, all or none.

        ``expected_version`` is the sequence number of the stream's last event, 0 for a new stream. Raises
        ``InvalidEventError``, ``VersionConflictError``, ``DuplicateEventError``, and
        ``OutcomeUnknownError`` when the connection was lost before the answer came. Repeated after that, with the
        same event ids, it raises ``AlreadyStoredError`` where the first one was stored.
        """
        return await self.append_encoded(stream, encoding.append_arguments(stream, events, expected_version))

    async def append_encoded(self, stream: StreamId, arguments: tuple[Any, ...]) -> AppendResult:
        """``append_events`` with the arguments that ``encoding.append_arguments`` made."""
        expected_version, event_ids = arguments[3], arguments[4]
        try:
            row = (await self._fetch("append_events", *arguments))[0]
        except asyncpg.UniqueViolationError as error:
            # A race that the statement could not see, or the first try of this append, which was under way until now.
            conflict = version_conflict(stream, expected_version, await self._version(stream))
            explained = await self.explained_conflict(conflict, stream, event_ids)
            if error.constraint_name == STREAM_CONSTRAINT or isinstance(explained, AlreadyStoredError):
                raise explained from error
            raise translated_write_error(error, stream.tenant_id, event_ids) from error
        except DRIVER_ERRORS as error:
            raise translated_write_error(error, stream.tenant_id, event_ids) from error
        try:
            result = append_result(row, stream, expected_version, len(event_ids))
        except VersionConflictError as conflict:
            raise await self.explained_conflict(conflict, stream, event_ids) from None
        self._notify_soon()
        return result

    async def explained_conflict(
        self, conflict: VersionConflictError, stream: StreamId, event_ids: Sequence[UUID]
    ) -> VersionConflictError | AlreadyStoredError:
        """``conflict``, or ``AlreadyStoredError`` where a look-up finds the events; a short stream needs none."""
        return await conflict_or_stored(conflict, stream, event_ids, self.find_events)

    async def append_group(self, batches: Sequence[CheckedBatch]) -> list[tuple[int | None, int, int]]:
        """Append many batches, sorted and of streams apart, in one statement; a row for each.

        A row is what ``appending.append_result`` takes. Any error is one of the whole group: nothing was
        written, but after ``OutcomeUnknownError``.
        """
        try:
            (answer,) = await self._fetch("append_group", *encoding.group_arguments(batches))
        except DRIVER_ERRORS as error:
            raise translated_write_error(error, "", ()) from error
        self._notify_soon()
        return group_rows(answer, [len(batch.events) for batch in batches])

    def transaction(self) -> StoreTransaction:
        """Appends and statements of the caller's own in one database transaction, on one connection.

        ``async with store.transaction() as transaction``: leaving the block commits, an exception rolls
        back. Raises ``OutcomeUnknownError`` when the connection is lost during the commit, and
        ``StoreUnavailableError`` when the server did not commit.
        """
        return StoreTransaction(self.pool, self._notify_soon)

    async def load_aggregate(
        self, tenant_id: str, aggregate_id: str, *, from_sequence: int = 1, limit: int | None = None
    ) -> Sequence[EventRecord]:
        """The aggregate's events from ``from_sequence`` on, in order; empty when there are none.

        With a ``limit`` at most that many, fewer where they are large; without, all, or ``BatchTooLargeError``.
        Raises ``UnreadableEventError``, which names the event.
        """
        encoding.checked_id(tenant_id, "tenant_id")
        encoding.checked_id(aggregate_id, "aggregate_id")
        encoding.checked_version(from_sequence, "from_sequence")
        if limit is None:
            return await self._reads.load_all(tenant_id, aggregate_id, from_sequence)
        check_limit(limit)
        return await self._reads.load_part(tenant_id, aggregate_id, from_sequence, limit)

    async def stream_events(
        self,
        token: TrackingToken,
        *,
        limit: int = 1000,
        tenant_id: str | None = None,
        wait_s: float = 0.0,
    ) -> EventBatch:
        """At most ``limit`` events after ``token``, of one tenant or of all, and the token to go on from.

        With ``wait_s`` above 0, the call waits until there is an event or the time is over. A notification
        ends the wait; polling every ``poll_interval_s`` covers a notification that was lost, or that came while
        an older transaction still held the horizon. A batch of fewer than ``limit`` events need not be the end of
        the log: it is cut at ``batch_bytes_max``, and before an event that cannot be read, for which the next call
        raises ``UnreadableEventError``.
        """
        self._check_token(token, tenant_id)
        check_limit(limit)
        if tenant_id is None:
            self._check_reads_every_tenant()
        else:
            encoding.checked_id(tenant_id, "tenant_id")
        if checked_seconds(wait_s, "wait_s", above=-SECONDS_MAX) <= 0:
            return await self._read_after(token, limit, tenant_id)
        return await self._wait_after(token, limit, tenant_id, time.monotonic() + wait_s)

    async def find_events(self, tenant_id: str, event_ids: Sequence[UUID]) -> Sequence[EventRecord]:
        """The stored events of a tenant that have these ids.

        After ``OutcomeUnknownError``, all of its ``event_ids`` are stored, or none. Finding none is not final: the
        server may still be working on the lost connection's append. Append the same events again to be sure: this
        stores them, or raises ``AlreadyStoredError``.
        """
        encoding.checked_id(tenant_id, "tenant_id")
        return await self._read("find_events", tenant_id, list(event_ids))

    async def store_snapshot(self, snapshot: Snapshot) -> None:
        """Store a snapshot.

        Raises ``SnapshotRefusedError`` for one beyond the stream's end or older than the one stored.
        """
        stream = encoding.checked_stream(snapshot.stream)
        try:
            stored = await self._fetch(
                "store_snapshot",
                stream.tenant_id,
                stream.aggregate_id,
                stream.aggregate_type,
                encoding.checked_version(snapshot.sequence_number, "sequence_number", lowest=1),
                encoding.checked_instant(snapshot.timestamp, "timestamp"),
                encoding.checked_id(snapshot.payload_type, "payload_type"),
                encoding.checked_id(snapshot.payload_revision, "payload_revision"),
                encoding.encoded_document(snapshot.payload, "payload"),
            )
        except DRIVER_ERRORS as error:
            raise translated_write_error(error, stream.tenant_id, ()) from error
        check_stored(snapshot, len(stored))

    async def read_snapshot(self, tenant_id: str, aggregate_id: str) -> Snapshot | None:
        """The latest snapshot, its payload as JSON text, or None."""
        encoding.checked_id(tenant_id, "tenant_id")
        encoding.checked_id(aggregate_id, "aggregate_id")
        rows = await self._reads.read_snapshot(tenant_id, aggregate_id)
        return rows[0].snapshot() if rows else None

    async def create_tail_token(self) -> TrackingToken:
        """Before the first event. Needs no round trip."""
        return self._tail

    async def create_head_token(self, *, tenant_id: str | None = None) -> TrackingToken:
        """After every event that a consumer could have been given by now, and after no other.

        ``tenant_id`` is needed where only a tenant's events have an order (``tenant_lock``).
        """
        self._check_reads_every_tenant()
        return await self._reader.head(tenant_id)

    async def create_token_at(self, instant: datetime, *, tenant_id: str | None = None) -> TrackingToken:
        """Before the events whose timestamps are at or after ``instant``; the head where there are none.

        Timestamps are what writers' clocks said and do not rise strictly along the log. The token lies before all of
        the 25 events that follow the instant in time, and before every event that a clock ran ahead for, as long as
        fewer than 25 others lie between two of these. Only one that stands alone further from its place than that,
        such as a single imported event, may lie before the token: see docs/ordering.md, "From an instant".
        """
        encoding.checked_instant(instant, "instant")
        self._check_reads_every_tenant()
        return await self._reader.at(instant, tenant_id)

    async def run_statement(self, name: str, *arguments: object) -> list[Any]:
        """Run one of the engine's own statements; errors are the engine's."""
        return await self._read(name, *arguments)

    async def with_connection(
        self, action: Callable[[asyncpg.Connection[Any]], Awaitable[_Answer]]
    ) -> _Answer:
        """``await action(connection)`` on a connection of the pool, which it must leave as it found it."""
        session = await self.pool.acquire()
        try:
            async with one_server(session.connection, self.pool.transaction_pooling):
                answer = await action(session.connection)
        except BaseException:
            self.pool.discard(session)
            raise
        self.pool.release(session)
        return answer

    async def _version(self, stream: StreamId) -> int:
        rows = await self._read("stream_version", stream.tenant_id, stream.aggregate_id)
        return rows[0][0] if rows else 0

    async def _wait_after(
        self, token: TrackingToken, limit: int, tenant_id: str | None, deadline: float
    ) -> EventBatch:
        while True:
            heard = self._listen()
            batch = await self._read_after(token, limit, tenant_id)
            token = batch.token
            left_s = deadline - time.monotonic()
            if batch.events or left_s <= 0:
                return batch
            await wait_for_event(heard, min(left_s, self.poll_interval_s))

    def _listen(self) -> asyncio.Event:
        """What the next notification will set; where none can be heard, nothing sets it."""
        return asyncio.Event() if self._listener is None else self._listener.open()

    async def _read_after(self, token: TrackingToken, limit: int, tenant_id: str | None) -> EventBatch:
        async def read(count: int) -> EventBatch:
            reader = self._reader if count > 1 else self._single_reader
            return await reader.read_after(token, count, tenant_id)

        return await self._reads.cut(read, limit)

    def _notify_soon(self) -> None:
        if self._notifier is not None:
            self._notifier.appended()

    async def _send_notification(self) -> None:
        await self._fetch("notify", self._channel)

    def _check_reads_every_tenant(self) -> None:
        if not self._reads_every_tenant:
            raise TokenRefusedError(
                "this role reads the events of one tenant at a time, and not the log of all tenants",
                remedy="name a tenant_id and begin at the tail, or grant the schema's consumer role to it",
            )

    def _check_token(self, token: TrackingToken, tenant_id: str | None) -> None:
        if not isinstance(token, TrackingToken):
            raise TokenRefusedError(f"a TrackingToken is needed, got {type(token).__name__}")
        if token.store_id != self.store_id or token.epoch != self.epoch:
            raise TokenRefusedError(
                "the token belongs to another store or another epoch",
                remedy="create a new token in this store",
            )
        if token.tenant and (tenant_id is None or token.tenant != tenant_mark(tenant_id)):
            raise TokenRefusedError(
                "the token belongs to one tenant's events: a reader of others would miss what comes before it",
                remedy="go on with a token of the same tenant, or create a new one",
            )
        if not (0 <= token.transaction_id < 2**64 and 0 <= token.global_sequence < 2**63):
            raise TokenRefusedError("the token's position is not one that a store can have")
