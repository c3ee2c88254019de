"""What an aggressor does: kinds of work by which one tenant can burden another's server, or another's service."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
import numpy as np

from eventmark.domain import NewEvent, StreamId
from eventmark.errors import CannotRunError, EventStoreError
from eventmark.seeding import CorpusSample
from eventmark.stores import PooledStore, StoreDefinition, append_beside, find_store, naming_of, open_store
from eventmark.workers import WorkerLink
from eventmark.workload import example_payloads

APPLICATION = "eventmark-aggressor"
BULK_EVENTS = 100
REPLAY_BATCH_EVENTS = 1000
FAILED_WAIT_S = 0.02
SETTLE_S = 0.2
"""From the aggressor's beginning to the victim's: it is to be in full swing."""

STOP = "stop"
_PAYLOADS = 200


@dataclass(slots=True)
class AggressorWork:
    """What it did: calls that were answered, and those that failed."""

    calls: int = 0
    failed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AggressorTask:
    """What travels to the process: its own, or that of the victim's load, whose ``Companion`` it is."""

    dsn: str
    store: str
    schema: str
    kind: str
    tenant: str
    sample: CorpusSample
    users: int
    seed: int

    @asynccontextmanager
    async def at_work(self, store: PooledStore) -> AsyncIterator[AggressorWork]:
        """Its users at work on an opened store, in full swing when entered; the account is whole when left.

        Raises ``CannotRunError`` where a user ended.
        """
        work = _Work(self, find_store(self.store), store)
        users = [asyncio.create_task(work.run(number)) for number in range(self.users)]
        began_s = time.monotonic()
        try:
            await asyncio.sleep(SETTLE_S)
            yield work.account
        finally:
            work.account.seconds = time.monotonic() - began_s
            for user in users:
                user.cancel()
            ended = await asyncio.gather(*users, return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise CannotRunError(f"the aggressor ended: {type(outcome).__name__}: {outcome}") from None


async def run_aggressor(task: AggressorTask, link: WorkerLink) -> AggressorWork:
    """Run in a process of its own, from the start until it is told ``STOP``. Raises ``CannotRunError``."""
    try:
        store = await open_store(
            find_store(task.store), task.dsn, schema=task.schema, pool_min=task.users, pool_max=task.users
        )
    except EventStoreError as error:
        raise CannotRunError(str(error)) from None
    try:
        await rename_sessions(store, task.users, APPLICATION)
        await link.ready()
        async with task.at_work(store) as account:
            await link.receive(str)
        return account
    finally:
        await store.close()


async def rename_sessions(store: PooledStore, count: int, application: str) -> None:
    """All ``count`` connections of a store's pool, so that what they wait for is told from what others wait for."""
    sessions = [await store.pool.acquire() for _ in range(count)]
    for session in sessions:
        await session.connection.execute(f"set application_name = '{application}'")
        store.pool.release(session)


class _Work:
    """One kind of work, by any number of users."""

    def __init__(self, task: AggressorTask, definition: StoreDefinition, store: PooledStore) -> None:
        self._task = task
        self._definition = definition
        self._store = store
        self._random = np.random.default_rng([task.seed, 21])
        self._payloads = example_payloads(_PAYLOADS, self._random)
        self._numbers = itertools.count()
        self._naming = naming_of(store)
        self._names = self._naming.new_stream_ids(self._random)
        self.account = AggressorWork()

    async def run(self, number: int) -> None:
        """Over and over, until cancelled. A failure is counted, and is no reason to stop."""
        if self._task.kind == IDLE_TRANSACTION:
            await self._hold(number)
            return
        call = await self._prepared(number)
        while True:
            try:
                await call()
                self.account.calls += 1
            except EventStoreError:
                self.account.failed += 1
                await asyncio.sleep(FAILED_WAIT_S)

    async def _prepared(self, number: int) -> Callable[[], Awaitable[object]]:
        task, store = self._task, self._store
        if task.kind == BULK_APPEND:
            return lambda: store.append_events(self._stream(), self._events(BULK_EVENTS), expected_version=0)
        if task.kind == AGGREGATE_LOADS:
            streams = itertools.cycle(_longest(task.sample, task.tenant))
            return lambda: self._load(next(streams))
        token = tail = await store.create_tail_token()

        async def replay() -> None:
            nonlocal token
            batch = await store.stream_events(token, limit=REPLAY_BATCH_EVENTS, tenant_id=task.tenant)
            token = batch.token if batch.events else tail

        return replay

    async def _load(self, stream: StreamId) -> None:
        await self._store.load_aggregate(stream.tenant_id, stream.aggregate_id)

    async def _hold(self, number: int) -> None:
        """A transaction that has appended and stays open; the first user's alone."""
        if number:
            await asyncio.Event().wait()
        connection = await asyncpg.connect(self._task.dsn, server_settings={"application_name": APPLICATION})
        transaction = connection.transaction()
        await transaction.start()
        try:
            await append_beside(
                connection, self._definition, self._task.schema, self._stream(), self._events(1)
            )
            self.account.calls += 1
            await asyncio.Event().wait()
        finally:
            await transaction.rollback()
            await connection.close()

    def _stream(self) -> StreamId:
        name = f"aggressor-{uuid4().hex}" if self._naming.stream == "text" else next(self._names)
        return StreamId(tenant_id=self._task.tenant, aggregate_type="Order", aggregate_id=name)

    def _events(self, count: int) -> list[NewEvent]:
        now = datetime.now(UTC)
        return [
            NewEvent(
                event_id=uuid4(), event_type="OrderLineAdded", payload=self._payloads[next(self._numbers) % _PAYLOADS],
                metadata="{}", timestamp=now, payload_type="OrderLineAdded",
            )
            for _ in range(count)
        ]  # fmt: skip


def _longest(sample: CorpusSample, tenant: str) -> list[StreamId]:
    """Streams of the tenant, those of a thousand events where it has any."""
    for streams in (sample.long_streams, sample.streams):
        own = [stream.stream for stream in streams if stream.stream.tenant_id == tenant]
        if own:
            return own
    return []


BULK_APPEND, FULL_REPLAY, AGGREGATE_LOADS, IDLE_TRANSACTION = KINDS = (
    "bulk-append", "full-replay", "aggregate-loads", "idle-transaction",
)  # fmt: skip
DESCRIPTIONS = {
    BULK_APPEND: f"appends of {BULK_EVENTS} events, one after the other",
    FULL_REPLAY: "the tenant's whole log read in batches, again and again",
    AGGREGATE_LOADS: "aggregates of 1000 events loaded, one after the other",
    IDLE_TRANSACTION: "one transaction that has appended and stays open",
}


def missing(kind: str, definition: StoreDefinition, sample: CorpusSample, tenant: str) -> str:
    """Why a kind cannot be had on this store and corpus; empty when it can."""
    if kind == FULL_REPLAY and (reason := definition.capabilities.lack("tenant_stream")):
        return reason
    if kind == AGGREGATE_LOADS and not _longest(sample, tenant):
        return f"the corpus has no streams of {tenant}"
    return ""
