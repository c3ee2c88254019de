"""Streaming: every committed event once, in one order, below what is still being written."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from eventmark.domain import EventBatch, StoredEvent, TrackingToken
from eventmark.engine import PostgresEventStore
from eventmark.errors import StoreUnavailableError
from tests.engine.builders import DEADLINE_S, new_event, new_events, read_on, stream_of, until

INSERT = """
    insert into eventmark.domain_events (
        sequence_number, expected_version, timestamp_utc, event_id, tenant_id, stream_id, aggregate_type,
        aggregate_id, event_type, payload_type, payload_revision, payload, metadata)
    values (1, 0, now(), gen_random_uuid(), $1, 'Order:' || $2, 'Order', $2, 'E', 'E', '1', '{}', '{}')
    returning event_id
"""


def ids(events: Sequence[StoredEvent]) -> list[UUID]:
    return [event.event_id for event in events]


async def test_events_come_once_and_in_one_order_whatever_the_limit(store: PostgresEventStore) -> None:
    sent: list[UUID] = []
    for number in range(6):
        batch = new_events(5)
        sent += [event.event_id for event in batch]
        await store.append_events(stream_of(f"a-{number % 2}"), batch, expected_version=number // 2 * 5)
    tail = await store.create_tail_token()
    for limit in (1, 7, 30, 1000):
        assert ids((await read_on(store, tail, 30, limit=limit)).events) == sent


async def test_a_batch_holds_at_most_the_limit(store: PostgresEventStore) -> None:
    await store.append_events(stream_of(), new_events(30), expected_version=0)
    tail = await store.create_tail_token()
    await read_on(store, tail, 30)
    assert len((await store.stream_events(tail, limit=7)).events) == 7


async def test_reading_goes_on_from_a_token_that_was_written_down(store: PostgresEventStore) -> None:
    first, second = new_events(3), new_events(4)
    await store.append_events(stream_of(), first, expected_version=0)
    batch = await read_on(store, await store.create_tail_token(), 3)
    saved = str(batch.token)
    await store.append_events(stream_of(), second, expected_version=3)
    batch = await read_on(store, TrackingToken.parse(saved), 4, limit=3)
    assert ids(batch.events) == [event.event_id for event in second]


async def test_an_empty_answer_gives_back_the_token_that_was_asked_with(store: PostgresEventStore) -> None:
    tail = await store.create_tail_token()
    assert (await store.stream_events(tail)).token == tail
    await store.append_events(stream_of(), new_events(3), expected_version=0)
    batch = await read_on(store, tail, 3)
    again = await store.stream_events(batch.token)
    assert (list(again.events), again.token) == ([], batch.token)


async def test_a_token_within_a_batch_goes_on_within_it(store: PostgresEventStore) -> None:
    sent = new_events(5)
    await store.append_events(stream_of(), sent, expected_version=0)
    await read_on(store, await store.create_tail_token(), 5)
    batch = await store.stream_events(await store.create_tail_token(), limit=2)
    assert ids((await store.stream_events(batch.token)).events) == [event.event_id for event in sent[2:]]


async def test_a_tenants_stream_holds_all_of_its_events_and_none_of_anothers(
    store: PostgresEventStore,
) -> None:
    sent: dict[str, list[UUID]] = {"acme": [], "other": [], "acm": []}
    for version in range(0, 9, 3):
        for tenant, expected in sent.items():
            batch = new_events(3)
            expected += [event.event_id for event in batch]
            await store.append_events(stream_of(tenant_id=tenant), batch, expected_version=version)
    tail = await store.create_tail_token()
    for tenant, expected in sent.items():
        assert ids((await read_on(store, tail, 9, limit=2, tenant_id=tenant)).events) == expected
    assert list((await store.stream_events(tail, tenant_id="nobody")).events) == []


async def test_streamed_json_stays_text_until_it_is_asked_for(store: PostgresEventStore) -> None:
    await store.append_events(stream_of(), [new_event(payload={"n": 2**60})], expected_version=0)
    (event,) = (await read_on(store, await store.create_tail_token(), 1)).events
    assert type(event.payload_json) is str
    assert event.payload() == {"n": 2**60}


@pytest.mark.parametrize("tenant_id", [None, "acme"])
async def test_consumers_wait_for_an_older_transaction_and_skip_nothing(
    store: PostgresEventStore, connection: asyncpg.Connection, tenant_id: str | None
) -> None:
    """Position 1 commits after 2 and 3 are visible: a consumer that had passed it would never see it."""
    tail = await store.create_tail_token()
    older = connection.transaction()
    await older.start()
    first = await connection.fetchval(INSERT, "acme", "slow")
    later = new_events(2)
    await store.append_events(stream_of(), later, expected_version=0)
    blind = await store.stream_events(tail, tenant_id=tenant_id)
    assert (list(blind.events), blind.token) == ([], tail)
    await older.commit()
    batch = await read_on(store, blind.token, 3, tenant_id=tenant_id)
    assert ids(batch.events) == [first, *(event.event_id for event in later)]


async def test_an_older_transaction_that_has_written_nothing_yet_is_waited_for_as_well(
    store: PostgresEventStore, connection: asyncpg.Connection
) -> None:
    older = connection.transaction()
    await older.start()
    await connection.fetchval("select pg_current_xact_id()")
    await store.append_events(stream_of(), new_events(2), expected_version=0)
    tail = await store.create_tail_token()
    assert list((await store.stream_events(tail)).events) == []
    slow = await connection.fetchval(INSERT, "acme", "slow")
    await older.commit()
    assert ids((await read_on(store, tail, 3)).events)[0] == slow


async def test_an_older_transaction_that_rolls_back_lets_consumers_on(
    store: PostgresEventStore, connection: asyncpg.Connection
) -> None:
    older = connection.transaction()
    await older.start()
    await connection.fetchval(INSERT, "acme", "slow")
    later = new_events(2)
    await store.append_events(stream_of(), later, expected_version=0)
    await older.rollback()
    batch = await read_on(store, await store.create_tail_token(), 2)
    assert ids(batch.events) == [event.event_id for event in later]


async def test_a_reader_that_holds_a_snapshot_delays_nobody(
    store: PostgresEventStore, connection: asyncpg.Connection
) -> None:
    async with connection.transaction(isolation="repeatable_read"):
        await connection.fetchval("select count(*) from eventmark.domain_events")
        await store.append_events(stream_of(), new_events(2), expected_version=0)
        assert len((await read_on(store, await store.create_tail_token(), 2)).events) == 2


async def test_a_rolled_back_append_leaves_a_gap_that_nobody_waits_for(store: PostgresEventStore) -> None:
    event = new_event()
    await store.append_events(stream_of(), [event], expected_version=0)
    for number in range(3):
        with pytest.raises(Exception, match="event id"):
            await store.append_events(stream_of(f"b-{number}"), [new_event(), event], expected_version=0)
    last = await store.append_events(stream_of(), [new_event()], expected_version=1)
    batch = await read_on(store, await store.create_tail_token(), 2)
    places = [event.global_sequence for event in batch.events]
    assert places[-1] == last.last_global_sequence and places[-1] - places[0] > 1


async def test_consumers_beside_concurrent_writers_all_see_every_event_once_in_one_order(
    store: PostgresEventStore,
) -> None:
    """Each consumer reads with limits and at moments of its own; each stream's order is kept."""
    total = 8 * 12 * 2

    async def write(number: int) -> None:
        for version in range(0, 24, 2):
            await store.append_events(stream_of(f"a-{number}"), new_events(2), expected_version=version)

    async def consume(seed: int) -> list[StoredEvent]:
        draw = random.Random(seed)
        token, seen = await store.create_tail_token(), []
        while len(seen) < total:
            batch = await store.stream_events(token, limit=draw.randint(1, 9), wait_s=1)
            token = batch.token
            seen += batch.events
        return seen

    async with asyncio.timeout(DEADLINE_S):
        *_, one, two, three = await asyncio.gather(
            *(write(number) for number in range(8)), *(consume(seed) for seed in (1, 2, 3))
        )
    assert ids(one) == ids(two) == ids(three)
    assert len(set(ids(one))) == total
    for number in range(8):
        of_stream = [event.sequence_number for event in one if event.aggregate_id == f"a-{number}"]
        assert of_stream == list(range(1, 25))


