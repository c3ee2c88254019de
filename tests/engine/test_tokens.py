"""Tokens of a store: where head, tail and instants are, and which tokens are refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from eventmark.domain import GlobalSequence, TrackingToken, TransactionId
from eventmark.engine import PostgresEventStore, install_schema
from eventmark.engine.fence import set_fence
from eventmark.engine.orderings import HORIZON
from eventmark.errors import TokenRefusedError
from tests.engine.builders import every_ordering, new_event, new_events, read_on, stream_of

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
SLOW_INSERT = """
    insert into eventmark.domain_events (
        sequence_number, expected_version, timestamp_utc, event_id, tenant_id, stream_id, aggregate_type,
        aggregate_id, event_type, payload_type, payload_revision, payload, metadata)
    values (1, 0, $1, gen_random_uuid(), 'acme', 's', 'slow', 'slow', 'E', 'E', '1', '{}', '{}')
"""


async def head_after(store: PostgresEventStore, count: int) -> TrackingToken:
    """The head once consumers can be given ``count`` events."""
    await read_on(store, await store.create_tail_token(), count)
    return await store.create_head_token()


async def test_the_tail_is_before_the_first_event(store: PostgresEventStore) -> None:
    sent = new_event()
    await store.append_events(stream_of(), [sent], expected_version=0)
    (event,) = (await read_on(store, await store.create_tail_token(), 1)).events
    assert event.event_id == sent.event_id


async def test_the_head_is_after_what_was_committed_before_and_before_what_comes(
    store: PostgresEventStore,
) -> None:
    await store.append_events(stream_of(), new_events(3), expected_version=0)
    head = await head_after(store, 3)
    last = await read_on(store, await store.create_tail_token(), 3)
    assert head.covers(last.token)
    assert list((await store.stream_events(head)).events) == []
    sent = new_event()
    await store.append_events(stream_of(), [sent], expected_version=3)
    (event,) = (await read_on(store, head, 1)).events
    assert event.event_id == sent.event_id


async def test_the_head_of_an_empty_store_is_before_its_first_event(store: PostgresEventStore) -> None:
    head = await store.create_head_token()
    await store.append_events(stream_of(), [new_event()], expected_version=0)
    assert len((await read_on(store, head, 1)).events) == 1


async def test_the_head_is_before_an_older_transaction_that_is_still_running(
    store: PostgresEventStore, connection: asyncpg.Connection
) -> None:
    """``max(row)`` would be after it, and its events would never be delivered."""
    older = connection.transaction()
    await older.start()
    await connection.fetchval("select pg_current_xact_id()")
    await store.append_events(stream_of(), new_events(2), expected_version=0)
    head = await store.create_head_token()
    await connection.execute(SLOW_INSERT, NOON)
    await older.commit()
    events = (await read_on(store, head, 3)).events
    assert [event.aggregate_id for event in events] == ["slow", "a-1", "a-1"]


async def test_heads_and_the_tokens_of_batches_compare_as_they_were_read(store: PostgresEventStore) -> None:
    tail = await store.create_tail_token()
    await store.append_events(stream_of(), new_events(2), expected_version=0)
    first = (await read_on(store, tail, 1, limit=1)).token
    second = (await read_on(store, first, 1)).token
    head = await store.create_head_token()
    await store.append_events(stream_of(), new_events(1), expected_version=2)
    third = (await read_on(store, second, 1)).token
    order = [tail, first, second, head, third]
    assert all(one.compare(other) <= 0 for one, other in pairwise(order))
    assert tail.compare(first) == first.compare(second) == head.compare(third) == -1
    assert first.lower_bound(third) == first and first.upper_bound(third) == third


async def test_reading_on_from_the_lower_bound_of_two_consumers_misses_nothing(
    store: PostgresEventStore,
) -> None:
    sent = new_events(6)
    await store.append_events(stream_of(), sent, expected_version=0)
    tail = await store.create_tail_token()
    ahead = (await read_on(store, tail, 4, limit=4)).token
    behind = (await read_on(store, tail, 2, limit=2)).token
    batch = await read_on(store, ahead.lower_bound(behind), 4)
    assert [event.event_id for event in batch.events] == [event.event_id for event in sent[2:]]


async def test_a_token_at_an_instant_is_before_the_first_event_at_or_after_it(
    store: PostgresEventStore,
) -> None:
    sent = [new_event(timestamp=NOON + timedelta(minutes=minute)) for minute in range(6)]
    for version in range(0, 6, 2):
        await store.append_events(stream_of(), sent[version : version + 2], expected_version=version)
    for minutes, left in ((-1000, 6), (0, 6), (0.5, 5), (1, 5), (4.01, 1), (5, 1)):
        token = await store.create_token_at(NOON + timedelta(minutes=minutes))
        batch = await read_on(store, token, left)
        assert [event.event_id for event in batch.events] == [event.event_id for event in sent[6 - left :]]


async def test_a_token_at_an_instant_after_all_events_is_the_head(store: PostgresEventStore) -> None:
    await store.append_events(stream_of(), [new_event(timestamp=NOON)], expected_version=0)
    head = await head_after(store, 1)
    assert (await store.create_token_at(NOON + timedelta(seconds=1))).covers(head)
    await store.append_events(stream_of(), [new_event(timestamp=NOON)], expected_version=1)
    assert len((await read_on(store, head, 1)).events) == 1


async def test_a_token_at_an_instant_is_before_events_whose_clocks_were_behind(
    store: PostgresEventStore,
) -> None:
    """The event that comes first in the log is the later one by its clock; both are at or after noon."""
    late, early = new_event(timestamp=NOON + timedelta(seconds=5)), new_event(timestamp=NOON)
    await store.append_events(
        stream_of(), [new_event(timestamp=NOON - timedelta(hours=1))], expected_version=0
    )
    await store.append_events(stream_of("b"), [late], expected_version=0)
    await store.append_events(stream_of("c"), [early], expected_version=0)
    batch = await read_on(store, await store.create_token_at(NOON), 2)
    assert [event.event_id for event in batch.events] == [late.event_id, early.event_id]


async def test_a_token_at_an_instant_is_before_an_older_transaction_that_is_still_running(
    store: PostgresEventStore, connection: asyncpg.Connection
) -> None:
    """Its event may be at or after the instant as well, and comes before the one that can be seen."""
    await store.append_events(
        stream_of(), [new_event(timestamp=NOON - timedelta(days=1))], expected_version=0
    )
    older = connection.transaction()
    await older.start()
    await connection.fetchval("select pg_current_xact_id()")
    seen = new_event(timestamp=NOON)
    await store.append_events(stream_of(), [seen], expected_version=1)
    token = await store.create_token_at(NOON)
    await connection.execute(SLOW_INSERT, NOON)
    await older.commit()
    events = (await read_on(store, token, 2)).events
    assert [event.aggregate_id for event in events] == ["slow", "a-1"]
    assert events[1].event_id == seen.event_id


async def test_an_event_that_comes_while_its_instant_is_looked_for_is_after_the_token(
    store: PostgresEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = new_event(timestamp=NOON)
    reader = store._reader
    head = reader.head

    async def append_first(tenant_id: str | None) -> TrackingToken:
        await store.append_events(stream_of("late"), [late], expected_version=0)
        await read_on(store, await store.create_tail_token(), 1)
        return await head(tenant_id)

    monkeypatch.setattr(reader, "head", append_first)
    token = await store.create_token_at(NOON)
    assert [event.event_id for event in (await read_on(store, token, 1)).events] == [late.event_id]


async def test_the_place_of_an_instant_is_found_by_the_index(
    store: PostgresEventStore, connection: asyncpg.Connection
) -> None:
    for version in range(0, 3000, 1000):
        batch = [new_event(timestamp=NOON + timedelta(seconds=version + place)) for place in range(1000)]
        await store.append_events(stream_of(), batch, expected_version=version)
    await connection.execute("analyze eventmark.domain_events")
    statement = HORIZON.statements()["create_token_at"].sql("eventmark")
    plan = await connection.fetch(f"explain (analyze, buffers) {statement}", NOON + timedelta(seconds=1500))
    text = "\n".join(row[0] for row in plan)
    assert "domain_events_timestamp" in text and "Seq Scan" not in text
    token = await store.create_token_at(NOON + timedelta(seconds=1500))
    assert (await read_on(store, token, 1500)).events[0].sequence_number == 1501


async def test_tokens_of_another_store_or_epoch_are_refused(store: PostgresEventStore) -> None:
    mine = await store.create_tail_token()
    for other in (replace(mine, store_id=uuid4()), replace(mine, epoch=mine.epoch + 1)):
        for options in ({}, {"tenant_id": "acme"}, {"wait_s": 5.0}):
            with pytest.raises(TokenRefusedError):
                await store.stream_events(other, **options)  # type: ignore[arg-type]
        with pytest.raises(TokenRefusedError):
            mine.compare(other)


async def test_two_stores_of_one_database_do_not_take_each_others_tokens(
    store: PostgresEventStore, connection: asyncpg.Connection, dsn: str
) -> None:
    await install_schema(connection, "second")
    async with await PostgresEventStore.connect(dsn, schema="second") as second:
        with pytest.raises(TokenRefusedError):
            await second.stream_events(await store.create_head_token())


async def test_a_new_epoch_refuses_the_tokens_of_the_old(
    store: PostgresEventStore, connection: asyncpg.Connection, dsn: str
) -> None:
    old = await store.create_head_token()
    await connection.execute("update eventmark.eventmark_store set epoch = epoch + 1")
    await set_fence(connection, "eventmark")
    async with await PostgresEventStore.connect(dsn) as reopened:
        with pytest.raises(TokenRefusedError):
            await reopened.stream_events(old)
        with pytest.raises(TokenRefusedError):
            (await reopened.create_head_token()).compare(old)


@every_ordering
async def test_a_token_of_one_tenants_events_is_refused_for_another_and_for_all(
    store: PostgresEventStore,
) -> None:
    """What the other tenant has before it would be hidden; under tenant_lock, what it is still writing as well."""
    for tenant in ("other", "acme"):
        await store.append_events(stream_of(tenant_id=tenant), new_events(2), expected_version=0)
    tail = await store.create_tail_token()
    token = (await read_on(store, tail, 2, tenant_id="acme")).token
    tokens = [token]
    if not store.ordering.all_tenants:
        tokens.append(await store.create_head_token(tenant_id="acme"))
        tokens.append(await store.create_token_at(NOON, tenant_id="acme"))
    for one in tokens:
        again = TrackingToken.parse(str(one))
        for others in ("other", "ACME", None) if store.ordering.all_tenants else ("other", "ACME"):
            with pytest.raises(TokenRefusedError, match="one tenant's events"):
                await store.stream_events(again, tenant_id=others)
        await store.stream_events(again, tenant_id="acme")
    theirs = (await read_on(store, tail, 2, tenant_id="other")).token
    with pytest.raises(TokenRefusedError, match="different tenants"):
        theirs.compare(token)


@every_ordering
async def test_a_token_of_all_tenants_is_a_place_for_each(store: PostgresEventStore) -> None:
    tail = await store.create_tail_token()
    for tenant in ("acme", "other"):
        await store.append_events(stream_of(tenant_id=tenant), new_events(2), expected_version=0)
        assert len((await read_on(store, tail, 2, tenant_id=tenant)).events) == 2
    if store.ordering.all_tenants:
        token = (await read_on(store, tail, 3, limit=3)).token
        assert token.covers((await read_on(store, tail, 2, tenant_id="acme")).token)
        (left,) = (await read_on(store, token, 1, tenant_id="other")).events
        assert left.sequence_number == 2


@pytest.mark.parametrize("value", [None, "", "token", 7, (1, 2), b"x"], ids=repr)
async def test_what_is_no_token_is_refused(store: PostgresEventStore, value: Any) -> None:
    with pytest.raises(TokenRefusedError):
        await store.stream_events(value)


async def test_a_token_written_down_by_one_store_object_is_good_for_another(
    store: PostgresEventStore, dsn: str
) -> None:
    await store.append_events(stream_of(), new_events(3), expected_version=0)
    token = (await read_on(store, await store.create_tail_token(), 2, limit=2)).token
    async with await PostgresEventStore.connect(dsn) as other:
        assert len((await read_on(other, TrackingToken.parse(str(token)), 1)).events) == 1


def at(token: TrackingToken, transaction_id: int, global_sequence: int) -> TrackingToken:
    return replace(
        token, transaction_id=TransactionId(transaction_id), global_sequence=GlobalSequence(global_sequence)
    )


@pytest.mark.parametrize("tenant_id", [None, "acme"])
async def test_a_token_ahead_of_the_server_is_refused_not_answered_with_nothing_for_ever(
    store: PostgresEventStore, tenant_id: str | None
) -> None:
    """It comes from before a restore, or from the primary that a replica took the place of."""
    await store.append_events(stream_of(), new_events(3), expected_version=0)
    batch = await read_on(store, await store.create_tail_token(), 3)
    for ahead in (1_000, 10**12, 2**64 - 1):
        token = at(batch.token, batch.token.transaction_id + ahead if ahead < 2**60 else ahead, 0)
        for _ in range(7):  # as custom plans, and as the generic plan that comes after five of them
            with pytest.raises(TokenRefusedError, match="ahead"):
                await store.stream_events(token, tenant_id=tenant_id)
    assert list((await store.stream_events(batch.token, tenant_id=tenant_id)).events) == []


@pytest.mark.parametrize("place", [(-1, 0), (0, -1), (2**64, 0), (0, 2**63), (0, 2**64 - 1)])
async def test_a_token_of_an_impossible_place_is_refused(
    store: PostgresEventStore, place: tuple[int, int]
) -> None:
    with pytest.raises(TokenRefusedError):
        await store.stream_events(at(await store.create_tail_token(), *place))
