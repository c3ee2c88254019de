"""Every store and every ordering, and the reference, one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from eventmark.domain import EventStore, NewEvent, StreamId, TrackingToken
from eventmark.engine import ORDERINGS, PostgresEventStore, install_schema
from eventmark.stores import find_store, install_store, open_store, write_template
from tests.conformance.reference import ReferenceStore

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PER_EVENT = """-- name: append_events
-- parameters: tenant_id text, aggregate_id text, sequence_number bigint, event_id uuid, event_type text, payload jsonb, metadata jsonb, timestamp timestamptz
-- index: none
insert into {schema}.events (tenant, stream, version, id, type, data, meta, recorded_at)
values (:tenant_id, :aggregate_id, :sequence_number, :event_id, :event_type, :payload, :metadata, :timestamp)
"""
STORES = ["reference", *(f"engine, {name}" for name in ORDERINGS), "eaf", "example", "one event at a time"]
LIKE_OTHERS = ("engine, naive", "engine, table_lock")
"""Whose reads are one ordering's, and whose appends another's but for the lock: see ``ORDERING_PARAMS``."""

ISOLATIONS = ("repeatable read", "serializable")
"""Defaults that an operator may have set. The engine has the isolation that it needs under each of them."""


def _with_defaults() -> list[Any]:
    """Each store as the server is, the engine also under each default isolation; one of these in every run."""
    stores = [
        pytest.param((name, None), id=name, marks=[pytest.mark.long] * (name in LIKE_OTHERS))
        for name in STORES
    ]
    for name in ORDERINGS:
        for isolation in ISOLATIONS:
            marks = () if (name, isolation) == ("horizon", "serializable") else pytest.mark.long
            stores.append(
                pytest.param((f"engine, {name}", isolation), id=f"engine, {name}, {isolation}", marks=marks)
            )
    return stores


@pytest.fixture(params=_with_defaults())
async def store(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> AsyncIterator[EventStore]:
    name, isolation = request.param
    if isolation is not None:
        connection = await asyncpg.connect(database)
        await connection.execute(
            f"alter database {database.rpartition('/')[2]} set default_transaction_isolation to '{isolation}'"
        )
        await connection.close()
    opened = await _opened(name, database, tmp_path)
    yield opened
    await opened.close()


async def _opened(name: str, database: str, tmp_path: Path) -> Any:
    if name == "reference":
        return ReferenceStore()
    connection = await asyncpg.connect(database)
    try:
        if name.startswith("engine, "):
            await install_schema(connection, "eventmark", ordering=name.removeprefix("engine, "))
            return await PostgresEventStore.connect(database, notify=False)
        if name != "eaf":
            write_template(tmp_path / "own")
            if name == "one event at a time":
                (tmp_path / "own" / "append_events.sql").write_text(PER_EVENT)
            name = str(tmp_path / "own")
        definition = find_store(name)
        await install_store(connection, definition, "eventmark")
        return await open_store(definition, database, schema="eventmark")
    finally:
        await connection.close()


def stream_of(aggregate: str, tenant: str = "t1") -> StreamId:
    return StreamId(tenant_id=tenant, aggregate_type="Order", aggregate_id=aggregate)


def events(count: int, at: datetime = NOW) -> list[NewEvent]:
    return [
        NewEvent(
            event_id=uuid4(), event_type="Placed", payload={"n": n, "text": "<ü>"}, metadata={"user": "u"},
            timestamp=at + timedelta(seconds=n), payload_type="Placed",
        )
        for n in range(count)
    ]  # fmt: skip


def anybody(store: EventStore) -> str | None:
    """Whose events to read where all are meant: one tenant's, where a store has no log of all."""
    return None if store.capabilities.all_tenants_stream else "t1"


async def head_of(store: Any) -> TrackingToken:
    tenant = anybody(store)
    return await (store.create_head_token(tenant_id=tenant) if tenant else store.create_head_token())


async def at_of(store: Any, instant: datetime) -> TrackingToken:
    tenant = anybody(store)
    return await (
        store.create_token_at(instant, tenant_id=tenant) if tenant else store.create_token_at(instant)
    )