async def _woken(
    store: PostgresEventStore, writer: PostgresEventStore, monkeypatch: Any, polling_s: float
) -> None:
    """A consumer waits, and an append answers it."""
    monkeypatch.setattr(store, "poll_interval_s", polling_s)
    token = await store.create_tail_token()
    waiting = asyncio.create_task(store.stream_events(token, wait_s=2 * DEADLINE_S))
    session = await store.pool.acquire()
    await until(
        lambda: session.connection.fetchval(
            "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen%'"
        )
    )
    store.pool.release(session)
    await _answered(writer, waiting)


async def _answered(writer: PostgresEventStore, waiting: asyncio.Task[EventBatch]) -> None:
    """Appends now, and each second again: something else in the cluster may hold the horizon for a moment."""
    version = 0
    async with asyncio.timeout(DEADLINE_S):
        while not waiting.done():
            await writer.append_events(stream_of(), [new_event()], expected_version=version)
            version += 1
            await asyncio.wait([waiting], timeout=1)
    assert (await waiting).events


async def test_a_waiting_consumer_is_woken_by_a_notification_long_before_it_polls(
    store: PostgresEventStore, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await PostgresEventStore.connect(dsn) as writer:
        await _woken(store, writer, monkeypatch, polling_s=2 * DEADLINE_S)


async def test_a_waiting_consumer_finds_by_polling_what_nobody_notifies_of(
    store: PostgresEventStore, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await PostgresEventStore.connect(dsn, notify=False) as writer:
        await _woken(store, writer, monkeypatch, polling_s=0.3)


async def test_a_wait_ends_empty_when_its_time_is_over(store: PostgresEventStore) -> None:
    token = await store.create_tail_token()
    started = time.monotonic()
    async with asyncio.timeout(DEADLINE_S):
        batch = await store.stream_events(token, wait_s=0.25)
    assert (list(batch.events), batch.token) == ([], token)
    assert time.monotonic() - started >= 0.25


async def test_a_wait_that_has_events_does_not_wait(store: PostgresEventStore) -> None:
    await store.append_events(stream_of(), [new_event()], expected_version=0)
    token = await store.create_tail_token()
    await read_on(store, token, 1)  # now nothing holds the horizon before it
    async with asyncio.timeout(DEADLINE_S):
        assert (await store.stream_events(token, wait_s=2 * DEADLINE_S)).events


async def test_a_tenants_wait_is_not_ended_by_another_tenants_event(store: PostgresEventStore) -> None:
    token = await store.create_tail_token()
    waiting = asyncio.create_task(store.stream_events(token, tenant_id="acme", wait_s=20))
    for version in range(3):
        await store.append_events(stream_of(tenant_id="other"), [new_event()], expected_version=version)
        await asyncio.sleep(0.02)
    assert not waiting.done()
    await store.append_events(stream_of(tenant_id="acme"), [new_event()], expected_version=0)
    assert [event.tenant_id for event in (await waiting).events] == ["acme"]


async def test_a_cancelled_wait_ends_and_leaves_nothing_in_use(store: PostgresEventStore) -> None:
    token = await store.create_tail_token()
    waiting = [asyncio.create_task(store.stream_events(token, wait_s=30)) for _ in range(5)]
    await asyncio.sleep(0.05)
    for task in waiting:
        task.cancel()
    async with asyncio.timeout(DEADLINE_S):
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers)
    assert store.pool.in_use == 0


async def test_a_listener_whose_connection_was_terminated_listens_again(
    store: PostgresEventStore, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await store.create_tail_token()
    await store.stream_events(token, wait_s=0.01)
    find = "from pg_stat_activity where datname = current_database() and query ilike 'listen%'"
    await until(lambda: connection.fetchval(f"select count(*) = 1 {find}"))
    assert await connection.fetchval(f"select count(pg_terminate_backend(pid)) {find}") == 1
    await until(lambda: connection.fetchval(f"select count(*) = 0 {find}"))
    await store.stream_events(token, wait_s=0.5)
    monkeypatch.setattr(store, "poll_interval_s", 2 * DEADLINE_S)
    waiting = asyncio.create_task(store.stream_events(token, wait_s=2 * DEADLINE_S))
    await until(lambda: connection.fetchval(f"select count(*) = 1 {find}"))
    await _answered(store, waiting)


async def test_a_terminated_read_is_a_typed_error_and_the_next_one_works(
    store: PostgresEventStore, connection: asyncpg.Connection
) -> None:
    await store.append_events(stream_of(), [new_event()], expected_version=0)
    token = await store.create_tail_token()
    async with connection.transaction():
        await connection.execute("lock table eventmark.domain_events in access exclusive mode")
        reading = asyncio.create_task(store.stream_events(token))
        pid = await until(
            lambda: connection.fetchval(
                "select pid from pg_locks where not granted and locktype = 'relation'"
            )
        )
        await connection.execute("select pg_terminate_backend($1)", pid)
        with pytest.raises(StoreUnavailableError):
            await reading
    assert len((await read_on(store, token, 1)).events) == 1
