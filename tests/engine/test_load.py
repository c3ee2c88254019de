"""Loading an aggregate: in order, from where it is asked, of no other tenant, decoded when asked."""

from __future__ import annotations

import asyncpg

from eventmark.engine import PostgresEventStore
from tests.engine.builders import new_event, new_events, stream_of


async def test_events_come_in_order_whatever_the_order_they_lie_in(
    store: PostgresEventStore, connection: asyncpg.Connection
) -> None:
    batches = [new_events(3) for _ in range(4)]
    for number, batch in enumerate(batches):
        await store.append_events(stream_of(), batch, expected_version=3 * number)
        await store.append_events(stream_of("other"), new_events(3), expected_version=3 * number)
    await connection.execute("cluster eventmark.domain_events using domain_events_event_id")
    events = await store.load_aggregate("acme", "a-1")
    assert [event.sequence_number for event in events] == list(range(1, 13))
    assert [event.event_id for event in events] == [event.event_id for batch in batches for event in batch]


async def test_loading_starts_at_the_sequence_number_asked_for(store: PostgresEventStore) -> None:
    await store.append_events(stream_of(), new_events(10), expected_version=0)
    for first, expected in ((0, 10), (1, 10), (2, 9), (10, 1), (11, 0), (2**63 - 1, 0)):
        events = await store.load_aggregate("acme", "a-1", from_sequence=first)
        assert [event.sequence_number for event in events] == list(range(11 - expected, 11))


async def test_an_aggregate_that_is_not_there_is_empty(store: PostgresEventStore) -> None:
    await store.append_events(stream_of(), new_events(1), expected_version=0)
    assert list(await store.load_aggregate("acme", "a-2")) == []
    assert list(await store.load_aggregate("nobody", "a-1")) == []


async def test_no_event_of_another_tenant_is_loaded(store: PostgresEventStore) -> None:
    for tenant in ("acme", "other", "acm", "acme2"):
        await store.append_events(stream_of(tenant_id=tenant), new_events(5), expected_version=0)
    events = await store.load_aggregate("acme", "a-1")
    assert len(events) == 5
    assert {event.tenant_id for event in events} == {"acme"}


async def test_a_thousand_events_are_all_loaded(store: PostgresEventStore) -> None:
    for version in range(0, 1000, 250):
        await store.append_events(stream_of(), new_events(250), expected_version=version)
    events = await store.load_aggregate("acme", "a-1")
    assert [event.sequence_number for event in events] == list(range(1, 1001))


async def test_json_stays_text_until_it_is_asked_for(store: PostgresEventStore) -> None:
    await store.append_events(stream_of(), [new_event(payload={"a": [1, "x"]})], expected_version=0)
    (event,) = await store.load_aggregate("acme", "a-1")
    assert type(event.payload_json) is str and type(event.metadata_json) is str
    assert event.payload() == {"a": [1, "x"]}
    event.payload()["a"] = None  # each call decodes anew: nobody's change reaches another
    assert event.payload() == {"a": [1, "x"]}


async def test_an_append_is_seen_by_the_next_load_on_any_connection(dsn: str) -> None:
    async with (
        await PostgresEventStore.connect(dsn) as writer,
        await PostgresEventStore.connect(dsn) as reader,
    ):
        for version in range(20):
            await writer.append_events(stream_of(), [new_event()], expected_version=version)
            assert len(await reader.load_aggregate("acme", "a-1")) == version + 1
