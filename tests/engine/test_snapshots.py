"""Snapshots: the latest is read, none older or beyond the stream is stored, none of another tenant read."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from eventmark.domain import SequenceNumber, Snapshot, StreamId
from eventmark.engine import PostgresEventStore
from eventmark.errors import SnapshotRefusedError
from tests.engine.builders import new_event, new_events, row_count, stream_of

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def snapshot(sequence_number: int, *, stream: StreamId | None = None, **changes: Any) -> Snapshot:
    fields = {
        "stream": stream or stream_of(),
        "sequence_number": SequenceNumber(sequence_number),
        "payload": {"total": sequence_number},
        "payload_type": "shop.Order",
        "timestamp": NOON,
    }
    return Snapshot(**{**fields, **changes})


@pytest.fixture
async def filled(store: PostgresEventStore) -> PostgresEventStore:
    """A store whose aggregate has 10 events."""
    await store.append_events(stream_of(), new_events(10), expected_version=0)
    return store


async def test_a_snapshot_comes_back_as_it_went_its_payload_as_text(filled: PostgresEventStore) -> None:
    sent = snapshot(7, payload={"total": 7, "name": "日本"}, payload_revision="3")
    await filled.store_snapshot(sent)
    found = await filled.read_snapshot("acme", "a-1")
    assert found is not None
    assert (found.stream, found.sequence_number, found.timestamp) == (stream_of(), 7, NOON)
    assert (found.payload_type, found.payload_revision) == ("shop.Order", "3")
    assert found.payload == '{"total":7,"name":"日本"}'


async def test_the_latest_snapshot_is_read(filled: PostgresEventStore) -> None:
    for sequence_number in (1, 5, 10):
        await filled.store_snapshot(snapshot(sequence_number))
        found = await filled.read_snapshot("acme", "a-1")
        assert found is not None and found.sequence_number == sequence_number


async def test_a_snapshot_that_was_read_can_be_stored_again(filled: PostgresEventStore) -> None:
    await filled.store_snapshot(snapshot(4))
    found = await filled.read_snapshot("acme", "a-1")
    assert found is not None
    await filled.store_snapshot(found)
    assert await filled.read_snapshot("acme", "a-1") == found


async def test_without_a_snapshot_there_is_none(filled: PostgresEventStore) -> None:
    assert await filled.read_snapshot("acme", "a-1") is None
    assert await filled.read_snapshot("acme", "nobody") is None


async def test_a_snapshot_of_the_same_event_takes_the_place_of_the_one_before(
    filled: PostgresEventStore, connection: asyncpg.Connection
) -> None:
    await filled.store_snapshot(snapshot(5))
    await filled.store_snapshot(snapshot(5, payload='{"corrected": true}', payload_revision="2"))
    found = await filled.read_snapshot("acme", "a-1")
    assert found is not None
    assert (found.payload, found.payload_revision) == ('{"corrected": true}', "2")
    assert await row_count(connection, "aggregate_snapshots") == 1


async def test_a_snapshot_older_than_the_stored_one_is_refused(
    filled: PostgresEventStore, connection: asyncpg.Connection
) -> None:
    await filled.store_snapshot(snapshot(5))
    for sequence_number in (1, 4):
        with pytest.raises(SnapshotRefusedError):
            await filled.store_snapshot(snapshot(sequence_number))
    found = await filled.read_snapshot("acme", "a-1")
    assert found is not None and found.sequence_number == 5
    assert await row_count(connection, "aggregate_snapshots") == 1


@pytest.mark.parametrize(
    ("stream", "sequence_number"),
    [
        (stream_of(), 11),
        (stream_of(), 2**63 - 1),
        (stream_of("nobody"), 1),
        (stream_of(tenant_id="other"), 1),
    ],
)
async def test_a_snapshot_beyond_its_streams_end_is_refused(
    filled: PostgresEventStore, connection: asyncpg.Connection, stream: StreamId, sequence_number: int
) -> None:
    with pytest.raises(SnapshotRefusedError):
        await filled.store_snapshot(snapshot(sequence_number, stream=stream))
    assert await row_count(connection, "aggregate_snapshots") == 0


async def test_another_tenants_snapshot_is_not_read_nor_in_the_way(filled: PostgresEventStore) -> None:
    await filled.append_events(stream_of(tenant_id="other"), new_events(3), expected_version=0)
    await filled.store_snapshot(snapshot(9))
    assert await filled.read_snapshot("other", "a-1") is None
    await filled.store_snapshot(snapshot(2, stream=stream_of(tenant_id="other"), payload={"mine": 1}))
    found = await filled.read_snapshot("other", "a-1")
    assert found is not None and found.payload == '{"mine":1}'


async def test_snapshots_stored_concurrently_leave_the_youngest_to_be_read(
    filled: PostgresEventStore,
) -> None:
    answers = await asyncio.gather(
        *(filled.store_snapshot(snapshot(number)) for number in (3, 10, 1, 7, 10, 5)), return_exceptions=True
    )
    assert all(answer is None or isinstance(answer, SnapshotRefusedError) for answer in answers)
    found = await filled.read_snapshot("acme", "a-1")
    assert found is not None and found.sequence_number == 10


async def test_a_snapshot_and_the_events_after_it_make_the_same_state_as_all_events(
    store: PostgresEventStore,
) -> None:
    events = [new_event(payload={"amount": number}) for number in range(1, 21)]
    await store.append_events(stream_of(), events, expected_version=0)
    head = await store.load_aggregate("acme", "a-1")
    state = sum(event.payload()["amount"] for event in head[:12])
    await store.store_snapshot(snapshot(12, payload={"total": state}))
    await store.append_events(stream_of(), [new_event(payload={"amount": 100})], expected_version=20)
    found = await store.read_snapshot("acme", "a-1")
    assert found is not None
    tail = await store.load_aggregate("acme", "a-1", from_sequence=found.sequence_number + 1)
    replayed = await store.load_aggregate("acme", "a-1")
    assert found.payload == '{"total":78}'
    assert 78 + sum(event.payload()["amount"] for event in tail) == 310
    assert sum(event.payload()["amount"] for event in replayed) == 310
