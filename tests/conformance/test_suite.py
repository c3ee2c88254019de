"""One suite for every store and every ordering, and for an obvious reference: what all of them do alike."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from eventmark.domain import EventStore, NewEvent, Snapshot, TrackingToken
from eventmark.domain.events import SequenceNumber
from eventmark.errors import (
    DuplicateEventError,
    InvalidEventError,
    SnapshotRefusedError,
    TokenRefusedError,
    VersionConflictError,
)
from tests.conformance.conftest import NOW, anybody, at_of, events, head_of, stream_of


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
    while (batch := await store.stream_events(token, limit=3, tenant_id=anybody(store))).events:
        assert len(batch.events) <= 3
        seen += [(event.aggregate_id, event.sequence_number) for event in batch.events]
        token = batch.token
    assert sorted(seen) == sorted(
        (f"s{number}", sequence) for number in range(5) for sequence in (1, 2, 3, 4)
    )
    assert len(set(seen)) == 20


async def test_the_head_lies_after_what_was_there_and_before_what_comes(store: EventStore) -> None:
    await store.append_events(stream_of("a"), events(2), expected_version=0)
    head = await head_of(store)
    assert not (await store.stream_events(head, tenant_id=anybody(store))).events
    await store.append_events(stream_of("a"), events(2), expected_version=2)
    assert len((await store.stream_events(head, tenant_id=anybody(store))).events) == 2


async def test_a_token_at_an_instant_lies_before_the_events_that_follow_it(store: EventStore) -> None:
    await store.append_events(stream_of("a"), events(2, NOW), expected_version=0)
    await store.append_events(stream_of("a"), events(2, NOW + timedelta(hours=1)), expected_version=2)
    token = await at_of(store, NOW + timedelta(minutes=30))
    batch = await store.stream_events(token, tenant_id=anybody(store))
    assert [event.sequence_number for event in batch.events] == [3, 4]


async def test_another_stores_token_is_refused(store: EventStore) -> None:
    token = await store.create_tail_token()
    foreign = type(token)(uuid4(), token.epoch, token.transaction_id, token.global_sequence)
    with pytest.raises(TokenRefusedError):
        await store.stream_events(foreign, tenant_id=anybody(store))


async def test_a_token_of_one_tenants_events_is_refused_for_another(store: EventStore) -> None:
    for tenant in ("t2", "t1"):
        await store.append_events(stream_of("a", tenant), events(2), expected_version=0)
    tail = await store.create_tail_token()
    token = (await store.stream_events(tail, tenant_id="t1", limit=1)).token
    with pytest.raises(TokenRefusedError):
        await store.stream_events(token, tenant_id="t2")
    if store.capabilities.all_tenants_stream:
        with pytest.raises(TokenRefusedError):
            await store.stream_events(token)
    assert len((await store.stream_events(token, tenant_id="t1")).events) == 1


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


async def test_of_concurrent_appends_at_one_version_one_wins(store: EventStore) -> None:
    results = await asyncio.gather(
        *(store.append_events(stream_of("a"), events(2), expected_version=0) for _ in range(5)),
        return_exceptions=True,
    )
    assert sum(not isinstance(result, Exception) for result in results) == 1
    assert sum(isinstance(result, VersionConflictError) for result in results) == 4
    assert len(await store.load_aggregate("t1", "a")) == 2


async def test_an_event_id_is_stored_once_within_its_tenant(store: EventStore) -> None:
    (event,) = events(1)
    await store.append_events(stream_of("a"), [event], expected_version=0)
    with pytest.raises(DuplicateEventError):
        await store.append_events(stream_of("a"), [event], expected_version=1)
    with pytest.raises((DuplicateEventError, InvalidEventError)):
        await store.append_events(stream_of("b"), [*(twice := events(1)), *twice], expected_version=0)
    assert len(await store.load_aggregate("t1", "b")) == 0


async def test_a_stream_that_is_not_there_is_empty(store: EventStore) -> None:
    assert len(await store.load_aggregate("t1", "nobody")) == 0
    assert not (await store.stream_events(await store.create_tail_token(), tenant_id="t1")).events


async def test_every_event_comes_back_as_it_was_sent(store: EventStore) -> None:
    sent = NewEvent(
        event_id=uuid4(), event_type="Odd", payload={"big": 2**60, "deep": {"list": [1, None, True, "\U0001f600"]}},
        metadata={"a": "<script>"}, timestamp=NOW, payload_type="Odd",
    )  # fmt: skip
    await store.append_events(stream_of("a"), [sent], expected_version=0)
    (stored,) = await store.load_aggregate("t1", "a")
    assert stored.event_type == "Odd"
    assert stored.payload() == sent.payload
    assert stored.timestamp == NOW


async def test_a_token_survives_being_written_out(store: EventStore) -> None:
    await store.append_events(stream_of("a"), events(4), expected_version=0)
    token = (await store.stream_events(await store.create_tail_token(), limit=2, tenant_id="t1")).token
    again = TrackingToken.parse(str(token))
    assert again == token
    batch = await store.stream_events(again, tenant_id="t1")
    assert [event.sequence_number for event in batch.events] == [3, 4]
    assert batch.token.covers(token)
    assert not token.covers(batch.token)


async def test_a_snapshot_and_what_follows_it_equal_a_full_replay(store: EventStore) -> None:
    await store.append_events(stream_of("a"), events(6), expected_version=0)
    full = [event.payload()["n"] for event in await store.load_aggregate("t1", "a")]
    snapshot = Snapshot(
        stream=stream_of("a"), sequence_number=SequenceNumber(4), payload={"seen": full[:4]}, payload_type="State",
        timestamp=NOW,
    )  # fmt: skip
    await store.store_snapshot(snapshot)
    tail = await store.load_aggregate("t1", "a", from_sequence=5)
    assert full[:4] + [event.payload()["n"] for event in tail] == full


async def test_a_snapshot_beyond_the_end_is_refused(store: EventStore) -> None:
    await store.append_events(stream_of("a"), events(2), expected_version=0)
    beyond = Snapshot(
        stream=stream_of("a"),
        sequence_number=SequenceNumber(3),
        payload={},
        payload_type="State",
        timestamp=NOW,
    )
    if "SqlEventStore" in type(store).__name__:
        pytest.skip("the store's own SQL does not look at the events")
    with pytest.raises(SnapshotRefusedError):
        await store.store_snapshot(beyond)
    assert await store.read_snapshot("t1", "a") is None
