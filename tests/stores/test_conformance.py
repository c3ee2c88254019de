"""One suite for every store: what the proving ground expects of each, whatever is behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from eventmark.domain import EventStore, NewEvent, Snapshot, StreamId
from eventmark.domain.events import SequenceNumber
from eventmark.errors import DuplicateEventError, InvalidEventError, TokenRefusedError, VersionConflictError
from eventmark.stores import find_store, install_store, open_store, write_template

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PER_EVENT = """-- name: append_events
-- parameters: tenant_id text, aggregate_id text, sequence_number bigint, event_id uuid, event_type text, payload jsonb, metadata jsonb, timestamp timestamptz
-- index: none
insert into {schema}.events (tenant, stream, version, id, type, data, meta, recorded_at)
values (:tenant_id, :aggregate_id, :sequence_number, :event_id, :event_type, :payload, :metadata, :timestamp)
"""


@pytest.fixture(params=["eaf", "example", "one event at a time"])
async def store(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> AsyncIterator[EventStore]:
    name = "eaf"
    if request.param != "eaf":
        write_template(tmp_path / "own")
        name = str(tmp_path / "own")
        if request.param == "one event at a time":
            (tmp_path / "own" / "append_events.sql").write_text(PER_EVENT)
    definition = find_store(name)
    connection = await asyncpg.connect(database)
    await install_store(connection, definition, "eventmark")
    await connection.close()
    opened: Any = await open_store(definition, database, schema="eventmark")
    yield opened
    await opened.close()


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


async def test_what_was_appended_is_loaded_in_order(store: EventStore) -> None:
    await store.append_events(stream_of("a"), events(3), expected_version=0)
    result = await store.append_events(stream_of("a"), events(2), expected_version=3)
    assert result.last_sequence_number == 5
    loaded = await store.load_aggregate("t1", "a")
    assert [event.sequence_number for event in loaded] == [1, 2, 3, 4, 5]
    assert loaded[1].payload() == {"n": 1, "text": "<ü>"}
    assert [event.sequence_number for event in await store.load_aggregate("t1", "a", from_sequence=4)] == [
        4,
        5,
    ]


async def test_a_stale_version_is_a_conflict_and_writes_nothing(store: EventStore) -> None:
    await store.append_events(stream_of("a"), events(3), expected_version=0)
    with pytest.raises(VersionConflictError):
        await store.append_events(stream_of("a"), events(2), expected_version=1)
    assert len(await store.load_aggregate("t1", "a")) == 3


async def test_a_batch_whose_last_event_is_refused_writes_nothing(store: EventStore) -> None:
    await store.append_events(stream_of("a"), first := events(1), expected_version=0)
    batch = [*events(2), *first]
    with pytest.raises(DuplicateEventError):
        await store.append_events(stream_of("b"), batch, expected_version=0)
    assert len(await store.load_aggregate("t1", "b")) == 0


async def test_an_empty_batch_is_refused(store: EventStore) -> None:
    with pytest.raises(InvalidEventError):
        await store.append_events(stream_of("a"), [], expected_version=0)


async def test_nothing_of_another_tenant_is_loaded_or_streamed(store: EventStore) -> None:
    await store.append_events(stream_of("a", "t1"), events(2), expected_version=0)
    await store.append_events(stream_of("a", "t2"), events(3), expected_version=0)
    assert len(await store.load_aggregate("t1", "a")) == 2
    batch = await store.stream_events(await store.create_tail_token(), tenant_id="t2")
    assert {event.tenant_id for event in batch.events} == {"t2"}
    assert len(batch.events) == 3


async def test_streaming_goes_on_after_its_token_and_misses_nothing(store: EventStore) -> None:
    for number in range(5):
        await store.append_events(stream_of(f"s{number}"), events(4), expected_version=0)
    token, seen = await store.create_tail_token(), []
    while (batch := await store.stream_events(token, limit=3)).events:
        assert len(batch.events) <= 3
        seen += [(event.aggregate_id, event.sequence_number) for event in batch.events]
        token = batch.token
    assert sorted(seen) == sorted(
        (f"s{number}", sequence) for number in range(5) for sequence in (1, 2, 3, 4)
    )
    assert len(set(seen)) == 20


async def test_the_head_lies_after_what_was_there_and_before_what_comes(store: EventStore) -> None:
    await store.append_events(stream_of("a"), events(2), expected_version=0)
    head = await store.create_head_token()
    assert not (await store.stream_events(head)).events
    await store.append_events(stream_of("a"), events(2), expected_version=2)
    assert len((await store.stream_events(head)).events) == 2


async def test_a_token_at_an_instant_lies_before_the_events_that_follow_it(store: EventStore) -> None:
    await store.append_events(stream_of("a"), events(2, NOW), expected_version=0)
    await store.append_events(stream_of("a"), events(2, NOW + timedelta(hours=1)), expected_version=2)
    token = await store.create_token_at(NOW + timedelta(minutes=30))
    assert [event.sequence_number for event in (await store.stream_events(token)).events] == [3, 4]


async def test_another_stores_token_is_refused(store: EventStore) -> None:
    token = await store.create_tail_token()
    foreign = type(token)(uuid4(), token.epoch, token.transaction_id, token.global_sequence)
    with pytest.raises(TokenRefusedError):
        await store.stream_events(foreign)


async def test_the_latest_snapshot_is_read(store: EventStore) -> None:
    await store.append_events(stream_of("a"), events(3), expected_version=0)
    for sequence in (1, 3):
        await store.store_snapshot(
            Snapshot(
                stream=stream_of("a"), sequence_number=SequenceNumber(sequence), payload={"at": sequence},
                payload_type="State", timestamp=NOW,
            )
        )  # fmt: skip
    found = await store.read_snapshot("t1", "a")
    assert found is not None
    assert found.sequence_number == 3
    assert await store.read_snapshot("t2", "a") is None
