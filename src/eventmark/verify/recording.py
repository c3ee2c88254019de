"""A history written by hand against a real store, one step after the other."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import asyncpg
import numpy as np

from eventmark.domain import EventBatch, NewEvent, TrackingToken
from eventmark.engine import PostgresEventStore
from eventmark.engine.transaction import StoreTransaction
from eventmark.stores import find_store
from eventmark.verify.checker import Fault, check
from eventmark.verify.history import (
    ATTEMPT,
    DELIVERED,
    PART,
    Consumption,
    History,
    Outcome,
    WriterLog,
    event_id,
    expanded,
    key_of,
    stream_id,
)
from eventmark.verify.stored import StoredTable, count_damaged, read_stored
from eventmark.verify.subject import ENGINE_STORE
from eventmark.verify.writers import payload_of

Read = Callable[[TrackingToken], Awaitable[EventBatch]]


def events(first: int, count: int) -> list[NewEvent]:
    return [
        NewEvent(
            event_id=event_id(key), event_type="Hunted", payload=payload_of(key), metadata={},
            timestamp=datetime.now(UTC), payload_type="Hunted",
        )
        for key in range(first, first + count)
    ]  # fmt: skip


@dataclass
class Recording:
    """What was done in a schema, in the form that the checker takes."""

    store: PostgresEventStore
    schema: str
    attempts: list[tuple[int, bool, int, int, int]] = field(default_factory=list)
    parts: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    consumptions: list[Consumption] = field(default_factory=list)
    next_key: int = 1

    def note(
        self, outcome: Outcome, stream: int, first: int, sequence: int, count: int, *, commit_ns: int = 0
    ) -> None:
        now = time.monotonic_ns()
        self.parts.append((len(self.attempts), stream, first, sequence, count))
        self.attempts.append((outcome, count == 1, now, commit_ns or now, now))

    def new(self, count: int) -> tuple[int, list[NewEvent]]:
        first = self.next_key
        self.next_key += count
        return first, events(first, count)

    async def append(self, stream: int, count: int = 1, *, version: int = 0) -> None:
        first, new = self.new(count)
        await self.store.append_events(stream_id(stream), new, expected_version=version)
        self.note(Outcome.OK, stream, first, version + 1, count)

    async def append_in(self, transaction: StoreTransaction, stream: int, count: int = 1) -> int:
        """Appends; to be noted when the transaction has ended. Returns the first key."""
        first, new = self.new(count)
        await transaction.append_events(stream_id(stream), new, expected_version=0)
        return first

    async def consume(
        self, read: Read, start: TrackingToken, *, name: str = "planted", tenant: int | None = None,
        made_ns: int = 0, polls: int = 1,
    ) -> TrackingToken:  # fmt: skip
        """Read so many times from ``start``; the token to go on from. The same name goes on with its consumption."""
        seen = next((one for one in self.consumptions if one.name == name), None)
        if seen is None:
            seen = Consumption(name, tenant, start, made_ns, np.empty(0, DELIVERED))
            self.consumptions.append(seen)
        token = start
        for _ in range(polls):
            batch = await read(token)
            seen.tokens_back += batch.token.compare(token) < 0
            token = batch.token
            keys = [key_of(event.event_id) for event in batch.events]
            seen.foreign += sum(
                tenant is not None and event.tenant_id != f"tenant-{tenant}" for event in batch.events
            )
            seen.delivered = np.concatenate(
                (seen.delivered, np.array([(key, 0, 0) for key in keys], DELIVERED))
            )
        return token

    async def faults(self, connection: asyncpg.Connection) -> list[Fault]:
        parts = WriterLog(parts=np.array(self.parts, PART)).parts
        ordering = self.store.ordering
        table = await StoredTable.of(connection, self.schema, find_store(ENGINE_STORE))
        return check(
            History(
                total_order=ordering.total_order, by_number=not ordering.by_transaction_id,
                attempts=np.array(self.attempts, ATTEMPT), written=expanded(parts),
                stored=await read_stored(connection, table), consumptions=self.consumptions,
                damaged=await count_damaged(connection, table),
            )
        )  # fmt: skip
