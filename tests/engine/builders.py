"""Events, streams and readings for the engine's tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from eventmark.domain import EventBatch, NewEvent, StreamId, TrackingToken
from eventmark.engine import ORDERINGS, PostgresEventStore, install_schema
from eventmark.engine.payloads import DEFAULT_PAYLOAD
from eventmark.engine.records import EventRecord
from eventmark.errors import InvalidEventError

SCHEMA = "eventmark"
ORDERING_PARAMS = [
    pytest.param(name, marks=[pytest.mark.long] * (name in ("naive", "table_lock"))) for name in ORDERINGS
]
"""Of two, the appends are a third's without its lock, or with one lock for all tenants, and the reads are the same."""

every_ordering = pytest.mark.parametrize("store_ordering", ORDERING_PARAMS)
"""For a test whose rule does not depend on how consumers read."""
LOSSLESS = [name for name, ordering in ORDERINGS.items() if ordering.lossless]
IMMEDIATE = ["horizon", "gap_aware"]  # appends wait for nobody
LOCKING = ["table_lock", "tenant_lock"]
DEADLINE_S = 60.0  # ends a test that would hang; no test is judged by it


def stream_of(aggregate_id: str = "a-1", *, tenant_id: str = "acme", kind: str = "Order") -> StreamId:
    return StreamId(tenant_id=tenant_id, aggregate_type=kind, aggregate_id=aggregate_id)


@asynccontextmanager
async def opened(
    dsn: str, ordering: str, payload: str = DEFAULT_PAYLOAD
) -> AsyncIterator[PostgresEventStore]:
    """An empty store of an ordering."""
    connection = await asyncpg.connect(dsn)
    await install_schema(connection, SCHEMA, ordering=ordering, payload=payload)
    await connection.close()
    async with await PostgresEventStore.connect(dsn, schema=SCHEMA, notify=False) as store:
        yield store


def new_event(**changes: Any) -> NewEvent:
    fields = {
        "event_id": uuid4(),
        "event_type": "OrderPlaced",
        "payload": {"amount": 12},
        "metadata": {"correlation_id": "c-1"},
        "timestamp": datetime.now(UTC),
        "payload_type": "shop.OrderPlaced",
    }
    return NewEvent(**{**fields, **changes})


def new_events(count: int, **changes: Any) -> list[NewEvent]:
    return [new_event(**changes) for _ in range(count)]


async def read_on(
    store: PostgresEventStore, token: TrackingToken, count: int, *, limit: int = 1000, **options: Any
) -> EventBatch:
    """The next ``count`` events, as a consumer that comes back with its token; fails when they do not come.

    Other transactions of the cluster, autovacuum's too, may hold the horizon for a moment: so it waits.
    """
    events: list[EventRecord] = []
    async with asyncio.timeout(DEADLINE_S):
        while len(events) < count:
            batch = await store.stream_events(token, limit=limit, wait_s=1.0, **options)
            events.extend(batch.events)  # type: ignore[arg-type]
            token = batch.token
    return EventBatch(events, token)


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """What ``condition`` answers once it is true; fails when it does not become so."""
    async with asyncio.timeout(DEADLINE_S):
        while not (answer := await condition()):  # noqa: ASYNC110 - the server does not call us
            await asyncio.sleep(0.005)
        return answer


async def waiting_backend(connection: asyncpg.Connection[Any]) -> int:
    """The process of a backend of this database that waits for a lock, once there is one."""
    found = await until(
        lambda: connection.fetchval(
            "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        )
    )
    return int(found)


async def row_count(connection: asyncpg.Connection[Any], table: str = "domain_events") -> int:
    return int(await connection.fetchval(f"select count(*) from {SCHEMA}.{table}"))


async def append_refused(
    store: PostgresEventStore,
    tenant: str,
    events: Any,
    *,
    expected_version: Any = 0,
    **stream: Any,
) -> InvalidEventError:
    """Append, expecting the refusal; nothing is written and the store goes on working."""
    before = await event_count(store)
    with pytest.raises(InvalidEventError) as refused:
        await store.append_events(
            stream_of(**{"tenant_id": tenant, **stream}), events, expected_version=expected_version
        )
    assert await event_count(store) == before
    await store.append_events(stream_of("after", tenant_id=tenant), [new_event()], expected_version=0)
    return refused.value


async def event_count(store: PostgresEventStore) -> int:
    session = await store.pool.acquire()
    try:
        return int(await session.connection.fetchval("select count(*) from eventmark.domain_events"))
    finally:
        store.pool.release(session)
