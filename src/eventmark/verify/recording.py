"""A history written by hand against a real store, one step after the other."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import numpy as np

from eventmark.domain import EventBatch, NewEvent, TrackingToken
from eventmark.engine import PostgresEventStore
from eventmark.engine.transaction import StoreTransaction
from eventmark.stores import SqlEventStore, StoreDefinition, find_store, naming_of
from eventmark.stores.sql_transaction import SqlStoreTransaction
from eventmark.verify.attempts import Attempt
from eventmark.verify.checker import Fault, check
from eventmark.verify.history import (
    ATTEMPT,
    DELIVERED,
    PART,
    Consumption,
    History,
    Outcome,
    WriterLog,
    expanded,
    is_foreign,
    key_of_event,
    new_event,
    stream_id,
    tenant_of,
)
from eventmark.verify.stored import StoredTable, count_damaged, read_stored
from eventmark.verify.subject import ENGINE_STORE
from eventmark.workload import Naming

Read = Callable[[TrackingToken], Awaitable[EventBatch]]


def events(first: int, count: int) -> list[NewEvent]:
    return [new_event(key) for key in range(first, first + count)]


@dataclass
class Recording:
    """What was done in a schema, in the form that the checker takes.

    ``alone``: nobody else writes to the store, so that every other event is a fault.
    """

    store: PostgresEventStore | SqlEventStore
    schema: str
    alone: bool = True
    errors: list[str] = field(default_factory=list)  # of no kind that a store may raise
    attempts: list[tuple[int, bool, int, int, int]] = field(default_factory=list)
    parts: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    consumptions: list[Consumption] = field(default_factory=list)
    next_key: int = 1

    def note(
        self, outcome: Outcome, stream: int, first: int, sequence: int, count: int, *, commit_ns: int = 0
    ) -> None:
        now = time.monotonic_ns()
        attempt = Attempt(count == 1, now, commit_ns or now, [(stream, first, sequence, count)])
        self.note_attempt(outcome, attempt)

    def note_attempt(self, outcome: Outcome, attempt: Attempt) -> None:
        self.parts += [(len(self.attempts), *part) for part in attempt.parts]
        self.attempts.append(
            (outcome, attempt.single, attempt.invoked_ns, attempt.commit_ns, time.monotonic_ns())
        )

    def new(self, count: int) -> tuple[int, list[NewEvent]]:
        first = self.next_key
        self.next_key += count
        return first, events(first, count)

    async def append(self, stream: int, count: int = 1, *, version: int = 0) -> None:
        first, new = self.new(count)
        await self.store.append_events(stream_id(stream, self.naming), new, expected_version=version)
        self.note(Outcome.OK, stream, first, version + 1, count)

    async def append_in(
        self, transaction: StoreTransaction | SqlStoreTransaction, stream: int, count: int = 1
    ) -> int:
        """Appends; to be noted when the transaction has ended. Returns the first key."""
        first, new = self.new(count)
        await transaction.append_events(stream_id(stream, self.naming), new, expected_version=0)
        return first

    async def consume(
        self, read: Read, start: TrackingToken, *, name: str = "planted", tenant: int | None = None,
        made_ns: int = 0, polls: int = 1,
    ) -> TrackingToken:  # fmt: skip
        """Read so many times from ``start``; the token to go on from. The same name goes on with its consumption."""
        seen = next((consumption for consumption in self.consumptions if consumption.name == name), None)
        if seen is None:
            seen = Consumption(name, tenant, start, made_ns, np.empty(0, DELIVERED))
            self.consumptions.append(seen)
        token = start
        for _ in range(polls):
            batch = await read(token)
            seen.tokens_back += batch.token.compare(token) < 0
            token = batch.token
            keys = [key_of_event(event) for event in batch.events]
            if tenant is not None:
                seen.foreign += sum(
                    is_foreign(event, tenant_of(tenant, self.naming)) for event in batch.events
                )
            now = time.monotonic_ns()
            seen.delivered = np.concatenate(
                (seen.delivered, np.array([(key, now, now) for key in keys], DELIVERED))
            )
        return token

    @property
    def naming(self) -> Naming:
        return naming_of(self.store)

    @property
    def definition(self) -> StoreDefinition:
        return self.store.definition if isinstance(self.store, SqlEventStore) else find_store(ENGINE_STORE)

    async def history(self, connection: asyncpg.Connection[Any]) -> History:
        """Everything up to now, held against what the table holds."""
        parts = WriterLog(parts=np.array(self.parts, PART)).parts
        if isinstance(self.store, SqlEventStore):
            total_order, by_number = True, self.definition.ordering != "transaction-id"
        else:
            ordering = self.store.ordering
            total_order, by_number = ordering.total_order, not ordering.by_transaction_id
        table = await StoredTable.of(connection, self.schema, self.definition)
        return History(
            total_order=total_order, by_number=by_number, alone=self.alone,
            has_transaction_ids="transaction_id" in self.definition.columns,
            attempts=np.array(self.attempts, ATTEMPT), written=expanded(parts),
            stored=await read_stored(connection, table), consumptions=self.consumptions,
            damaged=await count_damaged(connection, table), errors=self.errors,
        )  # fmt: skip

    async def faults(self, connection: asyncpg.Connection[Any]) -> list[Fault]:
        return check(await self.history(connection))
